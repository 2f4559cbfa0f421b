"""The other managers on the same database: that this one is there, and what they have done, looked at every two seconds.

    async with opened(database, home, address) as near:
        near.follow(ring.load, posts.changed.beat)

Whatever is asked of a manager it reads from the database. This is for what it keeps at hand (tokens), and for tasks that wait
for something that may happen at another manager (a proof that has come). A database that is not shared has no others.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import structlog
from sqlalchemy import Connection, func, select

from damocles import beside, methods
from damocles.manager.db import managers, tables
from damocles.manager.db.engine import Database
from damocles.rpc import core, errors
from damocles.wire import control

log = structlog.get_logger(__name__)

LOOK_SECONDS = 2.0
PATIENCE_SECONDS = 6.0  # with a database that says nothing, before that is reported

_jobs = tables.wdpost_jobs


class Neighbours:
    """What a manager knows of the others; `told` is what it tells them."""

    def __init__(self, database: Database, name: str, address: str) -> None:
        self._database = database
        self.name = name
        self._address = address
        self.told = managers.Told()
        self._load: Callable[[], Awaitable[None]] | None = None
        self._beat: Callable[[], None] = lambda: None
        self._jobs: Sequence[Any] = ()

    @property
    def is_alone(self) -> bool:
        """Whether there can be no others."""
        return not self._database.is_shared

    def follow(self, load: Callable[[], Awaitable[None]], beat: Callable[[], None]) -> None:
        """Load tokens again and again; beat when something has become of a window PoSt."""
        self._load, self._beat = load, beat

    async def all(self) -> list[managers.Manager]:
        """Return all managers, this one among them."""
        return await self._database.read(managers.select_all)

    def register(self, service: core.Service) -> None:
        """Serve who is there."""

        async def managers_beside() -> list[control.ManagerBeside]:
            return [] if self.is_alone else [_shown(one, self.name) for one in await self.all()]

        service.add(methods.util.managers, managers_beside)

    async def rest(self, seconds: float) -> None:
        """Wait; where there are others, only until the database is away, or back: of that one speaks at once."""
        was_away, left = self._database.trouble is not None, seconds
        while left > 0 and (self._database.trouble is not None) == was_away:
            step = left if self.is_alone else min(left, LOOK_SECONDS)
            await anyio.sleep(step)
            left -= step

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            # Its own turn may come late: whoever is before it has more patience.
            doubting = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._database.doubt, PATIENCE_SECONDS)
            try:
                await self.look()
            except errors.DiskFails:
                pass  # reported by the database
            except Exception:
                log.exception("the look at other managers failed; trying again")
            finally:
                doubting.cancel()
            await anyio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Say that this manager is there, and look once what others have done."""
        here = partial(
            managers.here,
            name=self.name,
            address=self._address,
            holder=self._database.leases.holder,
            told=self.told,
        )
        await self._database.write(here, durable=False, patience_seconds=PATIENCE_SECONDS)
        jobs = await self._database.read(_standing)
        if jobs != self._jobs:
            self._jobs = jobs
            self._beat()
        if self._load is not None:
            await self._load()

    async def leave(self) -> None:
        """Say that this manager ends; if the database does not answer, the others see that it is silent."""
        gone = partial(managers.gone, name=self.name, holder=self._database.leases.holder)
        with contextlib.suppress(errors.DiskFails):
            await self._database.write(gone, patience_seconds=PATIENCE_SECONDS / 2)


def _shown(one: managers.Manager, asked: str) -> control.ManagerBeside:
    return control.ManagerBeside(
        name=one.name,
        address=one.address,
        since=one.since,
        is_asked=one.name == asked,
        silent_seconds=round(one.silent_seconds, 3) if one.is_silent else None,
    )


def _standing(tx: Connection) -> Sequence[Any]:
    """Return what changes when something becomes of a window PoSt."""
    return tx.execute(select(_jobs.c.state, func.count()).group_by(_jobs.c.state).order_by(_jobs.c.state)).all()


@contextlib.asynccontextmanager
async def opened(database: Database, home: Path, address: str) -> AsyncIterator[Neighbours]:
    """Yield what is known of the other managers, and let them know of the one in this home, while the block runs."""
    near = Neighbours(database, managers.name_of(home), address)
    if near.is_alone:
        yield near
        return
    await near.look()
    try:
        async with beside.running(near.run):
            yield near
    finally:
        with anyio.CancelScope(shield=True):
            await near.leave()
