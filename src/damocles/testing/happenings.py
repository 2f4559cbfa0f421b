"""Events for walks through a plan: what may come next, drawn by hypothesis or chosen as the straight way."""

import types
import typing
from typing import Any

import msgspec
from hypothesis import strategies as st

from damocles.sealing import events, failures, planner
from damocles.sealing import thread as threads
from damocles.sealing.plans import table
from damocles.sealing.sectors import Sector, UnsealPiece
from damocles.sealing.states import State
from damocles.wire import codec, seal, sectors, tasks, wdpost

_ZERO = codec.Bytes32(bytes(32))
_SAMPLES: dict[Any, Any] = {
    seal.AllocatedSector: seal.AllocatedSector(sectors.SectorID(10000, 1), 5),
    seal.Ticket: seal.Ticket(bytes(32), 1),
    seal.Seed: seal.Seed(bytes(32), 2),
    tasks.PC2Output: tasks.PC2Output("StackedDrg2KiBV1_1", _ZERO, _ZERO),
    msgspec.Raw: msgspec.Raw(b"{}"),
    codec.NumberList: codec.NumberList(b"proof"),
    list[tasks.PieceInfo]: [tasks.PieceInfo(_ZERO, 2032)],
    list[seal.SectorPiece]: [seal.SectorPiece(seal.Piece(2048, codec.CID("baga")), seal.DealInfo(deal_id=1))],
    tuple: ("file:///piece",),
    seal.SectorPublic: seal.SectorPublic(_ZERO),
    tasks.SnapEncodeOutput: tasks.SnapEncodeOutput(_ZERO, _ZERO, _ZERO),
    UnsealPiece: UnsealPiece(codec.CID("baga"), 0, 2032, _ZERO),
    wdpost.Job: wdpost.Job("job-1", wdpost.Input([], 10000, "StackedDrgWindow2KiBV1_2", _ZERO)),
    wdpost.Output: wdpost.Output([], []),
    str: "store",
    bool: False,
}


def sample(kind: type[events.PlanEvent]) -> events.PlanEvent:
    """Return an event of a kind with plausible content; what may be left out is."""
    hints, optional = typing.get_type_hints(kind), kind.__struct_fields__[-len(kind.__struct_defaults__) :]
    values = {}
    for name in kind.__struct_fields__:
        if name not in optional or not kind.__struct_defaults__:
            hint = typing.get_args(hints[name])[0] if isinstance(hints[name], types.UnionType) else hints[name]
            values[name] = _SAMPLES[hint] if hint in _SAMPLES else _SAMPLES[typing.get_origin(hint)]
    return kind(**values)


def success(plan: table.Plan, sector: Sector, action: planner.Instruction) -> events.Event:
    """Return the event with which `action` ends when all goes well."""
    match action:
        case planner.Execute():
            return sample(next(iter(plan.steps[sector.state].to)))
        case planner.Wait():
            return events.Wake()
        case planner.Hold():
            return events.Resume()
        case planner.Finalize():
            return events.Finalized()
        case _:
            return events.Discarded()


def any_event(
    plan: table.Plan, sector: Sector, action: planner.Instruction, at_hand: frozenset[str]
) -> st.SearchStrategy[events.Event]:
    """Draw something that can happen while a thread carries out `action`, with these parts of the store at hand."""
    always: list[events.Event] = [events.Restart()]
    if not isinstance(action, planner.Finalize | planner.Discard):  # what is asked for comes too late for those
        always.append(events.Pause())
        if sector.job_id is not None:
            always += [events.Abort("operator"), events.Withdrawn("operator"), events.Withdrawn("")]
            # Another worker was given the next attempt: a report is told so.
            always.append(events.Failed(failures.Stale("is over").level.value, "is over"))
    match action:
        case planner.Execute():
            always += [sample(kind) for kind in plan.steps[sector.state].to]
            always += [events.Failed(level.value, "boom") for level in failures.Level]
            always += [events.Later(5.0, "something"), events.Idle()]
            if sector.id is not None:
                always.append(events.Claimed((sector.claim or 0) + 1))
        case planner.Hold():
            targets = [state for state in State if plan.refusal(sector, state, at_hand) is None]
            always += [events.Resume(), *(events.Resume(state) for state in targets)]
        case planner.Finalize() | planner.Discard():
            always += [success(plan, sector, action), events.Failed("Temporary", "manager down")]
        case _:
            always.append(events.Wake())
    return st.sampled_from(always)


def answers(thread: threads.Thread) -> list[threads.Event]:
    """Return what the hands may answer to what they are at; the first is that all goes well."""
    plan, sector = planner.PLANS[thread.sector.plan], thread.sector
    down = threads.Done(events.Failed("Temporary", "manager down", away=True))
    match thread.doing:
        case threads.ReadOptions():
            good: list[threads.Event] = [threads.OptionsRead(thread.plan, thread.limits)]
            other = [threads.OptionsRead(name, thread.limits) for name in planner.PLANS]
            good += [*other, threads.Unread("critical: broken", "critical: broken; those from before stay")]
        case threads.OpenStore():
            good = [
                threads.Found(None),
                *(threads.OutOfOrder("critical: not mounted", heals) for heals in (True, False)),
            ]
        case threads.Mend(_, seconds):
            good = [threads.Waited()] if seconds is not None else []
        case threads.LookForRoom():
            good = [threads.Room(None), threads.Room("room")]
        case threads.Claim():
            good = [threads.Granted((sector.claim or 0) + 1), threads.Granted(None), threads.NotGranted(), down]
        case planner.Execute():
            done: list[events.Event] = [sample(kind) for kind in plan.steps[sector.state].to]
            done += [events.Failed(level.value, "boom") for level in failures.Level]
            done += [events.Later(5.0, "something"), events.Idle()]
            good = [threads.Done(event, 1.0) for event in done]
        case planner.Wait() | planner.Finalize() | planner.Discard():
            good = [threads.Done(success(plan, sector, thread.doing))]
            good += [] if isinstance(thread.doing, planner.Wait) else [down]
        case _:
            good = []
    return [*good, threads.Interrupted()] if thread.halting else good


def requests(thread: threads.Thread, at_hand: frozenset[str]) -> list[threads.Event]:
    """Return what people, the worker or the manager may want of a thread."""
    sector = thread.sector
    wanted: list[threads.Event] = [
        *(events.PauseWanted(now) for now in (True, False)),
        events.Resume(),
        *(threads.Orders(closed=closed, why="drain", overdue=closed) for closed in (True, False)),
        threads.Orders(unready="the manager"),
        threads.Asked(events.Abort("operator"), now=True),
        threads.Asked(events.Withdrawn("over"), now=False, sector=sector.id),
        threads.Asked(events.Failed("Permanent", "is over"), now=True, sector=sector.id),
    ]
    if isinstance(thread.doing, planner.Hold):
        plan = planner.PLANS[sector.plan]
        wanted += [events.Resume(state) for state in plan.targets(sector, at_hand)]
    if isinstance(thread.doing, planner.Execute):
        wanted += [
            threads.StageShown(threads.Stage(waits=waits, what="x", pid=None if waits else 1))
            for waits in (True, False)
        ]
    return wanted
