"""How long sectors usually stay in a state, from what workers have reported.

The same state is in several plans; which run was of which plan is told by the state that followed.

A run that failed, or that was interrupted by a step back, does not show the usual time and is not counted. Reports of
the original's workers are left out: they come a stage late, and all with the event `None`.
"""

import statistics
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select

from damocles.manager.alerts.progress import Progress
from damocles.manager.alerts.seen import Typical
from damocles.manager.db import tables

_events = tables.sector_events

_RUNS = 50  # remembered of a state
_ENDS = 20_000
PERIOD_SECONDS = 900.0  # for which moves are counted
_PERIODS = 96  # a day
_FINISHED, _ABORTED = "Finished", "Aborted"
_EVENTS = 20_000  # looked back at after a start
_OVERTAKEN = 500  # reports that several managers may take in at the same time, and more
_OF_THE_ORIGINAL = "None"


class Spread(NamedTuple):
    """How long sectors stay in a state, by their last runs there."""

    runs: int
    median_seconds: float
    p90_seconds: float


class End(NamedTuple):
    """When a sector was finished or aborted."""

    at: float
    finished: bool


class Durations:
    """The last runs by miner, state and the next state, the last ends of sectors, and how many came to and left each state in a day.

    `moves` counts by period (unix time in `PERIOD_SECONDS`) and state: +1 for each sector that came, -1 for each that left.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress = progress or Progress()
        self.ends: deque[End] = deque(maxlen=_ENDS)
        self.moves: dict[int, Counter[str]] = {}
        self.since: float | None = None  # the first report that was taken in
        self._last_id: int | None = None
        self._fed: deque[int] = deque(maxlen=2 * _OVERTAKEN)
        self._entered: dict[tuple[int, int], tuple[str, float]] = {}  # sector -> state and when it came there
        self._runs: dict[tuple[int, str, str], deque[float]] = {}

    def read(self, tx: Connection) -> list[Any]:
        """Return the reports since the last time, for `feed`.

        Of several managers, a report with a higher id may have been visible before one with a lower id.
        """
        last_id = self._last_id
        if last_id is None:
            newest = tx.execute(select(func.max(_events.c.id))).scalar_one() or 0
            last_id = max(0, newest - _EVENTS)
        if tx.dialect.name == "postgresql" and self._last_id is not None:
            last_id -= _OVERTAKEN
        known = set(self._fed)
        rows = tx.execute(select(_events).where(_events.c.id > last_id).order_by(_events.c.id).limit(_EVENTS))
        return [row for row in rows if row.id not in known]

    def feed(self, events: Iterable[Any]) -> None:
        """Take reports in, in their order."""
        for event in events:
            self._last_id = max(event.id, self._last_id or 0)
            self._fed.append(event.id)
            self.since = event.at if self.since is None else self.since
            if event.prev != event.next:
                self._count(event)
            sector = (event.miner, event.number)
            if event.prev != event.next and event.next in {_FINISHED, _ABORTED}:
                self.ends.append(End(event.at, event.next == _FINISHED))
                if self._entered.get(sector, ("",))[0] != event.next:  # else told again, since the answer was lost
                    self._progress.ended(event)
            if event.event == _OF_THE_ORIGINAL:
                continue
            entered = self._entered.pop(sector, None)
            if event.failure_level is not None or event.prev == event.next:
                continue  # its run in this state is spoilt
            if entered is not None and entered[0] == event.prev:
                runs = self._runs.setdefault((event.miner, event.prev, event.next), deque(maxlen=_RUNS))
                runs.append(event.at - entered[1])
                self._progress.left(event, runs[-1])
            self._entered[sector] = (event.next, event.at)
            if len(self._entered) > _EVENTS:
                self._entered.pop(next(iter(self._entered)))

    def _count(self, event: Any) -> None:
        period = int(event.at // PERIOD_SECONDS)
        moves = self.moves.setdefault(period, Counter())
        moves[event.next] += 1
        moves[event.prev] -= 1
        if len(self.moves) > _PERIODS:
            del self.moves[min(self.moves)]

    def typical(self) -> Mapping[tuple[int, str, str], Typical]:
        """Return the medians, by miner, state and the next state."""
        return {key: Typical(statistics.median(runs), len(runs)) for key, runs in self._runs.items()}

    def spread(self, state: str, following: Collection[str]) -> Spread | None:
        """Return how long sectors of all miners stay in a state from which they go to one of the `following`."""
        kept = [runs for (_, at, then), runs in self._runs.items() if at == state and then in following]
        return _spread(sorted(seconds for runs in kept for seconds in runs)) if kept else None


def _spread(seconds: Sequence[float]) -> Spread:
    """Return the spread of sorted runs; the p90 is the least that nine in ten do not exceed."""
    rank = max(1, -(-9 * len(seconds) // 10))
    return Spread(len(seconds), statistics.median(seconds), seconds[rank - 1])
