"""Hold a file's lock for as long as a process uses what the file stands for, and write down who holds it.

The lock ends with the process, however that ends; the text stays and means nothing then.
"""

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_WORDS_BYTES = 200


class InUse(Exception):
    """Another process holds the lock; `owner` names it, as far as the file does."""

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self.owner = owner


@contextmanager
def held(file: Path) -> Iterator[None]:
    """Hold the lock of a file that is there.

    Raises:
        InUse: Another process does.
        OSError: The file cannot be opened, or has no locks.
    """
    lock = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(_owner(lock)) from None
        with suppress(OSError):  # a full disk: the lock holds without words
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"pid {os.getpid()} on {platform.node()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)


def owner(file: Path) -> str | None:
    """Return who holds the lock of a file, `None` if nobody does or there is no such file."""
    try:
        lock = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _owner(lock)
    finally:
        os.close(lock)
    return None


def _owner(lock: int) -> str:
    words = os.pread(lock, _WORDS_BYTES, 0).decode("utf-8", "replace").strip()
    return words or "unknown"
