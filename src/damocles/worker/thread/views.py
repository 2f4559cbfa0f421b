"""A sealing thread as listings show it."""

import platform
from typing import TYPE_CHECKING

from damocles.sealing import planner, thread
from damocles.wire import control, fleet
from damocles.worker.thread import display

if TYPE_CHECKING:
    from damocles.worker.thread import loop


def info(shown: "loop.SealingThread", now: float) -> fleet.ThreadInfo:
    """Return what the original's programs know of a thread, at unix time `now`."""
    mind, activity = shown.mind, shown.activity
    sector, plan = mind.sector, planner.PLANS[mind.sector.plan]
    elapsed = None if activity.state == "Idle" else max(0, int(now - activity.since))
    processor = activity.what if activity.state == "Running" else None
    return fleet.ThreadInfo(
        location=str(shown.location),
        plan=sector.plan,
        job_id=sector.job_id,
        index=shown.index,
        thread_state=fleet.ThreadState(activity.state, elapsed, processor),
        job_state=sector.state.value,
        job_stage=plan.stage_of(sector.state) if sector.job_id else None,
        last_error=mind.trouble or sector.last_error or mind.unread or sector.post_error,
    )


def detail(shown: "loop.SealingThread", worker: str, now: float) -> control.ThreadDetail:
    """Return a thread with everything that helps to understand it."""
    mind, activity = shown.mind, shown.activity
    sector = mind.sector
    # After a failure the sector counts the attempt that comes next; as in the history, the one that failed is shown.
    has_failed = sector.last_error is not None and (sector.paused_at or sector.retry_at) is not None
    return control.ThreadDetail(
        info=info(shown, now),
        worker=worker,
        sector=sector.job_id,
        since=activity.since,
        waiting=_waiting(shown),
        pid=activity.pid,
        progress=activity.progress,
        host=mind.host or platform.node(),
        far_host=mind.host,
        attempt=max(1, sector.attempt - has_failed),
        retries=sector.retries,
        paused_at=sector.paused_at,
        pausing=mind.is_pausing,
        unrecorded=mind.is_pausing and mind.is_unrecorded,
        draining=mind.orders.closed or mind.leaving or mind.stopping,
        state_since=sector.entered_at,
    )


def _waiting(shown: "loop.SealingThread") -> control.Waiting | None:
    mind, activity = shown.mind, shown.activity
    if activity.state in {"Waiting", "Idle"} and activity.what:
        return control.Waiting(activity.what, activity.since, mind.sector.retry_at or activity.until)
    if activity.state == "Paused":
        reads = isinstance(mind.doing, thread.ReadOptions)
        return control.Waiting(display.OPTIONS if reads else shown.remedy or "resume", activity.since)
    stage = mind.stage
    return stage.stalled if stage is not None and stage.stalled is not None else mind.call
