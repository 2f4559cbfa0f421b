"""Decide what a sealing thread does next.

`step` is pure: the same sector, event, limits and time always give the same answer. The last instruction is what the
thread does until the next event; a report before it is sent on the way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from damocles.sealing import events, failures
from damocles.sealing.plans import niporep, rebuild, sealer, snapup, table, unseal, wdpost
from damocles.sealing.sectors import Sector
from damocles.sealing.states import State
from damocles.text import units

# The plans that there are, in the order in which people see them. What each does on the worker is in
# `worker.plans.repertoire`, what it makes the manager serve in `manager.office`.
PLANS: Mapping[str, table.Plan] = {
    plan.PLAN.name: plan.PLAN for plan in (sealer, niporep, snapup, rebuild, unseal, wdpost)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How patient a thread is; the `[sealing]` options of the same names, in seconds."""

    max_retries: int = 5
    seal_interval_seconds: float = 30.0
    recover_interval_seconds: float = 60.0
    request_task_max_retries: int = 3


@dataclass(frozen=True, slots=True)
class Execute:
    """Run the handler of the sector's state and feed what it returns."""

    does: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Feed `Wake` after some seconds; a pause ends it at once."""

    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Wait for `Resume`."""


@dataclass(frozen=True, slots=True)
class Finalize:
    """Report to the manager, clear the store, feed `Finalized`."""


@dataclass(frozen=True, slots=True)
class Discard:
    """Move the files to the trash and feed `Discarded`; report to the manager first, unless the abort came from it."""

    reason: str
    tell_manager: bool


@dataclass(frozen=True, slots=True)
class Report:
    """Report to the manager (`ReportState`)."""

    prev: State
    next: State
    event: str
    failure: tuple[str, str] | None = None  # level, text


Action = Execute | Wait | Hold | Finalize | Discard
Instruction = Report | Action

LONGEST_BACK_OFF_SECONDS = 600.0
MOST_DOUBLINGS = 20  # of the shortest `recover_interval` far beyond the longest back-off

# Of a sector that has no tries to count, and of one whose failures are over besides.
_NO_TRIES: dict[str, Any] = {"retries": 0, "unreached": 0, "retry_at": None}
_WELL: dict[str, Any] = {**_NO_TRIES, "last_error": None}

_ABORTED = "task aborted"  # the reason where nobody gave one


class UnexpectedEvent(Exception):
    """An event that the plan does not know in this state: a defect of ours; the message has the sector's story."""


def step(sector: Sector, event: events.Event, limits: Limits, now: float) -> tuple[Sector, tuple[Instruction, ...]]:
    """Apply `event` to `sector` at unix time `now`.

    Returns:
        The sector as it is now and what to do; the last instruction is always an `Action`.

    Raises:
        UnexpectedEvent: The plan's table has no such edge.
    """
    after, instructions = _step(PLANS[sector.plan], sector, event, limits, now)
    if after.state is not sector.state and after.job_id is not None:
        after = msgspec.structs.replace(after, entered_at=now)
    return after, instructions


def is_passing(before: Sector, after: Sector) -> bool:
    """Return True if the step need not be journaled: a restart would lose nothing."""
    return before == msgspec.structs.replace(after, idles=before.idles, retry_at=before.retry_at)


def _step(
    plan: table.Plan, sector: Sector, event: events.Event, limits: Limits, now: float
) -> tuple[Sector, tuple[Instruction, ...]]:
    match event:
        case events.PlanEvent():
            return _advance(plan, sector, event)
        case events.Failed():
            return _fail(plan, sector, event, limits, now)
        case events.Idle():
            return _rest(sector, event, limits)
        case events.Later():
            # An answer: failures before it are over, and must not add up with those of the days to come.
            well = msgspec.structs.replace(sector, **_WELL)
            return well, (Wait(event.seconds, event.why),)
        case events.Wake():
            woken = msgspec.structs.replace(sector, retry_at=None)
            return woken, (_act(plan, woken),)
        case events.Restart():
            again = msgspec.structs.replace(sector, attempt=sector.attempt + 1) if sector.job_id else sector
            return again, (_act(plan, again, now),)
        case events.Claimed():
            ours = msgspec.structs.replace(sector, claim=event.claim)
            return ours, (_act(plan, ours, now),)
        case events.Pause():
            if sector.paused_at is None:
                sector = msgspec.structs.replace(sector, paused_at=now, retry_at=None)
            return sector, (Hold(),)
        case events.Resume():
            return _resume(plan, sector, event)
        case events.Abort() if sector.state is State.Finished:
            return sector, (_act(plan, sector),)  # too late: it is proven, or done
        case events.Abort():
            lost = _lose(sector, event.reason)
            return lost, (Report(sector.state, lost.state, event.name), _act(plan, lost))
        case events.Withdrawn():
            over = _enter(sector, State.Aborted)
            return over, (Discard(event.reason or "the manager has finalized the sector", tell_manager=False),)
        case events.Finalized() | events.Discarded():
            rests = plan.rests or isinstance(event, events.Discarded)
            rest_seconds = limits.seal_interval_seconds if rests else 0.0
            # Why the last window PoSt failed is shown until the next one is proved.
            free = Sector(plan=sector.plan, post_error=sector.post_error)
            return free, (Wait(rest_seconds, "the next sector (seal_interval)"),)
        case _:
            raise UnexpectedEvent(_story(plan, sector, event))


