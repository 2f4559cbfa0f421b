"""Tell what the process lacks from what is wrong with a file: descriptors and memory come back, the file is as it was."""

import errno
import os
import sqlite3

_CODES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def is_lacking(error: BaseException | None) -> bool:
    """Tell whether an error, or what caused it, is that this process, or the machine, has no descriptors or memory left.

    It says nothing of the file: neither that it is damaged nor that it is not there.
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
