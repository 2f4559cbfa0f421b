"""How sectors flow: how many are at each stage, how long a stage takes, and where they wait."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from damocles.manager.alerts import durations
from damocles.manager.dashboard import looks
from damocles.sealing import planner
from damocles.sealing.states import State
from damocles.wire import control

_HOUR_SECONDS, _DAY_SECONDS = 3600.0, 86400.0
_HOURS, _PERIODS = 24, 96
_SLOT = "slot of "  # how what a thread waits for begins, if it is that (`stages.supervision.limits`)
_OF_NO_SECTOR = "wdpost"  # the plan whose threads have jobs, of which nobody reports steps


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """A state of a plan: the threads that hold a sector there, and how long sectors usually stay, in seconds.

    `oldest_since` is when the sector came there that has been there for the longest time. `day` has how many sectors, of all
    plans, were at this state over the last day, a number for each quarter of an hour; empty if no report says so.
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
    day: list[int] = []


class Bottleneck(msgspec.Struct, frozen=True, kw_only=True):
    """The stage that holds up the others: sectors are paused or wait for a slot there, or it takes the largest part of a sector's time."""

    plan: str
    state: str
    stage: str
    paused: int
    waiting_for_slot: int
    share: float  # of the sum of all medians of its plan


class View(msgspec.Struct, frozen=True, kw_only=True):
    """All stages in the order of their plans, and how many sectors were finished and aborted of late.

    `finished_hourly` are the sectors finished in each of the last 24 hours, the last hour at the end.
    """

    at: float
    stages: list[Stage]
    bottleneck: Bottleneck | None
    finished_hour: int
    finished_day: int
    finished_hourly: list[int]
    aborted_day: int
    counted_since: float | None


def view(
    seen: looks.Seen,
    known: durations.Durations,
    now: float,
) -> View:
    """Return the page; a stage that nobody is at and nothing is known of is left out.

    Plans are those of the threads, busy or not, or all while no worker answers.
    """
    here: dict[tuple[str, str], list[control.ThreadDetail]] = {}
    for thread in seen.threads.threads:
        if thread.info.job_id is not None:
            here.setdefault((thread.info.plan, thread.info.job_state), []).append(thread)
    counts: Counter[str] = Counter()
    for (plan, state), threads in here.items():
        if plan != _OF_NO_SECTOR:
            counts[state] += len(threads)
    ends = known.ends
    plans = {thread.info.plan for thread in seen.threads.threads}
    stages = [
        _stage(
            (plan, state.value, step.stage),
            here.pop((plan, state.value), []),
            known.spread(state, [*step.to.values()]),
            [] if plan == _OF_NO_SECTOR else _day(known.moves, state.value, counts[state.value], now),
        )
        for plan in planner.PLANS
        if plan in plans or not plans
        for state, step in planner.PLANS[plan].steps.items()
    ]
    stages += [_stage((plan, state, ""), threads) for (plan, state), threads in sorted(here.items())]
    shown = [stage for stage in stages if stage.threads or stage.runs or any(stage.day)]
    return View(
        at=seen.at,
        stages=shown,
        bottleneck=_bottleneck(shown),
        finished_hour=sum(end.finished and end.at > now - _HOUR_SECONDS for end in ends),
        finished_day=sum(end.finished and end.at > now - _DAY_SECONDS for end in ends),
        finished_hourly=[
            sum(end.finished and 0 <= now - end.at - hour * _HOUR_SECONDS < _HOUR_SECONDS for end in ends)
            for hour in reversed(range(_HOURS))
        ],
        aborted_day=sum(not end.finished and end.at > now - _DAY_SECONDS for end in ends),
        counted_since=known.since,
    )


def _stage(
    names: tuple[str, str, str],
    threads: Sequence[control.ThreadDetail],
    spread: durations.Spread | None = None,
    day: Sequence[int] = (),
) -> Stage:
    plan, state, stage = names
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
        day=list(day),
    )


def _day(moves: Mapping[int, Mapping[str, int]], state: str, here: int, now: float) -> list[int]:
    """Return how many sectors were at a state at the end of each period of the last day: back from those that are there now."""
    # Threads without a sector are no sectors in a state.
    if state == State.Empty or not any(state in counts for counts in moves.values()):
        return []
    period = int(now // durations.PERIOD_SECONDS)
    counts = [here]
    for number in range(_PERIODS - 1):
        counts.append(counts[-1] - moves.get(period - number, {}).get(state, 0))
    return [max(0, count) for count in reversed(counts)]


def _bottleneck(stages: Sequence[Stage]) -> Bottleneck | None:
    totals: dict[str, float] = defaultdict(float)
    for stage in stages:
        totals[stage.plan] += stage.median_seconds or 0
    made = [
        Bottleneck(
            plan=stage.plan,
            state=stage.state,
            stage=stage.stage,
            paused=stage.paused,
            waiting_for_slot=stage.waiting_for_slot,
            share=(stage.median_seconds or 0) / (totals[stage.plan] or 1),
        )
        for stage in stages
        if stage.plan != _OF_NO_SECTOR
    ]
    # A paused thread waits for no slot, and its sector gets no further either.
    worst = max(made, key=lambda one: (one.paused + one.waiting_for_slot, one.share), default=None)
    return worst if worst is not None and (worst.paused or worst.waiting_for_slot or worst.share) else None
