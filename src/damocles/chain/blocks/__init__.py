"""Blocks: who may make one, what one consists of, and what two of one miner may not have in common."""
