"""Run transactions on the database without blocking the event loop.

A transaction is a function of a `Connection`, run as a whole in a thread. So a cancelled request never leaves half a
transaction behind, and one needs two thread switches instead of some twenty with a driver that switches per statement
(0.5 ms against 1.6 ms for an insert and a select on SQLite, before the disk is waited for).
"""

import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import structlog
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy import exc as sql_errors

from damocles import failpoints
from damocles.manager import errors
from damocles.manager.db import schema
from damocles.rpc import limits
from damocles.rpc.errors import Code, DiskFails
from damocles.rpc.serving import turns

T = TypeVar("T")

_READERS = 4
WELL_AGAIN_SECONDS = 60.0

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

log = structlog.get_logger(__name__)


class Database:
    """The manager's state. One writing transaction at a time, several reading ones beside it.

    What goes wrong with its disk is `DiskFails` for the caller and one line in the log, until it has been well again for
    a while: small writes succeed beside larger ones that do not.
    """

    def __init__(self, writer: Engine, reader: Engine, path: Path) -> None:
        self._writer = writer
        self._reader = reader
        self._path = path
        self.trouble: str | None = None  # what the disk says
        self._troubled_at = 0.0
        # Waiting here instead of in SQLite's busy handler, which polls with growing sleeps and is not fair.
        self._write_turn = anyio.CapacityLimiter(1)
        self._read_turn = anyio.CapacityLimiter(_READERS)
        self._turns = turns.Turns(limits.QUERIES_OF_A_TOKEN)

    async def write(self, transaction: Callable[[Connection], T], *, durable: bool = True) -> T:
        """Run `transaction` alone; commit when it returns, roll back when it raises.

        With `durable` the result survives a power cut. Without, it survives a killed process only and saves the wait
        for the disk: right for what will be reported again anyway, like pings and states.
        """

        def run() -> T:
            with self._watched(_OF_DISKS), _begin(self._writer, durable=durable) as tx:
                result = transaction(tx)
                _reach("database.before", transaction)
            _reach("database.after", transaction)
            return result

        async with self._turns.one():
            return await anyio.to_thread.run_sync(run, limiter=self._write_turn)

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run `query` on a consistent view of the data, beside a writing transaction if there is one."""

        def run() -> T:
            with self._watched(_OF_DISKS - {sqlite3.SQLITE_READONLY}), self._reader.begin() as tx:
                return query(tx)

        async with self._turns.one():
            return await anyio.to_thread.run_sync(run, limiter=self._read_turn)

    @contextmanager
    def _watched(self, of_disks: frozenset[int]) -> Iterator[None]:
        """Word what goes wrong for callers: numbers that no row can have, and the disk.

        A query that writes is refused by the same code as a disk that is read-only, and is a defect.
        """
        try:
            yield
        except OverflowError as error:  # SQLite's numbers are of 64 bits with a sign
            raise errors.ManagerError(
                f"a number is too large for the database: {error}", Code.INVALID_PARAMS
            ) from error
        except sql_errors.DBAPIError as error:
            if not _is_of_disk(error, of_disks):
                raise
            self._troubled_at = time.monotonic()
            if self.trouble is None:
                log.error("the database's disk fails", file=str(self._path), error=str(error.orig))
            self.trouble = f"{self._path}: {error.orig}"
            raise DiskFails(str(self._path), str(error.orig)) from error
        if self.trouble is not None and time.monotonic() - self._troubled_at > WELL_AGAIN_SECONDS:
            self.trouble = None
            log.info("the database's disk is well again", file=str(self._path))


def _is_of_disk(error: sql_errors.DBAPIError, of_disks: frozenset[int]) -> bool:
    said = error.orig
    if isinstance(said, sqlite3.Error):
        return getattr(said, "sqlite_errorcode", 0) & 0xFF in of_disks
    return isinstance(said, OSError)


@asynccontextmanager
async def open_sqlite(path: Path) -> AsyncIterator[Database]:
    """Open, and if need be make or migrate, the SQLite database at `path`; its folder must exist.

    Only one process may use the file.

    Raises:
        schema.SchemaError: A newer release has written it.
    """
    url = f"sqlite:///{path}"
    await anyio.to_thread.run_sync(_make_private, path)
    # Parameters of statements may be tokens: they must not be in the text of errors.
    writer = create_engine(url, pool_size=1, max_overflow=0, hide_parameters=True)
    reader = create_engine(url, pool_size=_READERS, max_overflow=0, hide_parameters=True)
    for engine in (writer, reader):
        event.listen(engine, "connect", _set_pragmas)
    event.listen(reader, "connect", _forbid_writes)
    event.listen(writer, "begin", _begin_immediate)
    event.listen(reader, "begin", _begin_deferred)
    try:
        await anyio.to_thread.run_sync(schema.upgrade, lambda: _begin(writer, durable=True))
        yield Database(writer, reader, path)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(reader.dispose)
            await anyio.to_thread.run_sync(writer.dispose)


def _reach(point: str, transaction: Callable[[Connection], object]) -> None:
    """Fail as the driver does when the disk fails."""
    try:
        function = transaction.func if isinstance(transaction, partial) else transaction
        failpoints.reach(f"{point}:{function.__qualname__.replace('.<locals>', '')}")
    except OSError as error:
        raise sql_errors.OperationalError("COMMIT", None, error) from error


def _make_private(path: Path) -> None:
    """Let only the owner read the file, and what SQLite puts beside it, which gets the same mode."""
    with suppress(OSError):  # SQLite will say what is wrong
        path.touch(mode=0o600)
        path.chmod(0o600)


@contextmanager
def _begin(engine: Engine, *, durable: bool) -> Iterator[Connection]:
    with engine.connect().execution_options(damocles_durable=durable) as connection, connection.begin():
        yield connection


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
