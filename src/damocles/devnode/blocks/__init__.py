"""Blocks that miners hand in: who is elected, what a block has to be, and which two of one miner are a fault."""
