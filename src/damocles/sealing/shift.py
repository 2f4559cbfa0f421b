"""Decide what a sealing thread does next: `planner.step` for its sector, and around it what is wanted of the thread.

`step` is pure. Requests of people, answers of the hands and of the pen, and what the worker orders are events alike; each
is applied at once, whatever the hands are at. What a thread does follows from its state:

*   While the hands are busy, a wish for a pause is written into the journal beside them; a task that has no point any more
    is ended (`halting`), and the hands answer it like any other.
*   When the hands are free and the pen is too, the result of the task goes to the planner; what that makes of the sector is
    recorded, and only then something follows from it.
*   At that boundary come, in this order: what was asked of the sector, a pause, the end of the worker, the next task.
"""

from dataclasses import dataclass, replace

import msgspec

from damocles.sealing import events, failures, planner
from damocles.sealing import thread as parts
from damocles.sealing.sectors import Sector
from damocles.sealing.states import State
from damocles.sealing.thread import Thread
from damocles.wire.sectors import SectorID


@dataclass(frozen=True, slots=True)
class Send:
    """Report a step of the sector to the manager, beside the work."""

    sector: SectorID
    report: planner.Report


@dataclass(frozen=True, slots=True)
class Keep:
    """Make calls for the sector under this attempt; none: hold them back until there is one."""

    sector: SectorID
    attempt: int | None


Instruction = Send | Keep
_Next = tuple[Thread, tuple[Instruction, ...]]


def step(thread: Thread, event: parts.Event, now: float) -> _Next:
    """Apply `event` to `thread` at unix time `now`.

    Returns:
        The thread as it is now (the very same if nothing has changed) and what to do beside its task and its entry.
    """
    heard, instructions = _heard(thread, event)
    after, more = _gone_on(heard, now)
    if after.doing is not thread.doing:
        after = replace(after, since=now)
    return after, (*instructions, *more)


# What is heard.


def _heard(thread: Thread, event: parts.Event) -> _Next:
    match event:
        case events.PauseWanted(at_once):
            return _want_pause(thread, at_once=at_once), ()
        case events.Resume():
            return _want_resume(thread, event), ()
        case parts.Asked():
            return _ask(thread, event), ()
        case parts.Orders():
            return _ordered(thread, event), ()
        case parts.Stop():
            kills = event.now and isinstance(thread.doing, planner.Execute)
            return replace(thread, stopping=True, halting=thread.halting or kills or thread.waits_for_its_turn), ()
        case parts.Leave():
            return replace(thread, leaving=True), ()
        case parts.StageShown(stage):
            return replace(thread, stage=stage), ()
        case parts.Calling(call):
            return replace(thread, call=call), ()
        case parts.Taken(sector):
            return replace(thread, claimed=sector), ()
        case parts.Recorded() | parts.Unrecorded() | parts.Rested():
            return _written(thread, event)
        case _:
            return _answered(thread, event)


def _want_pause(thread: Thread, *, at_once: bool = False) -> Thread:
    if thread.trouble is None and thread.resume_wanted is not None:
        return replace(thread, resume_wanted=None)  # it has not come yet: the thread stays as it is
    if thread.trouble is None and _is_held(thread):
        return thread
    kills = isinstance(thread.doing, planner.Execute) and at_once
    return replace(thread, pause_wanted=True, halting=thread.halting or kills or thread.waits_for_its_turn)


def _want_resume(thread: Thread, event: events.Resume) -> Thread:
    if thread.trouble is not None and not isinstance(thread.doing, parts.Mend):
        return replace(thread, pause_wanted=False, trouble=None)  # it is being tried again already
    if thread.trouble is not None or _is_held(thread):
        return replace(thread, pause_wanted=False, resume_wanted=event)
    return replace(thread, pause_wanted=False) if thread.pause_wanted else thread


def takes_resume(thread: Thread) -> bool:
    """Whether a thread that nothing moves meanwhile heeds a resume, and at which state: it is shown as paused."""
    return thread.trouble is not None or _is_held(thread)


def _is_held(thread: Thread) -> bool:
    """Whether the thread waits for a resume, or will as soon as that is recorded."""
    if isinstance(thread.doing, planner.Hold) or (thread.is_pausing and not thread.pause_wanted):
        return True
    # Paused by the journal, and nothing has been decided that changes it: the options are read, or a restart is recorded.
    comes = thread.result if thread.result is not None else thread.writing
    decided = comes.event if isinstance(comes, parts.Done | parts.Entry) else None
    changes = not isinstance(decided, events.Restart | events.PauseWanted | events.PauseDropped | None)
    is_between = thread.is_loaded and isinstance(thread.doing, parts.ReadOptions | None)
    return thread.sector.paused_at is not None and is_between and not changes


