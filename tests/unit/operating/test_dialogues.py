"""The dialogue with one worker: what is asked, and what becomes of the answers."""

from collections.abc import Callable
from typing import Any

import pytest

from damocles import methods
from damocles.operating import dialogues, selection
from damocles.wire import control
from damocles.wire.fleet import ThreadInfo, ThreadState

NOW = 1_790_000_000.0
ALL = selection.parse(everything=True)
UNKNOWN = dialogues.Refused("Method not found", dialogues.METHOD_NOT_FOUND)


def info(index: int, state: str, sector: str | None = "s-t010000-1", at: str = "C1Done", **more: Any) -> ThreadInfo:
    """Make a thread."""
    error = "permanent: boom" if state == "Paused" else None
    return ThreadInfo(
        **{
            "location": f"/store{index}",
            "plan": "sealer",
            "job_id": sector,
            "index": index,
            "thread_state": ThreadState(state, 42),
            "job_state": at,
            "job_stage": None,
            "last_error": error,
        }
        | more
    )


def hold(
    dialogue: dialogues.Dialogue[Any], answer: Callable[[methods.Ask[Any]], Any]
) -> tuple[Any, list[tuple[Any, ...]]]:
    """Hold a dialogue with a worker that answers so; return its outcome and what was asked."""
    asked: list[tuple[Any, ...]] = []
    try:
        asks = next(dialogue)
        while True:
            asked += [(ask.method.partition(".")[2], *ask.params) for ask in asks]
            asks = dialogue.send([answer(ask) for ask in asks])
    except StopIteration as end:
        return end.value, asked


class Ours:
    """A worker that knows `Damocles.*`."""

    def __init__(self, *threads: ThreadInfo) -> None:
        self.threads = [control.ThreadDetail(info=each, since=0.0) for each in threads]

    def __call__(self, ask: methods.Ask[Any]) -> Any:
        """Answer."""
        if ask.method == "Damocles.Threads":
            return self.threads
        chosen, *_ = ask.params
        selected = [thread.info.index for thread in self.threads if selection.holds(chosen, thread)]
        return [control.Outcome(index=index, ok=index != 8, text="done") for index in selected]


def original(*threads: ThreadInfo, done: bool = True) -> Callable[[methods.Ask[Any]], Any]:
    """Return a worker of damocles v0.13."""

    def answer(ask: methods.Ask[Any]) -> Any:
        if ask.method.startswith("Damocles."):
            return UNKNOWN
        return list(threads) if ask.method == "VenusWorker.WorkerList" else done

    return answer


def texts(outcomes: list[control.Outcome]) -> list[tuple[int | None, bool, str]]:
    """Return what matters of outcomes."""
    return [(outcome.index, outcome.ok, outcome.text) for outcome in outcomes]


def test_our_worker_is_called_once():
    """However many threads it has, one call selects and acts, dry or not; each selected thread has an outcome."""
    worker = Ours(*(info(index, "Paused") for index in (0, 1, 8)))
    chosen = selection.parse(indexes=["1-8"])
    for act in (control.Act(verb="resume"), control.Act(verb="resume", dry_run=True)):
        outcomes, asked = hold(dialogues.act(chosen, act, NOW, asked_by="alice"), worker)
        assert [("ActOn", chosen, act, "alice")] == asked
        assert [(1, True), (8, False)] == [(o.index, o.ok) for o in outcomes]


def test_an_original_worker_is_listed():
    """Threads of an original worker come without what it does not tell; pauses with their time."""
    told, asked = hold(dialogues.threads(NOW), original(info(0, "Paused"), info(1, "Running")))
    assert [("Threads",), ("WorkerList",)] == asked
    assert [(NOW - 42, "resume"), (NOW - 42, None)] == [(d.since, d.waiting and d.waiting.what) for d in told]


def test_an_original_worker_is_asked_in_its_own_words():
    """Pause, resume and abort become what the original has."""
    worker = original(info(0, "Paused"), info(1, "Running"))
    outcomes, asked = hold(dialogues.act(ALL, control.Act(verb="pause"), NOW), worker)
    assert [("WorkerPause", 1)] == asked[2:]
    assert [(0, False, "is already paused"), (1, True, "pauses at its next boundary")] == texts(outcomes)

    outcomes, asked = hold(dialogues.act(ALL, control.Act(verb="resume", state="PC1Done"), NOW), worker)
    assert [("WorkerResume", 0, "PC1Done")] == asked[2:]
    assert [(0, True, "goes on from PC1Done"), (1, False, "is not paused")] == texts(outcomes)

    outcomes, asked = hold(dialogues.act(ALL, control.Act(verb="abort"), NOW), worker)
    assert [("WorkerResume", 0, "Aborted")] == asked[2:]
    assert [True, False] == [outcome.ok for outcome in outcomes]
    assert "pause it first" in outcomes[1].text


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("NoSuchState", "is not a state of plan sealer"),
        ("Unsealed", "is not a state of plan sealer"),
        ("C1Done", "resume without a state"),
        ("C2Done", "has not reached C2Done yet"),
        ("Empty", "would lose s-t010000-1"),
        ("Finished", "would lose s-t010000-1"),
    ],
)
def test_states_that_would_ruin_a_sector_of_an_original_worker_are_refused(target, words):
    """The original takes any name and gives the sector up on a wrong one, so it is not even asked."""
    act = control.Act(verb="resume", state=target)
    outcomes, asked = hold(dialogues.act(ALL, act, NOW), original(info(0, "Paused")))
    assert ["ActOn", "WorkerList"] == [name for name, *_ in asked]
    assert not outcomes[0].ok
    assert words in outcomes[0].text


def test_what_an_original_worker_cannot_do_is_said():
    """A running stage cannot be killed there."""
    outcomes, asked = hold(dialogues.act(ALL, control.Act(verb="pause", now=True), NOW), original(info(0, "Running")))
    assert 2 == len(asked)
    assert "cannot kill a running stage" in outcomes[0].text


def test_an_original_worker_may_refuse():
    """False and errors become refusals with a reason."""
    outcomes, _ = hold(dialogues.act(ALL, control.Act(verb="pause"), NOW), original(info(0, "Idle"), done=False))
    assert [(0, False, "a pause is already pending")] == texts(outcomes)

    def failing(ask: methods.Ask[Any]) -> Any:
        known = original(info(0, "Idle"))
        return dialogues.Refused("worker #0 not found", -32602) if "Pause" in ask.method else known(ask)

    outcomes, _ = hold(dialogues.act(ALL, control.Act(verb="pause"), NOW), failing)
    assert [(0, False, "worker #0 not found")] == texts(outcomes)


def test_a_dry_run_changes_nothing():
    """An original worker is only listed."""
    act = control.Act(verb="resume", dry_run=True)
    outcomes, asked = hold(dialogues.act(ALL, act, NOW), original(info(0, "Paused")))
    assert ["ActOn", "WorkerList"] == [name for name, *_ in asked]
    assert [(0, True, "goes on from C1Done")] == texts(outcomes)


@pytest.mark.parametrize("refused", [dialogues.Refused("cannot be reached"), dialogues.Refused("no", -32603)])
def test_a_worker_that_does_not_tell_its_threads_ends_the_dialogue(refused):
    """The reason is in the exception; whether it was silence as well."""
    with pytest.raises(dialogues.Unanswered) as caught:
        hold(dialogues.act(ALL, control.Act(verb="pause"), NOW), lambda _: refused)
    assert (refused.text, refused) == (str(caught.value), caught.value.refused)
