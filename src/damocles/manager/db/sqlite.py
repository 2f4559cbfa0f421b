"""A SQLite file: the default, with nothing to install. One process may use it at a time."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy import exc as sql_errors

from damocles.manager.db.errands import Errand
from damocles.rpc.errors import DiskFails

# SQLite's primary codes, the low byte of a code.
_OF_DISKS = frozenset(
    {
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOTADB,
    }
)


class SQLite:
    """The file at a path; its folder must exist."""

    is_shared = False
    patience_seconds: float | None = None
    told = ("the database's disk fails", "the database's disk is well again")
    well_again_seconds = 60.0  # small writes succeed beside larger ones that do not

    def __init__(self, path: Path, readers: int) -> None:
        self.where = str(path)
        url = f"sqlite:///{path}"
        _make_private(path)
        # Parameters of statements may be tokens: they must not be in the text of errors.
        self._writer = create_engine(url, pool_size=1, max_overflow=0, hide_parameters=True)
        self._reader = create_engine(url, pool_size=readers, max_overflow=0, hide_parameters=True)
        for engine in (self._writer, self._reader):
            event.listen(engine, "connect", _set_pragmas)
        event.listen(self._reader, "connect", _forbid_writes)
        event.listen(self._writer, "begin", _begin_immediate)
        event.listen(self._reader, "begin", _begin_deferred)

    @contextmanager
    def begin(self, errand: Errand, *, durable: bool, alone: bool) -> Iterator[Connection]:
        """Open a writing transaction; it is always alone."""
        options = {"damocles_durable": durable}
        with self._writer.connect().execution_options(**options) as connection, connection.begin():
            yield connection

    @contextmanager
    def view(self, errand: Errand) -> Iterator[Connection]:
        """Open a reading one."""
        with self._reader.begin() as connection:
            yield connection

    @contextmanager
    def migrate(self) -> Iterator[Connection]:
        """Open one that may change tables."""
        with self.begin(Errand(), durable=True, alone=True) as connection:
            yield connection

    def refusal(self, error: sql_errors.DBAPIError, *, writing: bool) -> DiskFails | None:
        """Return what a caller is told of an error of the disk, nothing for any other.

        A query that writes is refused by the same code as a disk that is read-only, and is a defect.
        """
        said = error.orig
        of_disks = _OF_DISKS if writing else _OF_DISKS - {sqlite3.SQLITE_READONLY}
        if isinstance(said, sqlite3.Error):
            is_of_disk = getattr(said, "sqlite_errorcode", 0) & 0xFF in of_disks
        else:
            is_of_disk = isinstance(said, OSError)
        return DiskFails(self.where, str(said)) if is_of_disk else None

    def collides(self, _error: sql_errors.DBAPIError) -> bool:
        """Return false: there is one writer."""
        return False

    def close(self) -> None:
        """End all connections."""
        self._reader.dispose()
        self._writer.dispose()


def _make_private(path: Path) -> None:
    """Let only the owner read the file, and what SQLite puts beside it, which gets the same mode."""
    with suppress(OSError):  # SQLite will say what is wrong
        path.touch(mode=0o600)
        path.chmod(0o600)


def _set_pragmas(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver's own BEGIN comes too late and is not IMMEDIATE
    for pragma in ("journal_mode=WAL", "busy_timeout=5000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _forbid_writes(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA query_only=ON")


def _begin_immediate(connection: Connection) -> None:
    # A deferred transaction that reads first and writes then fails with "database is locked" instead of waiting.
    durable = connection.get_execution_options()["damocles_durable"]
    connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_deferred(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
