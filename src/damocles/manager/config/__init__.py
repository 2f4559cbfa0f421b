"""The configuration of a manager on a real chain, with the key names of the original's where it has them."""
