"""A devnet of our own: one node that speaks Lotus' API over a small model of the chain. For tests and newcomers.

- `rules`: numbers and formulas; `state`: the chain's state as a value;
- `actors`: what messages make of a state, without I/O;
- `tipsets`, `chain`, `pool`: tipsets and what is executed when, reorganisations, waiting messages;
- `verifying`: proofs, by the field's own library;
- `node`: the clock, and trouble on request (`mischief`); `store`: all of it in a file; `wallet`: keys and tokens;
- `beginnings`: a new devnet, or one that goes on; `serving`: run it; `api`: its methods.

What it models and where it differs from a real chain: docs/reference/devnode.md.
"""
