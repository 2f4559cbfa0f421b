"""Distinguish live workers from late and lost ones by their pings.

A worker is *late* when two pings that were due have not come, and *lost* when none has come for the expiration time.
Its interval is the one that it reports, or is estimated from its pings. One timer, set to the next moment at which a status may change, is all that
runs: pings only move that moment away, so that an idle manager wakes up about once in two ping intervals.
"""

import statistics
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import anyio
import structlog
from msgspec import UnsetType

from damocles import pulse
from damocles.manager.fleet import doubles, workers
from damocles.wire import control

log = structlog.get_logger(__name__)

LIVE, LATE, LOST = "live", "late", "lost"

DEFAULT_INTERVAL_SECONDS = 30.0  # of workers until their pings show another
EXPIRATION_SECONDS = 600.0
LATE_AFTER_INTERVALS = 2.5  # two pings are missing; half an interval for the way
_PAST_SECONDS = 0.001  # a status holds up to and including its last moment
_GAPS = 5
_ENOUGH_GAPS = 3
_TRANSITIONS = 20
_LEAST_SECONDS, _MOST_SECONDS = 0.05, 86400.0  # of an interval that is believed


@dataclass(slots=True)
class _Known:
    """What is remembered of a worker; `counted_from` is what its silence is measured from."""

    last_ping: float
    counted_from: float
    status: str = LIVE
    told_seconds: float | None = None  # the interval that the worker tells; those of the original tell none
    gaps: deque[float] = field(default_factory=lambda: deque(maxlen=_GAPS))
    transitions: deque[control.Transition] = field(default_factory=lambda: deque(maxlen=_TRANSITIONS))

    @property
    def interval_seconds(self) -> float:
        """The reported interval, or the median: neither an outage nor a restart, which pings at once, changes it."""
        if self.told_seconds is not None:
            return self.told_seconds
        if len(self.gaps) < _ENOUGH_GAPS:
            return max(DEFAULT_INTERVAL_SECONDS, *self.gaps, 0.0)
        return statistics.median(self.gaps)


def status_of(silence_seconds: float, interval_seconds: float, expiration_seconds: float) -> str:
    """Return the status of a worker whose last ping is `silence_seconds` old."""
    if silence_seconds > expiration_seconds:
        return LOST
    return LATE if silence_seconds > LATE_AFTER_INTERVALS * interval_seconds else LIVE


def _told_by(row: workers.Row) -> float | None:
    """Return the interval that a ping reports, if it is valid."""
    stated = row.info.ping_seconds
    return stated if not isinstance(stated, UnsetType) and _LEAST_SECONDS <= stated <= _MOST_SECONDS else None


