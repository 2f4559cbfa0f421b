"""What one manager alone may do at a time: a lease for each such thing, by a row and its token.

    async with database.leases.keeping(["nonces of t3abc"]) as held:
        if held.has("nonces of t3abc"):
            await held.write(transaction)       # not if another manager has taken the lease meanwhile

The row says by the database's clock when the lease ends; from then on another manager may take it, under the next token.
Each write carries its tokens, and is refused when one of them is not the row's any more: so a manager that was frozen changes
nothing when it wakes up. A holder stops by its own clock, a third of the time before the end.

A manager that ends gives back what it had, so that another one goes on at once. One that was killed keeps the others waiting
for eight seconds at most: `free` beats when a lease that this manager went without may have ended.

A database that is not shared has one manager, and no leases.
"""

import asyncio
import contextlib
import os
import platform
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

import anyio
import structlog
from sqlalchemy import BigInteger, Column, Connection, Double, Table, Text, func, insert, select, update

from damocles import beside
from damocles.manager.db import tables
from damocles.pulse import Pulse
from damocles.rpc.errors import Code, DatabaseAway, RpcError

T = TypeVar("T")

SECONDS = 8.0
_OWN_SECONDS = SECONDS * 2 / 3  # clocks may go wrong by a third
_RENEWING_SECONDS = SECONDS / 3
_AGAIN_SECONDS = 1.0

_LEASES = Table(
    "leases",
    tables.metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("ends", Double, nullable=False),  # seconds since 1970, by the database's clock
)

log = structlog.get_logger(__name__)


class Lost(DatabaseAway):
    """What was held has ended; nothing was written. Whoever needs it takes it again."""

    def __init__(self, where: str, names: Iterable[str], reason: str) -> None:
        RpcError.__init__(self, Code.DISK_FAILS, f"{', '.join(names)}: the lease is lost: {reason}")
        self.where = where
        self.reason = reason


class Store(Protocol):
    """Runs transactions, as `engine.Database` does."""

    @property
    def where(self) -> str:
        """The file or the server, for people."""

    async def write(self, transaction: Callable[[Connection], T], *, durable: bool = True) -> T:
        """Run a transaction that writes."""

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query."""


# Decisions ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A row; `ends` is in seconds by the database's clock. No two holders ever have the same token."""

    name: str
    holder: str
    token: int
    ends: float


def taken(row: Lease | None, name: str, holder: str, now: float) -> Lease | None:
    """Return what the row becomes for somebody who wants it at a time of the database's; `None` if it is another's."""
    if row is None:
        return Lease(name=name, holder=holder, token=1, ends=now + SECONDS)
    if row.ends <= now:
        return replace(row, holder=holder, token=row.token + 1, ends=now + SECONDS)
    return replace(row, ends=now + SECONDS) if row.holder == holder else None


def renewed(row: Lease | None, token: int, now: float) -> Lease | None:
    """Return what the row becomes when the holder of a token writes; `None` if that is over, and it must not.

    A lease that has ended and that nobody else has taken goes on.
    """
    return replace(row, ends=now + SECONDS) if row is not None and row.token == token else None


def stops(asked_at: float) -> float:
    """Return when a holder stops, by its own clock, by which it asked for the lease or its renewal."""
    return asked_at + _OWN_SECONDS


# Rows --------------------------------------------------------------------------------------------------------------


def load(tx: Connection, names: Iterable[str] | None = None) -> tuple[float, dict[str, Lease]]:
    """Return the time by the database's clock, and leases by name, all or some."""
    query = select(_LEASES).order_by(_LEASES.c.name)
    rows = tx.execute(query if names is None else query.where(_LEASES.c.name.in_(names))).all()
    now = float(tx.execute(select(func.date_part("epoch", func.clock_timestamp()))).scalar_one())
    return now, {row.name: Lease(name=row.name, holder=row.holder, token=row.token, ends=row.ends) for row in rows}


def take(tx: Connection, names: Sequence[str], holder: str) -> tuple[float, dict[str, Lease]]:
    """Take what can be had of some leases; return the time by the database's clock, and all of them as they are now."""
    now, known = load(tx, names)
    for name in names:
        if (lease := taken(known.get(name), name, holder, now)) is not None:
            values = {"holder": lease.holder, "token": lease.token, "ends": lease.ends}
            if name in known:
                tx.execute(update(_LEASES).where(_LEASES.c.name == name).values(values))
            else:
                tx.execute(insert(_LEASES).values(name=name, **values))
            known[name] = lease
    return now, known


def give_back(tx: Connection, tokens: Mapping[str, int]) -> None:
    """End leases now, those whose tokens are not over: the next one who wants them has not to wait."""
    for name, token in tokens.items():
        tx.execute(update(_LEASES).where(_LEASES.c.name == name, _LEASES.c.token == token).values(ends=0.0))


def renew(tx: Connection, tokens: Mapping[str, int]) -> bool:
    """Let leases go on; false if one of these tokens is over, and what follows in the transaction must not be."""
    now, known = load(tx, tokens)
    after = [renewed(known.get(name), token, now) for name, token in tokens.items()]
    for lease in after:
        if lease is None:
            return False
        tx.execute(update(_LEASES).where(_LEASES.c.name == lease.name).values(ends=lease.ends))
    return True


# Holders -----------------------------------------------------------------------------------------------------------


