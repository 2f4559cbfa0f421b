"""The fleet as all open pages see it: one look at the workers, however many people watch.

While somebody watches, the next look comes soon after the last, but looking never takes more than a small part of the
time. While nobody does, nobody asks the workers anything.
"""

import time
from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar, cast

import anyio
import structlog

from damocles import pulse
from damocles.rpc import errors
from damocles.wire import control

T = TypeVar("T")

log = structlog.get_logger(__name__)

LEAST_SECONDS = 2.0  # between two looks
REST_FACTOR = 20.0  # so many times as long as the last look took of a core; what hangs costs nothing
MOST_SECONDS = 60.0
DEAR_SECONDS = 5.0  # from this rest on, a look by somebody else does as well
LARGE_THREADS = 2000  # from these on too, even for the first page that is opened
MOST_MADE = 100  # of one look
_SPREAD = 0.1  # of the time between two looks
STALE_SECONDS = 1.0  # how old a look may be that a page is made of when nobody watches


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one look found; `number` counts looks. What pages make of it is made once for all."""

    number: int
    at: float
    workers: Sequence[control.WorkerStatus]
    threads: control.FleetThreads
    made: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what was made under a key, and make it if nobody has."""
        if key not in self.made:
            if len(self.made) >= MOST_MADE:
                self.made.clear()
            self.made[key] = make()
        return cast("T", self.made[key])

    async def once_asked(self, key: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        """Return what was made under a key, and ask for it if nobody has."""
        if key not in self.made:
            answer = await ask()
            return self.once(key, lambda: answer)
        return cast("T", self.made[key])


class Found(NamedTuple):
    """What a look found, and when it did."""

    at: float
    workers: Sequence[control.WorkerStatus]
    threads: control.FleetThreads


class Looks:
    """Looks at the fleet; `run` makes them while somebody watches."""

    def __init__(
        self,
        threads: Callable[[], Awaitable[control.FleetThreads]],
        workers: Callable[[], Awaitable[Sequence[control.WorkerStatus]]],
        clock: Callable[[], float],
        *,
        others: Callable[[], Found | None] = lambda: None,
    ) -> None:
        """Args: others: Returns what somebody else's last look at the fleet has found."""
        self._others = others
        self._threads = threads
        self._workers = workers
        self._clock = clock
        self._lock = anyio.Lock()
        self._last: Seen | None = None
        self._looked = -1e9  # by the monotonic clock
        self._took_seconds = 0.0
        self._anew = False  # something was done, which no earlier look knows of
        self._watchers = 0
        self._awake = pulse.Pulse()
        self._news = pulse.Pulse()

    async def seen(self) -> Seen:
        """Return a look that is as new as watchers get it."""
        before = time.monotonic()
        # A worker that hangs holds up the look under way, but no page.
        if self._last is not None and self._lock.locked() and before - self._looked <= MOST_SECONDS:
            return self._last
        async with self._lock:
            if self._last is not None and before - self._looked <= self._patience():
                return self._last
            if not self._anew and self._is_large():
                self._borrow()
                if self._last is not None and before - self._looked <= MOST_SECONDS:
                    return self._last
            return await self._look()

    async def after(self, number: int) -> Seen:
        """Return the first look after that number."""
        while self._last is None or self._last.number <= number:
            await self._news.wait()
        return self._last

    @property
    def spread_seconds(self) -> float:
        """Over how long to tell those who watch of a look."""
        return LEAST_SECONDS if self._is_dear() else self._rest() * _SPREAD

    def forget(self) -> None:
        """Look anew for the next page: something was done."""
        self._looked, self._anew = -1e9, True
        self._awake.beat()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Have looks made while the block runs."""
        self._watchers += 1
        self._awake.beat()
        try:
            yield
        finally:
            self._watchers -= 1

    async def run(self) -> None:
        """Look again and again while somebody watches, for ever."""
        while True:
            if not self._watchers:
                await self._awake.wait()
            elif (left := self._looked + self._rest() - time.monotonic()) > 0:
                with anyio.move_on_after(left):
                    await self._awake.wait()
            elif not self._is_dear() or time.monotonic() - self._looked > MOST_SECONDS:
                await self._try()
            elif not self._borrow():
                with anyio.move_on_after(LEAST_SECONDS):
                    await self._awake.wait()

    async def _try(self) -> None:
        try:
            async with self._lock:
                await self._look()
        except errors.DiskFails:
            self._looked = time.monotonic()  # told by the database
        except Exception:
            self._looked = time.monotonic()
            log.exception("dashboard: the look failed; trying again")

    async def _look(self) -> Seen:
        began, self._anew = time.thread_time(), False
        threads = await self._threads()
        self._took_seconds = time.thread_time() - began
        return self._publish(Found(self._clock(), await self._workers(), threads))

    def _borrow(self) -> bool:
        """Take what the alerts have found, if it is newer: twice the looks at a large fleet would hold up others."""
        found = self._others()
        if found is None or (self._last is not None and found.at <= self._last.at):
            return False
        self._publish(found)
        return True

    def _publish(self, found: Found) -> Seen:
        number = 1 if self._last is None else self._last.number + 1
        self._last = Seen(number=number, at=found.at, workers=found.workers, threads=found.threads)
        self._looked = time.monotonic()
        self._news.beat()
        return self._last

    def _is_dear(self) -> bool:
        return self._rest() >= DEAR_SECONDS or self._is_large()

    def _is_large(self) -> bool:
        """Return whether the fleet is, by a look of somebody else that is not too old."""
        found = self._others()
        if found is None or abs(self._clock() - found.at) > MOST_SECONDS:
            return False
        return len(found.threads.threads) >= LARGE_THREADS

    def _rest(self) -> float:
        return min(max(LEAST_SECONDS, REST_FACTOR * self._took_seconds), MOST_SECONDS)

    def _patience(self) -> float:
        if not self._watchers:
            return STALE_SECONDS
        return MOST_SECONDS if self._is_dear() else self._rest() + LEAST_SECONDS