class Watch:
    """The statuses of all workers; `run` keeps them."""

    def __init__(
        self,
        registry: Callable[[], Awaitable[Sequence[workers.Row]]],
        clock: Callable[[], float],
        expiration_seconds: float = EXPIRATION_SECONDS,
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._expiration_seconds = expiration_seconds
        self._known: dict[str, _Known] = {}
        self._namesakes = doubles.Namesakes()
        self._timer: float | None = None  # when it goes off
        self._sooner = pulse.Pulse()

    async def load(self) -> None:
        """Take up what the registry holds from before.

        Nobody could ping while the manager was down, which began after the last ping of all: silence before that
        counts, silence after it does not.
        """
        rows = await self._registry()
        latest = max((row.last_ping for row in rows), default=0.0)
        now = self._clock()
        for row in rows:
            known = _Known(row.last_ping, now - (latest - row.last_ping), told_seconds=_told_by(row))
            known.status = self._status(known, now)
            self._known[row.info.name] = known

    def heard(self, name: str, at: float | None = None, told_seconds: float | None = None) -> None:
        """Note a ping, and the interval that it reports."""
        at = self._clock() if at is None else at
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = _Known(at, at, told_seconds=told_seconds)
            known.transitions.append(control.Transition(at, LIVE))
            log.info("worker joined", worker=name)
        else:
            gap = at - known.last_ping
            if 0 < gap <= self._expiration_seconds:
                known.gaps.append(gap)
            known.last_ping = known.counted_from = at
            known.told_seconds = told_seconds
            self._move(name, known, LIVE)
        due = self._due(known)
        if due is not None and (self._timer is None or due < self._timer):
            self._sooner.beat()

    def pinged(self, row: workers.Row) -> None:
        """Take note of a ping, and of where it came from."""
        self.heard(row.info.name, row.last_ping, _told_by(row))
        self._namesakes.heard(row, self._patience_seconds(row.info.name))

    def sharing(self, name: str) -> list[workers.Row]:
        """Return the last pings of the workers that live under one name; none if it is one worker's."""
        return self._namesakes.of(name, self._clock(), self._patience_seconds(name))

    def _patience_seconds(self, name: str) -> float:
        """Return how long an address counts without a ping; two workers ping twice as often as each of them."""
        known = self._known.get(name)
        interval = DEFAULT_INTERVAL_SECONDS if known is None else known.interval_seconds
        return LATE_AFTER_INTERVALS * max(DEFAULT_INTERVAL_SECONDS, 2 * interval)

    def forget(self, name: str) -> None:
        """Drop a worker that was removed."""
        self._known.pop(name, None)
        self._namesakes.forget(name)

    def describe(self, row: workers.Row, expiration_seconds: float | None = None) -> control.WorkerStatus:
        """Return a worker of the registry with its status, by another expiration time if given."""
        now = self._clock()
        known = self._known.get(row.info.name) or _Known(row.last_ping, row.last_ping, told_seconds=_told_by(row))
        if row.last_ping > known.last_ping:  # it has pinged another manager on the same database
            self.pinged(row)
        return control.WorkerStatus(
            info=row.info,
            status=self._status(known, now, expiration_seconds),
            last_ping=row.last_ping,
            age_seconds=max(0.0, now - row.last_ping),
            interval_seconds=known.interval_seconds,
            transitions=list(known.transitions),
            sharing=[sharing.info.dest for sharing in self.sharing(row.info.name)],
        )

    async def run(self) -> None:
        """Change statuses when their time has come."""
        while True:
            self._timer = min((due for known in self._known.values() if (due := self._due(known))), default=None)
            if self._timer is None:
                await self._sooner.wait()
                continue
            with anyio.move_on_after(max(0.0, self._timer - self._clock())):
                await self._sooner.wait()
                continue
            await self.check()

    async def check(self) -> None:
        """Look at every worker; one may have pinged another manager on the same database meanwhile."""
        try:
            rows: Mapping[str, workers.Row] = {row.info.name: row for row in await self._registry()}
        except Exception as error:  # noqa: BLE001 (the timer is the daemon's, and must outlive any row)
            log.warning("the registry of workers cannot be read; using the pings received", error=str(error))
        else:
            for name in self._known.keys() - rows.keys():
                self.forget(name)
            for name, row in rows.items():
                if name not in self._known or row.last_ping > self._known[name].last_ping:
                    self.pinged(row)
        now = self._clock()
        for name, known in self._known.items():
            self._move(name, known, self._status(known, now))

    def _status(self, known: _Known, now: float, expiration_seconds: float | None = None) -> str:
        expiration = self._expiration_seconds if expiration_seconds is None else expiration_seconds
        return status_of(now - known.counted_from, known.interval_seconds, expiration)

    def _due(self, known: _Known) -> float | None:
        """Return when the status changes if no ping comes."""
        if known.status == LOST:
            return None
        late = LATE_AFTER_INTERVALS * known.interval_seconds
        patience = self._expiration_seconds
        if known.status == LIVE:
            patience = min(patience, late)
        return known.counted_from + patience + _PAST_SECONDS

    def _move(self, name: str, known: _Known, status: str) -> None:
        if status == known.status:
            return
        tell = {LIVE: log.info, LATE: log.warning, LOST: log.error}[status]
        silence = round(self._clock() - known.last_ping, 1)
        tell("worker status", worker=name, status=status, before=known.status, last_ping_seconds_ago=silence)
        known.status = status
        known.transitions.append(control.Transition(self._clock(), status))
