"""The chain as the manager needs it, and the mock chain that lives in its process."""
