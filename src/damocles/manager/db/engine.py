"""Run transactions on the database without blocking the event loop.

What a transaction is, the backend knows: `sqlite` or `postgresql`.

A transaction is a function of a `Connection`, run as a whole in a thread. So a cancelled request never leaves half a
transaction behind, and one needs two thread switches instead of some twenty with a driver that switches per statement
(0.5 ms against 1.6 ms for an insert and a select on SQLite, before the disk is waited for).
"""

import asyncio
import re
import time
import urllib.parse
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import anyio
import anyio.to_thread
import structlog
from sqlalchemy import Connection
from sqlalchemy import exc as sql_errors

from damocles import failpoints
from damocles.manager import errors
from damocles.manager.db import leases, schema, sqlite
from damocles.manager.db.errands import Errand
from damocles.rpc import limits
from damocles.rpc.errors import Code, DatabaseAway, DiskFails, RpcError
from damocles.rpc.serving import turns

T = TypeVar("T")

_READERS = 4
_CLOSING_SECONDS = 3.0
# Of a URL, besides the place: what people need to know which connection is meant.
_SHOWN_OPTIONS = frozenset({"host", "hostaddr", "port", "user", "dbname", "sslmode", "target_session_attrs", "service"})
_TRIES = 5  # of a transaction that collides with others

log = structlog.get_logger(__name__)


class Backend(Protocol):
    """What a database is made of. A transaction is whole or absent, and as if alone."""

    where: str  # for people
    is_shared: bool  # other managers may use it at the same time
    patience_seconds: float | None  # how long a transaction may take, if anything can keep it for longer
    told: tuple[str, str]  # what is logged when it fails, and when it is well again
    well_again_seconds: float  # without a failure

    def begin(self, errand: Errand, *, durable: bool, alone: bool) -> AbstractContextManager[Connection]:
        """Open a writing transaction; with `alone` there is no other one beside it, so that none can collide with it."""

    def view(self, errand: Errand) -> AbstractContextManager[Connection]:
        """Open a reading one."""

    def migrate(self) -> AbstractContextManager[Connection]:
        """Open one that may change tables."""

    def refusal(self, error: sql_errors.DBAPIError, *, writing: bool) -> RpcError | None:
        """Return what a caller is told of an error that is no defect."""

    def collides(self, error: sql_errors.DBAPIError) -> bool:
        """Return whether the same transaction may succeed when it is run again."""

    def close(self) -> None:
        """End all connections."""


class Database:
    """The manager's state. One writing transaction of this process at a time, several reading ones beside it.

    What goes wrong with its disk or server is `DiskFails` for the caller and one line in the log, until it has been well
    again for a while.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.trouble: str | None = None  # what the disk or the server says
        self._troubled_at = 0.0
        # Waiting here instead of in SQLite's busy handler, which polls with growing sleeps and is not fair.
        self._write_turn = anyio.CapacityLimiter(1)
        self._read_turn = anyio.CapacityLimiter(_READERS)
        self._turns = turns.Turns(limits.QUERIES_OF_A_TOKEN)
        self.leases = leases.Leases(self, is_shared=backend.is_shared)

    @property
    def is_shared(self) -> bool:
        """Whether other managers may use it at the same time."""
        return self._backend.is_shared

    @property
    def where(self) -> str:
        """The file or the server, for people."""
        return self._backend.where

    async def write(
        self,
        transaction: Callable[[Connection], T],
        *,
        durable: bool = True,
        patience_seconds: float | None = None,
    ) -> T:
        """Run `transaction` as if alone; commit when it returns, roll back when it raises.

        On a shared database it is run again when it collides with another manager's: it must do nothing but read and
        write there.

        With `durable` the result survives a power cut. Without, it survives a killed process only and saves the wait
        for the disk: right for what will be reported again anyway, like pings and states. A server may have less time
        than usually, by `patience_seconds`.
        """

        def run(errand: Errand) -> T:
            for attempt in range(1, _TRIES + 1):
                try:
                    with self._backend.begin(errand, durable=durable, alone=attempt > 1) as tx:
                        result = transaction(tx)
                        _reach("database.before", transaction)
                    _reach("database.after", transaction)
                except sql_errors.DBAPIError as error:
                    if attempt == _TRIES or errand.is_over or not self._backend.collides(error):
                        raise
                else:
                    return result
            raise AssertionError

        async with self._turns.one():
            return await self._run(run, self._write_turn, writing=True, patience_seconds=patience_seconds)

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run `query` on a consistent view of the data, beside a writing transaction if there is one."""

        def run(errand: Errand) -> T:
            with self._backend.view(errand) as tx:
                return query(tx)

        async with self._turns.one():
            return await self._run(run, self._read_turn, writing=False)

    def doubt(self, seconds: float) -> None:
        """Say that the server does not answer, though there is time left to wait for it: nothing has come for so long."""
        self._failing(DatabaseAway(self.where, f"no answer for {seconds:g} seconds"))

    async def end(self, patience_seconds: float) -> None:
        """Give back what other managers wait for, if the server takes it within that time."""
        if self._backend.patience_seconds is not None:
            self._backend.patience_seconds = patience_seconds
        await self.leases.give_back()

    async def _run(
        self,
        run: Callable[[Errand], T],
        limiter: anyio.CapacityLimiter,
        *,
        writing: bool,
        patience_seconds: float | None = None,
    ) -> T:
        """Run in a thread, which is brought back when its time is over."""
        errand = Errand()
        patience = self._backend.patience_seconds if patience_seconds is None else patience_seconds

        def watched() -> T:
            with self._watched(errand, writing=writing, patience_seconds=patience):
                return run(errand)

        if self._backend.patience_seconds is None or patience is None:
            return await anyio.to_thread.run_sync(watched, limiter=limiter)
        async with limiter:
            timer = asyncio.get_running_loop().call_later(patience, errand.end)
            try:
                return await anyio.to_thread.run_sync(watched, limiter=anyio.CapacityLimiter(1))
            finally:
                timer.cancel()

    @contextmanager
    def _watched(self, errand: Errand, *, writing: bool, patience_seconds: float | None) -> Iterator[None]:
        """Word what goes wrong for callers: numbers that no row can have, the disk, the server."""
        try:
            yield
        except OverflowError as error:  # SQLite's numbers are of 64 bits with a sign
            raise errors.ManagerError(
                f"a number is too large for the database: {error}", Code.INVALID_PARAMS
            ) from error
        except sql_errors.TimeoutError as error:  # all connections wait for a server that says nothing
            raise self._failing(DatabaseAway(self.where, "no connection is free")) from error
        except sql_errors.DBAPIError as error:
            refusal = self._backend.refusal(error, writing=writing)
            if errand.is_over:
                refusal = DatabaseAway(self.where, f"no answer within {patience_seconds:g} seconds")
            if refusal is None:
                raise
            raise (self._failing(refusal) if isinstance(refusal, DiskFails) else refusal) from error
        if self.trouble is not None and time.monotonic() - self._troubled_at > self._backend.well_again_seconds:
            self.trouble = None
            log.info(self._backend.told[1], database=self.where)

    def _failing(self, refusal: DiskFails) -> DiskFails:
        self._troubled_at = time.monotonic()
        if self.trouble is None:
            log.error(self._backend.told[0], database=self.where, error=refusal.reason)
        self.trouble = f"{self.where}: {refusal.reason}"
        return refusal


