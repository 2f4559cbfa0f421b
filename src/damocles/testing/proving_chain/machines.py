"""The machine that a manager lives on: its clocks, and its link to a database that other managers use, too.

The database is a file with the clock of a server, on which leases are written: each transaction is in one piece, as if alone.
"""

import contextvars
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from sqlalchemy import event

from damocles.manager.db import engine, leases, sqlite
from damocles.rpc.errors import DatabaseAway
from damocles.testing.proving_chain.manager import Life
from damocles.testing.proving_chain.processes import Process
from damocles.testing.simulation import virtual

CLOCK_SECONDS = 20.0  # by which a wall clock is wrong at most
_NO_ANSWER_SECONDS = 25.0  # after which a manager gives up a transaction
_READERS = 4


class Clocks:
    """A wall clock, which drifts and jumps, and a monotonic one, which goes too fast or too slow, or stood still for a while."""

    def __init__(self, drift: float, rate: float = 1.0) -> None:
        self._drift = drift
        self._rate = rate
        self.off = 0.0  # seconds
        self.stood = 0.0  # seconds

    def wall(self) -> float:
        """Return the unix time as the machine has it."""
        off = self.off + self._drift * anyio.current_time()
        return virtual.wall_clock() + max(-CLOCK_SECONDS, min(CLOCK_SECONDS, off))

    def monotonic(self) -> float:
        """Return the seconds since some time, in microseconds: less than the virtual clock can tell would be waited for for ever."""
        return round(self._rate * (anyio.current_time() - self.stood), 6)


class Shared(sqlite.SQLite):
    """A file that the managers of a world share."""

    is_shared = True

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        super().__init__(path, _READERS)
        self._clock = clock
        for made in (self._writer, self._reader):
            event.listen(made, "connect", self._give_clock)

    def _give_clock(self, connection: Any, _record: Any) -> None:
        connection.create_function("clock_timestamp", 0, self._clock)
        connection.create_function("date_part", 2, lambda _unit, at: at)


@dataclass(slots=True)
class Link:
    """A link to the database. Of a transaction that is under way when it is cut the answer may be lost, and nothing else."""

    latency_seconds: float = 0.0
    is_cut: bool = False
    loses_answer: bool = False


class Linked(engine.Database):
    """The shared file as one manager reaches it."""

    def __init__(self, backend: engine.Backend, link: Link, clock: Callable[[], float], holder: str) -> None:
        super().__init__(backend)
        self._link = link
        self.leases = leases.Leases(self, is_shared=True, clock=clock)
        self.leases.holder = holder

    async def _run(self, run: Any, limiter: Any, **given: Any) -> Any:
        link = self._link
        await anyio.sleep(link.latency_seconds)
        if not link.is_cut:
            return await super()._run(run, limiter, **given)
        if link.loses_answer:
            link.loses_answer = False
            await super()._run(run, limiter, **given)
        await anyio.sleep(_NO_ANSWER_SECONDS)
        raise self._failing(DatabaseAway(self.where, "the link is cut"))


@dataclass(slots=True, eq=False)
class Machine:
    """A machine, with the manager that lives there while one does."""

    name: str
    clocks: Clocks
    link: Link = field(default_factory=Link)
    process: Process = field(default_factory=Process)
    context: contextvars.Context | None = None
    life: Life | None = None
    lives: int = 0
    is_ending: bool = False  # in good order
    frozen_since: float | None = None
    stands: bool = False  # its clock does, while it is frozen

    def freeze(self, *, stands: bool) -> None:
        """Let it stand still from its next wait on."""
        self.process.is_frozen, self.frozen_since, self.stands = True, anyio.current_time(), stands

    def heal(self) -> None:
        """Let it go on, and reach the database."""
        self.link.is_cut = self.link.loses_answer = False
        if self.frozen_since is not None:
            if self.stands:
                self.clocks.stood += anyio.current_time() - self.frozen_since
            self.frozen_since = None
            self.process.thaw()
