"""Run transactions on the database without blocking the event loop.

A transaction is a function of a `Connection`, run as a whole in a thread. So a cancelled request never leaves half a
transaction behind, and one needs two thread switches instead of some twenty with a driver that switches per statement
(0.5 ms against 1.6 ms for an insert and a select on SQLite, before the disk is waited for).
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy import exc as sql_errors

from damocles import failpoints
from damocles.manager import errors
from damocles.manager.db import schema
from damocles.rpc.errors import Code

T = TypeVar("T")

_READERS = 4


class Database:
    """The manager's state. One writing transaction at a time, several reading ones beside it."""

    def __init__(self, writer: Engine, reader: Engine) -> None:
        self._writer = writer
        self._reader = reader
        # Waiting here instead of in SQLite's busy handler, which polls with growing sleeps and is not fair.
        self._write_turn = anyio.CapacityLimiter(1)
        self._read_turn = anyio.CapacityLimiter(_READERS)

    async def write(self, transaction: Callable[[Connection], T], *, durable: bool = True) -> T:
        """Run `transaction` alone; commit when it returns, roll back when it raises.

        With `durable` the result survives a power cut. Without, it survives a killed process only and saves the wait
        for the disk: right for what will be told again anyway, like pings and reports of states.
        """

        def run() -> T:
            with _fitting(), _begin(self._writer, durable=durable) as tx:
                result = transaction(tx)
                if failpoints.on:
                    _reach("database.before", transaction)
            if failpoints.on:
                _reach("database.after", transaction)
            return result

        return await anyio.to_thread.run_sync(run, limiter=self._write_turn)

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run `query` on a consistent view of the data, beside a writing transaction if there is one."""

        def run() -> T:
            with _fitting(), self._reader.begin() as tx:
                return query(tx)

        return await anyio.to_thread.run_sync(run, limiter=self._read_turn)


@contextmanager
def _fitting() -> Iterator[None]:
    """Refuse what a caller asks for by a number that no row can have: SQLite's are of 64 bits with a sign."""
    try:
        yield
    except OverflowError as error:
        raise errors.ManagerError(f"a number is too large for the database: {error}", Code.INVALID_PARAMS) from error


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
        yield Database(writer, reader)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(reader.dispose)
            await anyio.to_thread.run_sync(writer.dispose)


def _reach(point: str, transaction: Callable[[Connection], object]) -> None:
    """Fail as the driver does when the disk fails."""
    try:
        failpoints.reach(f"{point}:{transaction.__qualname__.replace('.<locals>', '')}")
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
