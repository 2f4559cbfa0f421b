"""How a command finds its daemon and identifies itself."""
