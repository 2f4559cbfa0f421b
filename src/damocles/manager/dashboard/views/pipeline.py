"""How sectors flow: how many are at each stage, how long a stage takes, and where they wait."""

from collections.abc import Mapping, Sequence

import msgspec

from damocles.manager.alerts import durations
from damocles.manager.dashboard import looks
from damocles.sealing import planner
from damocles.wire import control

_HOUR_SECONDS, _DAY_SECONDS = 3600.0, 86400.0
_SLOT = "a slot"  # how what a thread waits for begins, if it is that


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """A state of a plan: the threads that hold a sector there, and how long sectors usually stay, in seconds.

    `oldest_since` is when the sector came there that has been there for the longest time.
    """

    plan: str
    state: str
    stage: str
    threads: int = 0
    paused: int = 0
    waiting_for_slot: int = 0
    oldest_since: float | None = None
    runs: int = 0
    median_seconds: float | None = None
    p90_seconds: float | None = None


class View(msgspec.Struct, frozen=True, kw_only=True):
    """All stages in the order of their plans, and how many sectors were finished and aborted of late."""

    at: float
    stages: list[Stage]
    most_threads: int
    finished_hour: int
    finished_day: int
    aborted_day: int
    counted_since: float | None


def view(
    seen: looks.Seen,
    spreads: Mapping[str, durations.Spread],
    ends: Sequence[durations.End],
    now: float,
    since: float | None,
) -> View:
    """Return the page; a stage that nobody is at and nothing is known of is left out."""
    here: dict[tuple[str, str], list[control.ThreadDetail]] = {}
    for thread in seen.threads.threads:
        if thread.info.job_id is not None:
            here.setdefault((thread.info.plan, thread.info.job_state), []).append(thread)
    plans = {plan for plan, _ in here}
    stages = [
        _stage(plan, state.value, step.stage, here.pop((plan, state.value), []), spreads.get(state.value))
        for plan in planner.PLANS
        if plan in plans or not plans
        for state, step in planner.PLANS[plan].steps.items()
    ]
    stages += [_stage(plan, state, "", threads, None) for (plan, state), threads in sorted(here.items())]
    shown = [stage for stage in stages if stage.threads or stage.runs]
    return View(
        at=seen.at,
        stages=shown,
        most_threads=max((stage.threads for stage in shown), default=0),
        finished_hour=sum(end.finished and end.at > now - _HOUR_SECONDS for end in ends),
        finished_day=sum(end.finished and end.at > now - _DAY_SECONDS for end in ends),
        aborted_day=sum(not end.finished and end.at > now - _DAY_SECONDS for end in ends),
        counted_since=since,
    )


def _stage(
    plan: str, state: str, stage: str, threads: Sequence[control.ThreadDetail], spread: durations.Spread | None
) -> Stage:
    since = [thread.state_since for thread in threads if thread.state_since is not None]
    return Stage(
        plan=plan,
        state=state,
        stage=stage,
        threads=len(threads),
        paused=sum(thread.info.thread_state.state == "Paused" for thread in threads),
        waiting_for_slot=sum(
            thread.waiting is not None and thread.waiting.what.startswith(_SLOT) for thread in threads
        ),
        oldest_since=min(since, default=None),
        runs=spread.runs if spread else 0,
        median_seconds=spread.median_seconds if spread else None,
        p90_seconds=spread.p90_seconds if spread else None,
    )
