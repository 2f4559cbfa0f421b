"""How long work on parameter files shows its progress."""

from typing import Protocol


class Watcher(Protocol):
    """Receives the progress of the work on files."""

    def begin(self, name: str, doing: str, size_bytes: int, done_bytes: int) -> None:
        """Take note that a file is being fetched or read, and how far that is."""

    def advance(self, name: str, count: int) -> None:
        """Take note of bytes that have arrived, or been read."""

    def end(self, name: str) -> None:
        """Take note that nothing more comes of a file."""

    def pulse(self, name: str, text: str) -> None:
        """Show how work without a known end goes; replaces the last text under this name."""

    def say(self, text: str) -> None:
        """Pass a line on to the person who waits."""
