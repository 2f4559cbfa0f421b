"""A manager's way onto the chain, simulated: sectors on a devnode in virtual time, with deaths, faults and reorganisations.

`python -m damocles.testing.sealing_chain --seeds 200` runs seeds; see `world` for what has to hold.
"""
