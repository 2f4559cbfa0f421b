"""What can never be true of a thread, whatever happens to it: tests and the simulation check it after every step."""

from collections.abc import Iterator

from damocles.sealing import planner
from damocles.sealing import thread as parts
from damocles.sealing.sectors import Sector
from damocles.sealing.states import State
from damocles.sealing.thread import Thread


def flaws(thread: Thread) -> list[str]:
    """Return what is wrong with a thread."""
    return [
        *_of_sector(thread.sector),
        *_of_action(thread.sector, thread.doing),
        *_of_work(thread),
        *_of_wishes(thread),
    ]


def flaws_of_step(sector: Sector, action: planner.Instruction) -> list[str]:
    """Return what is wrong with a sector and what the planner has a thread do with it."""
    return [*_of_sector(sector), *_of_action(sector, action)]


def _of_sector(sector: Sector) -> Iterator[str]:
    if sector.paused_at is not None and sector.retry_at is not None:
        yield "a paused sector has a time for its next try"
    if sector.state not in {*planner.PLANS[sector.plan].steps, State.Aborted}:
        yield f"{sector.state} is no state of {sector.plan}"
    if sector.path and sector.path[-1] is not sector.state:
        yield f"the path {sector.path} does not end in {sector.state}"


def _of_work(thread: Thread) -> Iterator[str]:
    doing, sector, writing = thread.doing, thread.sector, thread.writing
    is_writing = isinstance(writing, parts.Entry)
    if doing is None and not is_writing:
        yield "nobody does anything"
    if doing is not None and isinstance(writing, parts.Entry) and not writing.is_wish:
        yield f"{doing} goes on before {writing.event} is recorded"
    if thread.result is not None and not isinstance(doing, parts.ReadOptions | parts.Mend | parts.End | None):
        yield f"{doing} goes on before {thread.result} is decided on"
    if not thread.is_loaded and not isinstance(doing, parts.ReadOptions | parts.OpenStore | parts.Mend | parts.End):
        yield f"{doing} goes on before the journal is read"
    if isinstance(doing, parts.Mend) and thread.trouble is None:
        yield "what is to be mended is not shown"
    if thread.unwritten is not None and not isinstance(doing, parts.Mend | parts.End):
        yield f"nobody writes {thread.unwritten.event}"
    yield from _of_task(thread, doing, sector)


def _of_task(thread: Thread, doing: parts.Task | None, sector: Sector) -> Iterator[str]:
    match doing:
        case planner.Execute() if sector.id is not None and sector.id != thread.claimed:
            if parts.Claim not in thread.prepared:
                yield f"{doing} is done without asking whose {sector.id} is"
        case parts.Await(is_idle=True) if sector.job_id is not None:
            yield f"{sector.job_id} waits for the end of a drain"
        case parts.End() if not thread.is_ending:
            yield "the thread ends, and nobody has stopped it"
        case _:
            pass


def _of_action(sector: Sector, doing: parts.Task | planner.Instruction | None) -> Iterator[str]:
    match doing:
        case planner.Execute():
            step = planner.PLANS[sector.plan].steps.get(sector.state)
            if step is None or doing.does != step.does:
                yield f"{doing} is done in {sector.state}"
            if sector.paused_at is not None:
                yield f"{doing} is done while the sector is paused"
            if step is not None and any(getattr(sector, name) is None for name in step.needs):
                yield f"{doing} is done without what it needs"
        case planner.Hold() if sector.paused_at is None:
            yield "the thread waits for a resume of what is not paused"
        case planner.Finalize() if sector.state is not State.Finished:
            yield f"a sector in {sector.state} is taken for finished"
        case planner.Discard() if sector.state is not State.Aborted:
            yield f"a sector in {sector.state} is thrown away"
        case _:
            pass


def _of_wishes(thread: Thread) -> Iterator[str]:
    can_end = isinstance(thread.doing, planner.Wait | planner.Hold | parts.Await | parts.Mend)
    if thread.is_ending and can_end and not thread.halting:
        yield f"{thread.doing} goes on, though the thread ends"
    waits = isinstance(thread.doing, planner.Wait | parts.Await)
    if thread.pause_wanted and waits and not thread.halting and not thread.is_at_end:
        yield f"{thread.doing} goes on, though a pause is wanted"
    is_at_hand = thread.is_loaded and thread.writing is None and thread.unwritten is None
    if is_at_hand and not thread.halting and thread.pause_wanted != thread.sector.pause_wanted:
        yield "what is wanted of the thread is not recorded"
