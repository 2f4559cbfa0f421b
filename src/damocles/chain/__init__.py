"""Formats of the Filecoin chain: what messages and their parameters are made of, in CBOR and in Lotus' JSON. No I/O.

- `addresses`, `amounts`, `bitfields`, `cids`: values that CBOR and JSON spell each in their own way;
- `cbor`, `tuples`: canonical CBOR, and structs as arrays of their fields;
- `messages`: messages and signed messages, their CIDs and what is signed;
- `sealing`, `upkeep`, `ownership`: parameters and return values of the methods that a sealing manager calls;
- `methods`, `versions`: which method takes what on which network, and refusal of networks newer than known;
- `exits`: exit codes in words.

Shapes were taken from go-state-types v0.19 and checked against a running Lotus.
"""
