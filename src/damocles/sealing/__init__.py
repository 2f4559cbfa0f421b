"""The domain: what happens to a sector, without any input or output.

One file per plan holds its table of states, events and edges. `planner.step` takes a sector and an event and returns
the changed sector with the instructions that follow; a sealing thread carries them out.
"""
