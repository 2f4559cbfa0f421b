"""All workers at a glance, and what needs a person first."""

from collections import Counter

import msgspec

from damocles.manager.dashboard import looks
from damocles.manager.dashboard.views import threads
from damocles.wire import alerts as wire
from damocles.wire import control

_SEVERITIES = ("critical", "warning")


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Workers, their threads counted by what they do and by the states of their sectors, and alerts."""

    at: float
    workers: list[control.WorkerStatus]
    silent: list[control.Silence]
    total: int
    doing: dict[str, int]
    states: dict[str, int]
    troubles: list[threads.Trouble]
    alerts: list[wire.Alert]
    mutes: list[wire.Mute]
    looked_at: float | None


def view(seen: looks.Seen, board: wire.Board) -> View:
    """Return the page; alerts nobody cares for yet come first, the worst of them at the top."""
    everyone = seen.threads.threads
    return View(
        at=seen.at,
        workers=list(seen.workers),
        silent=seen.threads.silent,
        total=len(everyone),
        doing=dict(Counter(thread.info.thread_state.state for thread in everyone).most_common()),
        states=dict(Counter(thread.info.job_state or "Empty" for thread in everyone).most_common()),
        troubles=threads.troubles(everyone),
        alerts=sorted(board.alerts, key=_urgency),
        mutes=board.mutes,
        looked_at=board.looked_at,
    )


def _urgency(alert: wire.Alert) -> tuple[bool, int, float]:
    rank = _SEVERITIES.index(alert.severity) if alert.severity in _SEVERITIES else len(_SEVERITIES)
    cared_for = alert.acknowledged_at is not None or alert.muted_until is not None
    return cared_for, rank, alert.since