def _ask(thread: Thread, asked: parts.Asked) -> Thread:
    sector, event = thread.sector, asked.event
    if asked.sector is not None and asked.sector != sector.id:
        return thread
    if isinstance(event, events.Failed):
        # A sector that is being given up needs no word, and what is said already no second one: its report would ask again.
        is_over = sector.state in {State.Aborted, State.Finished}
        if is_over or sector.last_error == f"{event.level.lower()}: {event.error}" or thread.asked is not None:
            return thread
    ends = isinstance(thread.doing, parts.Mend) or (asked.now and isinstance(thread.doing, planner.Execute))
    return replace(thread, asked=event, halting=thread.halting or ends)


def _ordered(thread: Thread, orders: parts.Orders) -> Thread:
    if orders == thread.orders:
        return thread
    is_due = orders.overdue and not thread.orders.overdue and thread.sector.job_id is not None
    thread = replace(thread, orders=orders)
    return _want_pause(thread) if is_due else thread


def _written(thread: Thread, event: parts.Recorded | parts.Unrecorded | parts.Rested) -> _Next:
    entry, thread = thread.writing, replace(thread, writing=None)
    match event:
        case parts.Recorded() if isinstance(entry, parts.Entry) and entry.is_wish:
            return replace(thread, sector=entry.after, wish_failure=None), ()
        case parts.Recorded() if isinstance(entry, parts.Entry):
            return _settled(replace(thread, trouble=None, wish_failure=None), entry)
        case parts.Unrecorded(failure, heals) if isinstance(entry, parts.Entry):
            if entry.is_wish:
                # The thread works on; whatever is recorded next has the wish with it.
                rest = parts.Rest(thread.limits.recover_interval_seconds)
                return replace(thread, wish_failure=failure, writing=rest), ()
            # The result is still at hand: once the cause is mended, it is tried to record it again.
            return _out_of_order(replace(thread, unwritten=entry), failure, heals=heals), ()
        case _:
            return thread, ()


def _answered(thread: Thread, event: parts.Event) -> _Next:
    """Take the answer of the hands to their task, which frees them."""
    task, thread = thread.doing, replace(thread, doing=None, halting=False, stage=None, call=None)
    match event:
        case parts.Waited() | parts.Interrupted() if isinstance(task, parts.Mend):
            if thread.is_ending:
                return replace(thread, doing=parts.End()), ()
            # Shown on while nobody but the clock says that it is worth another try.
            shown = thread.trouble if isinstance(event, parts.Waited) and thread.resume_wanted is None else None
            return _tried_again(replace(thread, trouble=shown, resume_wanted=None), task), ()
        case parts.Interrupted() if isinstance(task, planner.Hold) and thread.resume_wanted is not None:
            return replace(thread, doing=parts.ReadOptions()), ()
        case parts.Interrupted():
            # There is no result, and nothing half-done that the next run would trust.
            is_idle = thread.was_idle and not isinstance(task, planner.Execute)
            return replace(thread, result=parts.Done(events.Wake()) if thread.is_loaded else None, was_idle=is_idle), ()
        case parts.OptionsRead(plan, limits):
            return _with_options(replace(thread, plan=plan, limits=limits, unread=None)), ()
        case parts.Unread(failure, _) if not thread.is_loaded or thread.result is not None:
            return _out_of_order(thread, failure, again=parts.ReadOptions()), ()
        case parts.Unread(_, shown):
            return _with_options(replace(thread, unread=shown)), ()
        case parts.Found(sector):
            return _found(thread, sector)
        case parts.OutOfOrder(failure, heals):
            return _out_of_order(thread, failure, heals=heals, again=parts.OpenStore()), ()
        case parts.Room(None):
            return _prepared(thread, parts.LookForRoom), ()
        case parts.Room(str(lacking)):
            return replace(thread, result=parts.Done(events.Idle(lacking))), ()
        case parts.Granted(None):
            return replace(thread, claimed=thread.sector.id), ()
        case parts.Granted(int(attempt)):
            return replace(thread, claimed=thread.sector.id, result=parts.Done(events.Claimed(attempt))), ()
        case parts.NotGranted():
            return _prepared(thread, parts.Claim), ()
        case parts.Done(events.Idle()) if isinstance(task, planner.Execute):
            return replace(thread, result=event, was_idle=True), ()
        case parts.Done(result):
            is_over = isinstance(task, planner.Execute) and not isinstance(result, events.Failed)
            return replace(thread, result=event, was_idle=thread.was_idle and not is_over), ()
        case _:
            raise AssertionError(f"{event} answers no task")