def open_sqlite(path: Path) -> AbstractAsyncContextManager[Database]:
    """Open, and if need be make or migrate, the SQLite database at `path`; its folder must exist.

    Only one process may use the file.

    Raises:
        schema.SchemaError: A newer release has written it.
    """
    return _opened(partial(backend, path, claim=False))


def open_at(place: Path | str) -> AbstractAsyncContextManager[Database]:
    """Open a manager's database, the file at a path or what a URL names; raises as `open_sqlite` and `open_postgresql`."""
    return open_sqlite(place) if isinstance(place, Path) else open_postgresql(place, joins=True)


def open_postgresql(url: str, *, joins: bool = False) -> AbstractAsyncContextManager[Database]:
    """Open, and if need be fill or migrate, the database on PostgreSQL at `url`; a manager `joins` others there.

    Raises:
        errors.StartError: The URL is none, the driver is not installed, or the database has been claimed for somebody alone.
        schema.SchemaError: A newer release has written it.
    """
    return _opened(partial(backend, url, joins=joins))


def backend(place: Path | str, *, claim: bool = False, joins: bool = False) -> Backend:
    """Return what runs transactions on a file or on what a URL names, its tables untouched; raises as `open_postgresql`.

    With `claim` there must be no manager on it, and none begins meanwhile.
    """
    if isinstance(place, Path):
        return sqlite.SQLite(place, _READERS)
    try:
        from damocles.manager.db import postgresql  # noqa: PLC0415 (only by those who use it)
    except ImportError as error:
        raise errors.StartError(
            f"PostgreSQL needs its driver: install damocles with the extra `postgres`, like 'damocles[postgres]' ({error})"
        ) from error
    try:
        made = postgresql.PostgreSQL(place, shown(place), _READERS)
    except ValueError as error:
        raise errors.StartError(str(error)) from error
    if claim or joins:
        made.claim(alone=claim)
    return made


def shown(url: str) -> str:
    """Return a URL, or the path of a file, without a password, wherever it stands and whatever is wrong with the rest."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    rest = re.sub(r"([^?&=]*)=([^&]*)", _shown_option, rest)
    login, at, place = rest.rpartition("@")  # an @ in a password may be there as it is
    user, colon, _ = login.partition(":")
    return f"{scheme}{mark}{user}{':…' if colon else ''}{at}{place}"


def _shown_option(found: re.Match[str]) -> str:
    """Hide the value of what is not known to be harmless: a misspelt `password` has one as well."""
    return found[0] if urllib.parse.unquote(found[1]) in _SHOWN_OPTIONS else f"{found[1]}=…"


@asynccontextmanager
async def _opened(make: Callable[[], Backend]) -> AsyncIterator[Database]:
    made = await anyio.to_thread.run_sync(make)
    database = Database(made)
    try:
        await anyio.to_thread.run_sync(_upgrade, made)
        yield database
    finally:
        with anyio.CancelScope(shield=True):
            await database.end(_CLOSING_SECONDS)
            await anyio.to_thread.run_sync(made.close)


def _upgrade(backend: Backend) -> None:
    try:
        schema.upgrade(backend.migrate)
    except sql_errors.DBAPIError as error:
        if (refusal := backend.refusal(error, writing=True)) is not None and backend.is_shared:
            raise refusal from error
        raise


def _reach(point: str, transaction: Callable[[Connection], object]) -> None:
    """Fail as the driver does when the disk fails."""
    try:
        function = transaction.func if isinstance(transaction, partial) else transaction
        failpoints.reach(f"{point}:{function.__qualname__.replace('.<locals>', '')}")
    except OSError as error:
        raise sql_errors.OperationalError("COMMIT", None, error) from error
