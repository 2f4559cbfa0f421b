"""All workers at a glance, and what needs a person first."""

import heapq
from collections import Counter

import msgspec

from damocles.manager.dashboard import looks
from damocles.manager.dashboard.views import threads
from damocles.wire import alerts as wire
from damocles.wire import control

MOST_ALERTS = 50
_SEVERITIES = ("critical", "warning")


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Workers, their threads counted by what they do and by the states of their sectors, and the most urgent alerts; `others` are not here, and `by_rule` counts them all."""

    at: float
    workers: list[control.WorkerStatus]
    silent: list[control.Silence]
    total: int
    doing: dict[str, int]
    states: dict[str, int]
    troubles: list[threads.Trouble]
    alerts: list[wire.Alert]
    by_rule: dict[str, int]
    others: int
    mutes: list[wire.Mute]
    looked_at: float | None


class Draining(msgspec.Struct, frozen=True, kw_only=True):
    """A worker, whether it takes new sectors, and what is left to do."""

    worker: str
    drain: control.Drain


def view(seen: looks.Seen, board: wire.Board) -> View:
    """Return the page; alerts nobody cares for yet come first, the worst of them at the top."""
    counted = threads.counted(seen)
    return View(
        at=seen.at,
        workers=list(seen.workers),
        silent=seen.threads.silent,
        total=len(seen.threads.threads),
        doing=counted.doing,
        states=counted.states,
        troubles=counted.troubles,
        alerts=heapq.nsmallest(MOST_ALERTS, board.alerts, key=_urgency),
        by_rule=dict(Counter(alert.rule for alert in board.alerts).most_common()),
        others=max(0, len(board.alerts) - MOST_ALERTS),
        mutes=board.mutes,
        looked_at=board.looked_at,
    )


def _urgency(alert: wire.Alert) -> tuple[bool, int, float]:
    rank = _SEVERITIES.index(alert.severity) if alert.severity in _SEVERITIES else len(_SEVERITIES)
    cared_for = alert.acknowledged_at is not None or alert.muted_until is not None
    return cared_for, rank, alert.since
