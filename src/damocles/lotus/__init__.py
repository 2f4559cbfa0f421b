"""Talk to Filecoin nodes of the kind Lotus.

- `places`: where a node is, and its token;
- `node`: one node: calls, with time limits and repetition; its mempool and wallet;
- `view`: the state of the chain at one tipset of one node, for decisions;
- `heads`: follow the head, over reconnections and reorganisations;
- `nodes`: several nodes, of which one is asked at a time;
- `checks`: what is wrong with a node, at start;
- `answers`, `miners`: a node's answers;
- `errors`: what can go wrong, and what to do.
"""
