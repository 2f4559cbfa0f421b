"""Win blocks: the election of each epoch, the winning PoSt, and at most one block a height, whatever happens.

mining = opening.mining(means, database=database, persist=persist, clock=clock)
async with beside.running(mining.run): ...
"""
