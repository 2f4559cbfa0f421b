"""How a command line holds a dialogue with a worker."""

from typing import Any

import pytest

from damocles import methods
from damocles.cli.connecting import calls
from damocles.operating import dialogues
from damocles.rpc import errors


class SlowWorker:
    """A client of a worker that takes two seconds for each answer."""

    timeout_seconds = 5.0

    def __init__(self) -> None:
        self.now = 100.0
        self.limits: list[float] = []

    def monotonic(self) -> float:
        """Return the time."""
        return self.now

    def call(self, _ask: methods.Ask[str], *, timeout_seconds: float) -> str:
        """Answer, if there is time."""
        self.limits.append(timeout_seconds)
        self.now += min(2.0, timeout_seconds)
        if timeout_seconds < 2:
            raise errors.TimedOut("http://10.0.0.7/", timeout_seconds)
        return "done"


def test_a_dialogue_has_one_deadline(monkeypatch):
    """Call after call gets what is left of the command's time; what did not get its answer by then is told."""
    worker = SlowWorker()
    monkeypatch.setattr("damocles.cli.connecting.calls.time", worker)

    def dialogue() -> dialogues.Dialogue[Any]:
        return (yield [methods.Ask("VenusWorker.WorkerPause", (index,), bool) for index in range(4)])

    first, second, third, fourth = calls.hold(worker, dialogue())  # type: ignore[arg-type]
    assert (["done", "done"], [5.0, 3.0, 1.0, 0.0]) == ([first, second], worker.limits)
    assert [None, None] == [third.code, fourth.code]
    assert "did not answer" in third.text


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        (None, 5),
        (errors.Code.WORKER_SILENT, 5),
        (errors.Code.UNKNOWN_THREAD, 3),
        (errors.Code.UNKNOWN_WORKER, 6),
        (errors.Code.UNAUTHORIZED, 7),
        (errors.Code.FORBIDDEN, 7),
        (errors.Code.FAILED, 1),
        (errors.Code.INVALID_PARAMS, 1),
    ],
)
def test_refusals_have_exit_codes(code, exit_code):
    """What is unknown, silent or not allowed is told apart by the exit code; the rest is 1."""
    assert exit_code == calls.failed(code, "why").exit_code
