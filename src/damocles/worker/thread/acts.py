"""What operators do to a thread: pause, resume, abort. A dry run goes through the steps of the act without the thread."""

import anyio

from damocles.sealing import events, foresight, planner
from damocles.sealing import thread as parts
from damocles.sealing.states import State
from damocles.wire import control
from damocles.worker.thread import display, loop

VERBS = frozenset({"pause", "resume", "abort"})

# Less than what the command lines leave to workers, so that an act that takes longer still has its answer.
ABORT_PATIENCE_SECONDS = 2.5
SETTLING_SECONDS = 0.5


class Refused(Exception):
    """This thread refuses the act; the message gives the reason."""


async def act(thread: loop.SealingThread, act: control.Act, *, settle: bool) -> control.Outcome:
    """Act on a thread, or predict the outcome; with `settle` the answer shows the outcome."""
    info, before = thread.info(), _look(thread.mind, thread.activity.state)
    ok, ahead = True, None
    try:
        event = await _event(thread, act)
        mind = thread.mind
        ahead = foresight.foreseen(mind, event, thread.clock())
        text = _words(thread, mind, ahead, act)
        if not act.dry_run:
            thread.hear(event)  # nothing has happened to the thread since it was looked ahead
            if act.verb == "abort":
                text = await _aborted(thread, str(mind.sector.job_id))
            else:
                await settled(thread, act, fully=settle)
    except (Refused, foresight.ResumeRefused) as refusal:
        ok, ahead, text = False, None, str(refusal)
    if act.dry_run and ahead is not None:
        after = _look(ahead, display.drawn(ahead).state or thread.activity.state)
    else:
        after = _look(thread.mind, thread.activity.state)
    return control.Outcome(
        index=thread.index,
        sector=info.job_id,
        state=info.job_state,
        before=before,
        after=after,
        ok=ok,
        text=text,
    )


async def settled(thread: loop.SealingThread, act: control.Act, *, fully: bool = True) -> None:
    """Wait a moment until the request is recorded, and with `fully` until it takes effect, so that the answer shows it.

    Do not wait where a stage must end first.
    """

    def is_over() -> bool:
        if act.verb == "resume":
            return not fully or thread.activity.state != "Paused"
        if thread.paused:
            return True
        return not thread.mind.is_unrecorded and (not fully or (thread.mind.pid is not None and not act.now))

    with anyio.move_on_after(SETTLING_SECONDS):
        while not is_over():
            await thread.moved()


async def _event(thread: loop.SealingThread, act: control.Act) -> parts.Event:
    """Return what the act is to a thread.

    Raises:
        Refused: It cannot be done.
        foresight.ResumeRefused: It cannot be resumed at this state.
    """
    match act.verb:
        case "pause":
            return events.PauseWanted(act.now)
        case "resume":
            if act.state is None:
                return events.Resume()
            if not thread.takes_resume:
                raise Refused("is not paused")
            return events.Resume(await thread.check_target(act.state))
        case _:
            sector = thread.sector
            if sector.job_id is None:
                raise Refused("holds no sector")
            refusal = planner.PLANS[sector.plan].refusal(sector, State.Aborted, frozenset())
            if refusal is not None:
                raise Refused(refusal)
            reason = f"aborted by an operator: {act.reason}" if act.reason else "aborted by an operator"
            return parts.Asked(events.Abort(reason), now=True)


def _words(thread: loop.SealingThread, mind: parts.Thread, ahead: parts.Thread, act: control.Act) -> str:
    """Return what an act does to a thread, from its present value `mind` and the predicted one, `ahead`.

    Raises:
        Refused: It would change nothing.
    """
    if act.verb == "abort":
        kills = f"its process ({_process(mind)}) is killed, " if mind.pid is not None else ""
        return f"aborts {mind.sector.job_id}: {kills}its files go to {thread.location}/trash"
    if act.verb == "resume":
        if ahead is mind:
            raise Refused("is not paused")
        is_taken_back = mind.pause_wanted and not mind.is_paused
        return (
            "goes on; the pending pause is withdrawn"
            if is_taken_back
            else f"goes on from {act.state or mind.sector.state}"
        )
    if ahead is mind:
        return "is already paused"
    if mind.trouble is not None:
        return "pauses once it is no longer blocked"
    if not ahead.is_paused:
        return f"pauses at {'the end of its running stage' if mind.pid is not None else 'its next boundary'}"
    kills = f": its running stage ({_process(mind)}) is killed and will run again" if mind.pid is not None else ""
    return f"pauses at once{kills}"


def _process(mind: parts.Thread) -> str:
    """Name the process that works on the sector, with its machine where that is another one."""
    return f"pid {mind.pid} on {mind.host}" if mind.host else f"pid {mind.pid}"


async def _aborted(thread: loop.SealingThread, sector: str) -> str:
    """Wait a while for the end of a sector and return the outcome."""
    with anyio.move_on_after(ABORT_PATIENCE_SECONDS):
        while thread.sector.job_id == sector:
            await thread.moved()
        return f"aborted {sector}; the manager knows, its files are in {thread.location}/trash"
    return f"is aborting {sector}; see its state and last error"


def _look(mind: parts.Thread, state: str) -> str:
    """Return what a thread does and the state of its sector."""
    then = ", then pauses" if mind.is_pausing else ", then goes on" if mind.is_resuming else ""
    unrecorded = " (not recorded yet)" if mind.is_pausing and mind.is_unrecorded else ""
    return f"{state} {mind.sector.state}{then}{unrecorded}"