def _prepared(thread: Thread, task: type[parts.Task]) -> Thread:
    return replace(thread, prepared=thread.prepared | {task})


def _with_options(thread: Thread) -> Thread:
    if not thread.is_loaded:
        return replace(thread, sector=Sector(plan=thread.plan), trouble=None, doing=parts.OpenStore())
    if thread.result is not None:  # the store was out of order, and has been found only now
        return replace(thread, trouble=None)
    if thread.resume_wanted is not None:
        return replace(thread, result=parts.Done(thread.resume_wanted), resume_wanted=None)
    return _prepared(thread, parts.ReadOptions)


def _found(thread: Thread, found: Sector | None) -> _Next:
    sector = found if found is not None else Sector(plan=thread.plan)
    is_due = thread.orders.overdue and sector.job_id is not None
    thread = replace(
        thread,
        sector=sector,
        is_loaded=True,
        trouble=None,
        resume_wanted=None,
        pause_wanted=thread.pause_wanted or sector.pause_wanted or is_due,
        result=parts.Done(events.Restart()),
        # Those that were read are not those of a disk that was not mounted.
        doing=parts.ReadOptions() if thread.has_been_out_of_order else None,
    )
    return thread, (Keep(sector.id, None),) if sector.id is not None else ()


def _out_of_order(
    thread: Thread,
    failure: str,
    *,
    heals: bool = False,
    again: parts.ReadOptions | parts.OpenStore | None = None,
    cause: Exception | None = None,
) -> Thread:
    """Wait for `resume`, or the end; where it `heals`, only for a while, and again."""
    seconds = thread.limits.recover_interval_seconds if heals else None
    return replace(
        thread,
        trouble=failure,
        has_been_out_of_order=True,
        doing=parts.Mend(failure, seconds, again, cause),
    )


def _tried_again(thread: Thread, task: parts.Task | None) -> Thread:
    if thread.unwritten is not None:
        return replace(thread, writing=thread.unwritten, unwritten=None)
    if isinstance(task, parts.Mend) and task.again is not None:
        return replace(thread, doing=task.again)
    return replace(thread, result=parts.Done(events.Wake()))


# What follows.


def _gone_on(thread: Thread, now: float) -> _Next:
    instructions: tuple[Instruction, ...] = ()
    while thread.doing is None and not isinstance(thread.writing, parts.Entry):
        if thread.result is not None:
            done, thread = thread.result, replace(thread, result=None)
            thread, more = _decided(thread, done, now)
        else:
            thread, more = _at_boundary(thread), ()
        instructions = (*instructions, *more)
    if thread.doing is not None and not thread.halting and _is_pointless(thread):
        thread = replace(thread, halting=True)
    if _is_to_be_written(thread):
        thread = replace(thread, writing=_wish(thread, now))
    return thread, instructions


def _at_boundary(thread: Thread) -> Thread:
    """Return the thread with what the hands or the planner do next, which are free."""
    if not thread.is_loaded:
        return replace(thread, doing=parts.End() if thread.is_ending else parts.ReadOptions())
    # A sector that is over needs no more than its end; giving up needs a sector.
    if thread.asked is not None:
        asked, thread = thread.asked, replace(thread, asked=None)
        if not thread.is_at_end and thread.sector.job_id is not None:
            return replace(thread, result=parts.Done(asked))
    if thread.pause_wanted and not thread.is_at_end:
        return replace(thread, pause_wanted=False, result=parts.Done(events.Pause()))
    if thread.is_ending:
        return replace(thread, doing=parts.End())
    task = _next_task(thread)
    return replace(thread, result=task) if isinstance(task, parts.Done) else replace(thread, doing=task)


