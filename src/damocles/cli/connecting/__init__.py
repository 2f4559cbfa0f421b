"""How a command finds its daemon and shows who it is."""
