"""Deadlines of miners on a devnode, simulated in virtual time: provers of every sort, deaths, faults and reorganisations.

`python -m damocles.testing.proving_chain --seeds 200` runs seeds; see `checks` for what has to hold.
"""
