"""How long sectors usually stay in a state, from what workers have reported.

A run that failed, or that was interrupted by a step back, says nothing about the usual and is not counted. Reports of
the original's workers are left out: they come a stage late, and all with the event `None`.
"""

import statistics
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, func, select

from damocles.manager.alerts.rules import Typical
from damocles.manager.db import tables

_events = tables.sector_events

_RUNS = 50  # remembered of a state
_EVENTS = 20_000  # looked back at after a start
_OF_THE_ORIGINAL = "None"


class Durations:
    """The last runs by miner and state."""

    def __init__(self) -> None:
        self._last_id: int | None = None
        self._entered: dict[tuple[int, int], tuple[str, float]] = {}  # sector -> state and when it came there
        self._runs: dict[tuple[int, str], deque[float]] = {}

    def read(self, tx: Connection) -> list[Any]:
        """Return the reports since the last time, for `feed`."""
        last_id = self._last_id
        if last_id is None:
            newest = tx.execute(select(func.max(_events.c.id))).scalar_one() or 0
            last_id = max(0, newest - _EVENTS)
        return list(tx.execute(select(_events).where(_events.c.id > last_id).order_by(_events.c.id).limit(_EVENTS)))

    def feed(self, events: Iterable[Any]) -> None:
        """Take reports in, in their order."""
        for event in events:
            self._last_id = event.id
            if event.event == _OF_THE_ORIGINAL:
                continue
            sector = (event.miner, event.number)
            entered = self._entered.pop(sector, None)
            if event.failure_level is not None or event.prev == event.next:
                continue  # its run in this state is spoilt
            if entered is not None and entered[0] == event.prev:
                runs = self._runs.setdefault((event.miner, event.prev), deque(maxlen=_RUNS))
                runs.append(event.at - entered[1])
            self._entered[sector] = (event.next, event.at)
            if len(self._entered) > _EVENTS:
                self._entered.pop(next(iter(self._entered)))

    def typical(self) -> Mapping[tuple[int, str], Typical]:
        """Return the medians."""
        return {key: Typical(statistics.median(runs), len(runs)) for key, runs in self._runs.items()}
