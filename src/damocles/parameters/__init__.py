"""Groth16 parameters on this machine: which a sector size needs, which are here and whole, how to get or make them.

Nothing here imports the native proofs; what they know about files is in `published.json`.
"""
