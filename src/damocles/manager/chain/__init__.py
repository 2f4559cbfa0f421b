"""The chain as the manager needs it, as Lotus nodes show it."""