class Held(Protocol):
    """What is held while a block runs, and what writes with it."""

    @property
    def where(self) -> str:
        """The file or the server, for people."""

    def has(self, name: str) -> bool:
        """Return whether a lease is held; otherwise another manager has it."""

    async def write(self, transaction: Callable[[Connection], T], *, durable: bool = True) -> T:
        """Run a transaction that writes, if all leases are still held.

        Raises:
            Lost: They are not.
        """

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query."""


@dataclass(frozen=True, slots=True)
class _All:
    """What the only manager holds."""

    _store: Store

    @property
    def where(self) -> str:
        return self._store.where

    def has(self, name: str) -> bool:
        return True

    async def write(self, transaction: Callable[[Connection], T], *, durable: bool = True) -> T:
        return await self._store.write(transaction, durable=durable)

    async def read(self, query: Callable[[Connection], T]) -> T:
        return await self._store.read(query)


@dataclass(slots=True)
class _Some:
    """What one of several managers holds, by tokens, until `stops` by its own clock."""

    _store: Store
    _clock: Callable[[], float]
    tokens: Mapping[str, int]
    stops: float

    @property
    def where(self) -> str:
        return self._store.where

    def has(self, name: str) -> bool:
        return name in self.tokens

    async def write(self, transaction: Callable[[Connection], T], *, durable: bool = True) -> T:
        asked_at = self._clock()

        def fenced(tx: Connection) -> T:
            if not renew(tx, self.tokens):
                raise self.lost("another manager has taken it")
            return transaction(tx)

        inner = transaction.func if isinstance(transaction, partial) else transaction
        fenced.__qualname__ = inner.__qualname__  # by which tests know it
        result = await self._store.write(fenced, durable=durable)
        self.stops = max(self.stops, stops(asked_at))
        return result

    async def read(self, query: Callable[[Connection], T]) -> T:
        return await self._store.read(query)

    def lost(self, why: str) -> Lost:
        return Lost(self.where, self.tokens, why)


class Leases:
    """The leases of one database, as one manager takes them."""

    def __init__(self, store: Store, *, is_shared: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._is_shared = is_shared
        self._clock = clock
        # A process that is started again must not take itself for the one before.
        self.holder = f"{platform.node()} pid {os.getpid()} {uuid.uuid4().hex[:8]}"
        self._had: dict[str, int] = {}  # tokens, the last of each name
        self.free = Pulse()  # beats when it may be of use to ask again
        self._looks: dict[str, asyncio.TimerHandle] = {}

    @contextlib.asynccontextmanager
    async def keeping(self, names: Iterable[str]) -> AsyncIterator[Held]:
        """Hold what can be had of some leases while the block runs, which is cancelled where that cannot go on.

        They are not given back then: until they end, this manager has them again at once. `give_back` does that.

        Raises:
            Lost: Another manager has taken one, or the database did not answer in time.
            DatabaseAway: It does not answer now.
        """
        wanted = sorted(set(names))
        if not self._is_shared:
            yield _All(self._store)
            return
        asked_at = self._clock()
        taking = partial(take, names=wanted, holder=self.holder)
        now, found = await self._store.write(taking) if wanted else (0.0, dict[str, Lease]())
        tokens = {name: lease.token for name, lease in found.items() if lease.holder == self.holder}
        for name in found.keys() - tokens:
            self._look_again(name, found[name].ends - now)
        held = _Some(self._store, self._clock, tokens, stops(asked_at))
        self._had |= tokens
        if not tokens:
            yield held
            return
        reason: list[str] = []
        with anyio.CancelScope() as scope:
            async with beside.running(
                partial(self._renew, held, reason, scope), partial(self._watch, held, reason, scope)
            ):
                yield held
        if reason:
            raise held.lost(reason[0])

    def _look_again(self, name: str, seconds: float) -> None:
        """Beat when another manager's lease ends, unless that one renews it; whoever is too early comes here once more."""
        if (before := self._looks.get(name)) is not None:
            before.cancel()
        self._looks[name] = asyncio.get_running_loop().call_later(max(0.0, seconds), self.free.beat)

    async def give_back(self) -> None:
        """Let other managers have at once what this one had, which ends; those it cannot give back end by themselves."""
        had, self._had = self._had, {}
        if not had:
            return
        try:
            await self._store.write(partial(give_back, tokens=had))
        except DatabaseAway as error:
            log.warning("leases are not given back, and end by themselves", why=error.reason)

    async def _renew(self, held: _Some, reason: list[str], scope: anyio.CancelScope) -> None:
        """Renew until the end; cancel what depends on it when that fails for too long."""
        wait_seconds = _RENEWING_SECONDS
        while True:
            await anyio.sleep(wait_seconds)
            try:
                await held.write(_nothing)
                wait_seconds = _RENEWING_SECONDS
            except Lost as error:
                _end(reason, error.reason, scope)
            except DatabaseAway:  # reported by the database, and an alert
                wait_seconds = _AGAIN_SECONDS

    async def _watch(self, held: _Some, reason: list[str], scope: anyio.CancelScope) -> None:
        """End the block before the lease ends, whatever the database does."""
        while (left := held.stops - self._clock()) > 0:  # noqa: ASYNC110 (what it waits for is the clock)
            await anyio.sleep(left)
        _end(reason, "it could not be renewed in time", scope)


def _end(reason: list[str], why: str, scope: anyio.CancelScope) -> None:
    log.warning("a lease is lost", why=why)
    reason.append(why)
    scope.cancel()


def _nothing(_tx: Connection) -> None:
    """Write nothing but what the lease needs."""
