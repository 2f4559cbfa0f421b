"""Distinguish a full disk from other errors: it is not a sector's fault, and ends once there is space again."""

import errno
import os
import shutil
import sqlite3
from pathlib import Path

_CODES = frozenset({errno.ENOSPC, errno.EDQUOT})
_TEXTS = tuple(os.strerror(code) for code in _CODES)  # as the C library, Python and Rust write it
_NOTHING_BYTES = 1 << 20


def is_full(error: BaseException | None) -> bool:
    """Return whether an error, or its cause, is that a disk (or a quota) is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _CODES:
            return True
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return True
        error = error.__cause__
    return False


def says_full(text: str) -> bool:
    """Return whether the text of another process' error contains the system's words for it."""
    return any(words in text for words in _TEXTS)


def has_no_room(folder: Path) -> bool:
    """Return whether a disk has next to nothing free: a library that writes to a mapping dies there without an error."""
    try:
        return shutil.disk_usage(folder).free < _NOTHING_BYTES
    except OSError:
        return False