def _next_task(thread: Thread) -> parts.Task | parts.Done:
    """Return what is to be done for the planner's action, or what comes of it without."""
    action, sector, orders = thread.action, thread.sector, thread.orders
    assert action is not None
    if isinstance(action, planner.Hold) and thread.resume_wanted is not None:
        return parts.ReadOptions()
    if isinstance(action, planner.Wait | planner.Hold):
        return action
    if orders.unready is not None:
        return parts.Await(orders.unready, is_idle=False)
    if not isinstance(action, planner.Execute):
        return action
    if parts.ReadOptions not in thread.prepared and (sector.state is State.Empty or thread.was_idle):
        return parts.ReadOptions()
    if sector.job_id is None and sector.plan != thread.plan:
        return parts.Done(events.Wake())  # what was to be done is a step of the plan from before
    if sector.job_id is None and orders.closed:
        return parts.Await(orders.why, is_idle=True)
    if parts.LookForRoom not in thread.prepared and sector.state is State.Empty:
        return parts.LookForRoom(thread.plan)
    if parts.Claim not in thread.prepared and sector.id is not None and sector.id != thread.claimed:
        return parts.Claim(sector.id)
    needs = planner.PLANS[sector.plan].steps[sector.state].needs
    if lacks := [name for name in needs if getattr(sector, name) is None]:
        text = f"{sector.job_id} lacks its {', '.join(lacks)}, which {sector.state} needs: resume from an earlier state"
        return parts.Done(events.Failed(failures.Level.CRITICAL.value, text))
    return action


def _is_pointless(thread: Thread) -> bool:
    """Whether what the hands do should end for what is wanted; a stage that runs is ended by who wants it (`halting`)."""
    comes = thread.asked is not None or (thread.pause_wanted and not thread.is_at_end)
    match thread.doing:
        case planner.Wait():
            return thread.is_ending or comes
        case parts.Await(_, is_idle):
            may_go_on = not thread.orders.closed if is_idle else thread.orders.unready is None
            return thread.is_ending or comes or may_go_on
        case planner.Hold():
            return thread.is_ending or thread.asked is not None or thread.resume_wanted is not None
        case parts.Mend():
            return thread.is_ending or thread.resume_wanted is not None
        case parts.ReadOptions():
            return thread.is_ending  # of a disk that hangs
        case _:
            return False


def _is_to_be_written(thread: Thread) -> bool:
    is_free = thread.writing is None and thread.unwritten is None and thread.is_loaded
    return is_free and not thread.halting and thread.pause_wanted != thread.sector.pause_wanted


def _wish(thread: Thread, now: float) -> parts.Entry:
    event = events.PauseWanted() if thread.pause_wanted else events.PauseDropped()
    after = msgspec.structs.replace(thread.sector, pause_wanted=thread.pause_wanted)
    return parts.Entry(before=thread.sector, event=event, after=after, at=now)


def _decided(thread: Thread, done: parts.Done, now: float) -> _Next:
    """Let the planner decide; what is worth it is recorded first."""
    before = thread.sector
    if before.job_id is None and before.plan != thread.plan:
        before = Sector(
            plan=thread.plan,
            paused_at=before.paused_at,
            last_error=before.last_error,
            pause_wanted=before.pause_wanted,
        )
    try:
        after, instructions = planner.step(before, done.event, thread.limits, now)
    except Exception as error:  # noqa: BLE001 - UnexpectedEvent or worse, of this one thread
        return _out_of_order(thread, _defect(error), cause=error), ()
    entry = done.entry(before, after, now, instructions)
    if planner.is_passing(before, after):
        return _settled(replace(thread, trouble=None), entry)
    wished = msgspec.structs.replace(after, pause_wanted=thread.pause_wanted)
    return replace(thread, writing=replace(entry, after=wished)), ()


def _defect(error: Exception) -> str:
    is_known = isinstance(error, planner.UnexpectedEvent)
    return failures.Critical(str(error) if is_known else f"{type(error).__name__}: {error}").text


def _settled(thread: Thread, entry: parts.Entry) -> _Next:
    """Let follow from an entry what follows from it."""
    before, after = entry.before, entry.after
    *reports, action = entry.instructions
    instructions: tuple[Instruction, ...] = ()
    assert not isinstance(action, planner.Report)
    thread = replace(thread, sector=after, action=action, prepared=frozenset())
    if before.id is None and after.id is not None and after.claim is not None:
        thread = replace(thread, claimed=after.id)
        instructions = (Keep(after.id, after.claim),)
    identity = after.id or before.id
    sent = tuple(Send(identity, each) for each in reports if isinstance(each, planner.Report) and identity is not None)
    return thread, (*instructions, *sent)
