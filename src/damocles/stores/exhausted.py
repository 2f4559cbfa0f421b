"""Distinguish what the process lacks from what is wrong with a file: descriptors and memory come back, the file is unchanged."""

import errno
import os
import sqlite3

_CODES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def is_lacking(error: BaseException | None) -> bool:
    """Return whether an error, or its cause, is that this process, or the machine, has no descriptors or memory left.

    Such an error means neither that the file is damaged nor that it is missing.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _CODES:
            return True
        if isinstance(error, sqlite3.Error) and _is_sqlite_s(error):
            return True
        error = error.__cause__
    return False


def _is_sqlite_s(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    # SQLite does not say why it cannot open a file.
    return code == sqlite3.SQLITE_NOMEM or (code == sqlite3.SQLITE_CANTOPEN and not _has_descriptors())


def _has_descriptors() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno not in _CODES
    return True
