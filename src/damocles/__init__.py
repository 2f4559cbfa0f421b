"""Seal Filecoin sectors and keep a fleet of sealing machines under control."""

__version__ = "0.1.0"

# The release of the original whose wire we speak; peers show it in their listings.
WIRE_VERSION = "v0.13.1"
