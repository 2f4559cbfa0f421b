"""What operators do on the chain: of each act its messages (`planning`), and what they have done (`outcomes`).

`sectors` and `miners` say which messages an act comes to, from the chain as it is at one tipset; `trials` what they would
cost and what the actor says to them. They are sent by the outbox.
"""