def _advance(plan: table.Plan, sector: Sector, event: events.PlanEvent) -> tuple[Sector, tuple[Instruction, ...]]:
    here = plan.steps.get(sector.state)
    target = here.to.get(type(event)) if here else None
    if target is None:
        raise UnexpectedEvent(_story(plan, sector, event))
    changes = {name: getattr(event, name) for name in event.__struct_fields__ if name != "why"}
    after = _enter(msgspec.structs.replace(sector, **changes), target)
    report = Report(sector.state, target, event.name)
    if event.then_wait_seconds:
        why = getattr(event, "why", "")
        return after, (
            report,
            Wait(event.then_wait_seconds, f"before submitting again ({why})" if why else "before submitting again"),
        )
    return after, (report, _act(plan, after))


def _enter(sector: Sector, state: State) -> Sector:
    """Move to `state` with a fresh retry budget."""
    # A state reached again is a step back: what followed it the last time no longer counts as reached.
    before = sector.path[: sector.path.index(state)] if state in sector.path else sector.path
    visited = sector.visited if state in sector.visited else (*sector.visited, state)
    return msgspec.structs.replace(
        sector,
        prev_state=sector.state,
        state=state,
        path=(*before, state),
        visited=visited,
        attempt=1,
        paused_at=None,
        idles=0,
        **_WELL,
    )


def _lose(sector: Sector, reason: str) -> Sector:
    return msgspec.structs.replace(_enter(sector, State.Aborted), last_error=reason, given_up=reason)


def _act(plan: table.Plan, sector: Sector, now: float | None = None) -> Action:
    """Return what a thread does with a sector in this condition."""
    if sector.paused_at is not None:
        return Hold()
    if sector.state is State.Finished:
        return Finalize()
    if sector.state is State.Aborted:
        return Discard(sector.given_up or sector.last_error or _ABORTED, tell_manager=True)
    if sector.retry_at is not None and now is not None and sector.retry_at > now:
        return Wait(sector.retry_at - now, f"another try ({sector.last_error})")
    return Execute(plan.steps[sector.state].does)


def _fail(
    plan: table.Plan, sector: Sector, event: events.Failed, limits: Limits, now: float
) -> tuple[Sector, tuple[Instruction, ...]]:
    level = failures.Level(event.level)
    error = f"{event.level.lower()}: {event.error}"
    report = Report(sector.state, sector.state, event.name, (event.level, event.error))
    if level is failures.Level.ABORT:
        lost = _lose(sector, event.error)
        return lost, (report, _act(plan, lost))
    failed = msgspec.structs.replace(sector, attempt=sector.attempt + 1, last_error=error)
    if level is failures.Level.TEMPORARY and (event.away or sector.retries < limits.max_retries):
        # A manager that is away for long must not pause its whole fleet: such tries are not in the budget.
        tries = min(sector.unreached, MOST_DOUBLINGS) if event.away else sector.retries
        delay_seconds = min(
            limits.recover_interval_seconds * 2**tries,
            max(LONGEST_BACK_OFF_SECONDS, limits.recover_interval_seconds),
        )
        counts = {"unreached": sector.unreached + 1} if event.away else {"unreached": 0, "retries": sector.retries + 1}
        retrying = msgspec.structs.replace(failed, retry_at=now + delay_seconds, **counts)
        return retrying, (report, Wait(delay_seconds, f"another try ({error})"))
    if level is failures.Level.TEMPORARY:
        # The budget is spent: an operator has to look, as for a permanent failure.
        failed = msgspec.structs.replace(failed, last_error=f"permanent: {event.error}")
    return msgspec.structs.replace(failed, paused_at=now, **_NO_TRIES), (report, Hold())


def _rest(sector: Sector, event: events.Idle, limits: Limits) -> tuple[Sector, tuple[Instruction, ...]]:
    """Ask again soon, and after some refusals in a row at the pace of `seal_interval`; a refusal is an answer."""
    well = msgspec.structs.replace(sector, **_NO_TRIES, last_error=event.error)
    if sector.idles < limits.request_task_max_retries:
        waiting = msgspec.structs.replace(well, idles=sector.idles + 1)
        return waiting, (Wait(limits.recover_interval_seconds, event.why),)
    # Without a pause between sectors there is still one between questions.
    seconds = limits.seal_interval_seconds or limits.recover_interval_seconds
    return msgspec.structs.replace(well, idles=0), (Wait(seconds, event.why),)


def _resume(plan: table.Plan, sector: Sector, event: events.Resume) -> tuple[Sector, tuple[Instruction, ...]]:
    if event.state is None or event.state is sector.state:
        resumed = msgspec.structs.replace(sector, paused_at=None, **_WELL)
        return resumed, (_act(plan, resumed),)
    moved = _enter(sector, event.state)
    if event.state is State.Aborted:
        moved = msgspec.structs.replace(moved, given_up=_ABORTED)
    return moved, (Report(sector.state, moved.state, event.name), _act(plan, moved))


def _story(plan: table.Plan, sector: Sector, event: events.Event) -> str:
    path = " → ".join(sector.path) or State.Empty
    since = f", since {units.moment(sector.entered_at)}" if sector.entered_at is not None else ""
    return f"plan {plan.name} knows no event {event.name} in state {sector.state} (sector {sector.job_id}, so far {path}{since})"
