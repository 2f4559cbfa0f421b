"""All workers at a glance, and what needs a person first."""

from collections import Counter

import msgspec

from damocles.manager.dashboard import looks
from damocles.manager.dashboard.views import alerts, threads
from damocles.wire import alerts as wire
from damocles.wire import control

_LIVE = "live"
MOST_ALERTS, MOST_OF_A_RULE = 10, 3


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Workers and threads, counted by how they are and what they do, threads also by the states of their sectors; what needs a person.

    Workers that are not live come first.
    """

    at: float
    workers: list[control.WorkerStatus]
    statuses: dict[str, int]
    silent: list[control.Silence]
    total: int
    doing: dict[str, int]
    states: dict[str, int]
    troubles: list[threads.Trouble]
    alerts: alerts.View


def view(seen: looks.Seen, board: wire.Board) -> View:
    """Return the page."""
    counted = threads.counted(seen)
    return View(
        at=seen.at,
        workers=sorted(seen.workers, key=lambda worker: worker.status == _LIVE),
        statuses=dict(Counter(worker.status for worker in seen.workers).most_common()),
        silent=seen.threads.silent,
        total=len(seen.threads.threads),
        doing=counted.doing,
        states=counted.states,
        troubles=counted.troubles,
        alerts=alerts.view(board, seen.at, most=MOST_ALERTS, of_a_rule=MOST_OF_A_RULE),
    )
