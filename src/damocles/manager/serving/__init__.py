"""What the manager serves: the sealer API, the command line's, claims, moves, tokens, audit, metrics."""
