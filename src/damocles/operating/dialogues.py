"""What operators ask of one worker, as dialogues without I/O.

The manager holds them with many workers at once and `damocles-worker` with one. A dialogue yields calls that may be
made side by side, and is sent an answer to each: the result, or `Refused`.

A worker of the original does not know `Damocles.*`. For it the same is done with `VenusWorker.*`, as far as that
goes; what it would do blindly and to a sector's harm is refused here.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from damocles import methods
from damocles.operating import selection
from damocles.sealing import planner
from damocles.sealing.states import State
from damocles.wire import control, fleet

T = TypeVar("T")

METHOD_NOT_FOUND = -32601
WDPOST = "wdpost"  # a plan of the original's with states of its own


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer that is no result: the worker refused, or (without a code) did not answer."""

    text: str
    code: int | None = None


Dialogue: TypeAlias = Generator[Sequence[methods.Ask[Any]], Sequence[Any], T]


class Unanswered(Exception):
    """A worker did not list its threads; the message gives the reason."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.text)
        self.refused = refused


def threads(now: float) -> Dialogue[list[control.ThreadDetail]]:
    """Ask for all threads; a worker of the original reports less about them.

    Raises:
        Unanswered: The worker did not list them.
    """
    (answer,) = yield [methods.worker.threads()]
    if not lacks_method(answer):
        details: list[control.ThreadDetail] = _told(answer)
        return details
    return (yield from _threads_of_original(now))


def act(
    chosen: control.Selection, wanted: control.Act, now: float, *, asked_by: str = ""
) -> Dialogue[list[control.Outcome]]:
    """Act on the selected threads of one worker; the workers in the selection are ignored.

    Our worker is called once, however many threads it has: it selects, so that none can move on in between. It records
    `asked_by`, if somebody other than the caller requested the act.

    Raises:
        Unanswered: The worker did not list its threads; nothing was changed.
    """
    (answer,) = yield [methods.worker.act_on(chosen, wanted, asked_by)]
    if not lacks_method(answer):
        outcomes: list[control.Outcome] = _told(answer)
        return outcomes
    details = yield from _threads_of_original(now)
    targets = [detail for detail in details if selection.holds(chosen, detail)]
    missing = selection.missing(chosen, (detail.info.index for detail in details))
    return [*(yield from _act_on_original(targets, wanted)), *missing]


def asked_for(ask: methods.Ask[T]) -> Dialogue[T]:
    """Make one call of ours, which workers of the original do not serve.

    Raises:
        Unanswered: The worker refused, did not answer, or lacks the method.
    """
    (answer,) = yield [ask]
    if lacks_method(answer):
        raise Unanswered(Refused(lacks(ask.method), answer.code))
    result: T = _told(answer)
    return result


def lacks(method: str = "") -> str:
    """Return the text for a worker that lacks a method of ours, with what it can do."""
    what = method.removeprefix(methods.OURS) or "such command"
    return f"is a worker of the original or too old, it has no {what}; it can list, pause and resume its threads"


def lacks_method(answer: object) -> bool:
    """Return whether an answer means that the worker does not have the method."""
    return isinstance(answer, Refused) and answer.code == METHOD_NOT_FOUND


def _told(answer: Any) -> Any:
    if isinstance(answer, Refused):
        raise Unanswered(answer)
    return answer


def _made(detail: control.ThreadDetail, *, ok: bool, text: str, silent: bool = False) -> control.Outcome:
    info = detail.info
    return control.Outcome(index=info.index, sector=info.job_id, state=info.job_state, ok=ok, text=text, silent=silent)


# Workers of the original ---------------------------------------------------------------------------------------------


def _threads_of_original(now: float) -> Dialogue[list[control.ThreadDetail]]:
    (answer,) = yield [methods.worker.list_threads()]
    return [_described(info, now) for info in _told(answer) or ()]


def _described(info: fleet.ThreadInfo, now: float) -> control.ThreadDetail:
    since = now - (info.thread_state.elapsed or 0)
    paused = info.thread_state.state == "Paused"
    return control.ThreadDetail(
        info=info,
        sector=info.job_id,
        since=since,
        waiting=control.Waiting("resume", since) if paused else None,
        paused_at=since if paused else None,
    )


def _act_on_original(targets: Sequence[control.ThreadDetail], wanted: control.Act) -> Dialogue[list[control.Outcome]]:
    refusals = {detail.info.index: next(_refusals(detail, wanted), None) for detail in targets}
    allowed = [detail for detail in targets if refusals[detail.info.index] is None]
    asks = [] if wanted.dry_run else [_original_ask(detail, wanted) for detail in allowed]
    answers = (yield asks) if asks else [True] * len(allowed)
    outcomes = {
        detail.info.index: _original_outcome(detail, wanted, answer)
        for detail, answer in zip(allowed, answers, strict=True)
    }
    return [
        outcomes.get(detail.info.index) or _made(detail, ok=False, text=refusals[detail.info.index] or "")
        for detail in targets
    ]


def _original_ask(detail: control.ThreadDetail, wanted: control.Act) -> methods.Ask[bool]:
    index = detail.info.index
    if wanted.verb == "pause":
        return methods.worker.pause(index)
    state = State.Aborted.value if wanted.verb == "abort" else wanted.state
    return methods.worker.resume(index, state)


def _original_outcome(detail: control.ThreadDetail, wanted: control.Act, answer: Any) -> control.Outcome:
    if isinstance(answer, Refused):
        return _made(detail, ok=False, text=answer.text, silent=answer.code is None)
    done = {
        "pause": "pauses at its next boundary",
        "resume": f"goes on from {wanted.state or detail.info.job_state or 'where it was'}",
        "abort": f"aborts {detail.info.job_id}: its worker deletes its files and reports to the manager",
    }
    refused = {
        "pause": "a pause is already pending",
        "resume": "is not paused",
        "abort": "is not paused",
    }
    return _made(detail, ok=answer, text=(done if answer else refused)[wanted.verb])


def _refusals(detail: control.ThreadDetail, wanted: control.Act) -> Iterator[str]:
    """Yield why an original worker cannot or must not be asked."""
    info = detail.info
    paused = info.thread_state.state == "Paused"
    match wanted.verb:
        case "pause":
            if wanted.now:
                yield "its worker is the original, which cannot kill a running stage: pause without --now"
            if paused:
                yield "is already paused"  # it would answer true, and pause again after the next resume
        case "resume":
            if not paused:
                yield "is not paused"
            if wanted.state is not None:
                yield from _bad_targets(info, wanted.state)
        case "abort":
            if info.job_id is None:
                yield "holds no sector"
            if not paused:
                yield "its worker is the original, which aborts only the sector of a paused thread: pause it first"
        case other:
            yield f"{other!r} is not an act on threads: use pause, resume or abort"


def _bad_targets(info: fleet.ThreadInfo, target: str) -> Iterator[str]:
    """Yield why `target` would do harm: the original accepts any name, and aborts the sector on a wrong one."""
    plan = planner.PLANS.get(info.plan)
    if info.plan == WDPOST or target == State.Aborted:
        return
    order = list(plan.steps) if plan is not None else []
    known = order or list(State)
    if target not in known:
        yield f"{target} is not a state of plan {info.plan}; possible: {', '.join(known)}, {State.Aborted}"
        return
    if target == info.job_state:
        yield f"is at {target} already, which its worker treats as an error: resume without a state"
    if target in (State.Empty, State.Finished):
        yield f"going on from {target} would lose {info.job_id}"
    if info.job_state in order and order.index(State(target)) > order.index(State(info.job_state)):
        yield f"has not reached {target} yet: its worker would abort the sector"
