"""Messages to the chain that are neither lost nor sent twice, whatever dies in between.

An *order* is what the manager has decided to send: receiver, method, parameters, value. It is recorded in the transaction
that decides it, together with the sector's record. From then on each step is repeated until the next one is recorded:

| state | what is recorded | what comes next |
|---|---|---|
| `wanted` | the order | estimate its gas, choose a sender and a nonce, have it signed |
| `signed` | sender, nonce, and every signed message with its CID | push it, again whenever the node may have lost it; look for it by CID |
| `landed` | exit code and return value, as deep in the chain as asked for | |
| `refused` | why it would fail | |

It is pushed only once it is recorded as signed, so a crash repeats a push and never a message. All messages that are
signed for an order have one nonce, of which the chain executes one: the dearer one that replaces a stuck one, too. What
landed in a tipset that a reorganisation abandons is looked for from the head again; a receipt counts once it is deep enough.

`batching` says which sectors share a message, `orders` has the records, `fees` what may be paid, `node` what is asked of a node
(`lotus` asks Lotus), `following` the decision about a signed order (pure), `sending` the loop.
"""
