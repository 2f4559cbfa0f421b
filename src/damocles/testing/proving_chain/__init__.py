"""Deadlines of miners on a devnode, simulated in virtual time: one manager or several, provers of every sort, deaths, faults, reorganisations.

`python -m damocles.testing.proving_chain --seeds 200` runs seeds; see `checks` for what has to hold.
"""
