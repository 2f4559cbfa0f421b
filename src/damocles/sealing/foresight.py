"""Predict the outcome of a request to a thread: a dry run takes the steps of the act, and nobody carries them out."""

from damocles.sealing import events, planner, shift
from damocles.sealing import thread as parts
from damocles.sealing.states import State
from damocles.sealing.thread import Thread


class ResumeRefused(Exception):
    """A sector cannot be resumed from the requested state; the message gives the reason, or lists the possible states."""


def foreseen(thread: Thread, event: parts.Event, now: float) -> Thread:
    """Return how the thread will be after `event`, if all goes well, as far as it takes no stage to get there."""
    after, _ = shift.step(thread, event, now)
    while (answer := _soon(after)) is not None:
        after, _ = shift.step(after, answer, now)
    return after


def _soon(thread: Thread) -> parts.Event | None:
    """Return the event that comes next by itself and without work."""
    if isinstance(thread.writing, parts.Entry):
        return parts.Recorded()
    if thread.halting:
        return parts.Interrupted()
    match thread.doing:
        case parts.ReadOptions():
            return parts.OptionsRead(thread.plan, thread.limits)
        case planner.Finalize():
            return parts.Done(events.Finalized())
        case planner.Discard():
            return parts.Done(events.Discarded())
        case planner.Execute() | parts.Claim() | parts.LookForRoom() if thread.is_pausing and thread.pid is None:
            return parts.Interrupted()  # what is done there is a matter of seconds
        case _:
            return None


def target(thread: Thread, state: str, files_at_hand: frozenset[str]) -> State:
    """Return the state to resume at; `files_at_hand` names the parts of the store that are there.

    Raises:
        ResumeRefused: The plan or the files do not allow it.
    """
    if thread.trouble is not None:
        # What it was about to record is still in its hands, and comes first.
        raise ResumeRefused(f"cannot resume at {state}: {thread.trouble}; fix that and resume without a state")
    plan = planner.PLANS[thread.sector.plan]
    refusal = plan.refusal(thread.sector, state, files_at_hand)
    if refusal is not None:
        possible = ", ".join(plan.targets(thread.sector, files_at_hand)) or "none, resume without a state"
        raise ResumeRefused(f"cannot resume at {state}: {refusal}; possible: {possible}")
    return State(state)
