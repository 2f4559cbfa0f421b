"""The whole system in one process, on a virtual clock, with a network and disks that fail, driven by a seed.

Real here: planner, sealing threads, handlers, the manager's API and database. Not real, and named so: the chain
(`simulated_chain`), the prover (`sham`), the network (`network`), journals that live in memory (`disks`). `python -m damocles.testing.simulation`
runs seeds; one that breaks an invariant is printed and can be run again.
"""
