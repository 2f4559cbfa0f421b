"""A workplace: tasks in a child under a lease, by the line protocol, without Ray."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from damocles.stages import protocol
from damocles.stages.far import guard, workplace

FOREIGN = Path(__file__).parents[1] / "foreign.py"
Make = Callable[..., workplace.Workplace]


@pytest.fixture
def place() -> Iterator[Make]:
    """Return a maker of workplaces whose program is the foreign processor; all are closed afterwards."""
    made = []

    def make(*options: str, **fields: Any) -> workplace.Workplace:
        argv = (sys.executable, str(FOREIGN), "c2", *options)
        made.append(
            workplace.Workplace(workplace.Work(**{"stage": "c2", "argv": argv, "ready_seconds": 60.0, **fields}))
        )
        return made[-1]

    yield make
    for one in made:
        one.close()


def request(number: int, **task: Any) -> bytes:
    """Return a request line for the foreign processor."""
    return protocol.request(number, json.dumps(task).encode(), "c2")


def heard(place: workplace.Workplace, line: bytes, attempt: str = "a") -> list[Any]:
    """Run a task to its end and return what came of it."""
    return [protocol.read_line(one) for one in place.run(attempt, guard.now(), line)]


def test_tasks_share_one_child(place: Make) -> None:
    """Two tasks in a row are done by one process, which is named with its machine before the answer."""
    here = place()
    first, second = (heard(here, request(number, do="pid")) for number in (1, 2))
    assert first[0].at == second[0].at
    assert str(first[0].at.pid).encode() == bytes(first[-1].output) == bytes(second[-1].output)


def test_a_failure_is_the_processors_own(place: Make) -> None:
    """What the processor says went wrong arrives word for word, and is no loss."""
    answer = heard(place(), request(1, do="fail", text="no such sector"))[-1]
    assert (answer.error, answer.is_lost) == ("no such sector", False)


def test_log_lines_arrive_with_the_task(place: Make) -> None:
    """What the program writes to stderr during a task is a log line of that task, before its answer."""
    here = place()
    for number in range(1, 101):
        log, answer = heard(here, request(number, do="complain", text=f"hot at {number}"), str(number))[1:]
        assert (log.id, log.log) == (number, f"hot at {number}")
        assert isinstance(answer, protocol.Answer)


def test_a_log_without_line_ends_is_cut(place: Make) -> None:
    """A program that never ends its line, as one that draws a bar, fills nobody's memory: what it says arrives in pieces."""
    text = "0123456789" * 100_000
    news = heard(place(), request(1, do="complain", text=text))
    pieces = [one.log for one in news if isinstance(one, protocol.Report) and one.log is not None]
    assert max(map(len, pieces)) < 1 << 18
    assert text.startswith("".join(pieces))
    assert len(text) - len("".join(pieces)) < 1 << 18  # what no line end has followed yet


def test_a_dead_child_is_a_loss_and_replaced(place: Make) -> None:
    """A child that dies loses its task, with how it ended; the next task gets another child."""
    here = place()
    before = heard(here, request(1, do="pid"))[0].at.pid
    lines = here.run("b", guard.now(), request(2, do="wait", started="/dev/null", until="/nowhere"))
    next(lines)
    psutil.Process(before).kill()
    *_, answer = [protocol.read_line(line) for line in lines]
    assert isinstance(answer, protocol.Answer)
    assert answer.is_lost
    assert "was killed by SIGKILL" in str(answer.error)
    assert heard(here, request(3, do="pid"), "c")[0].at.pid != before


def test_a_garbled_answer_is_a_loss(place: Make) -> None:
    """An answer that cannot be read ends the child: its task would be waited for in vain."""
    answer = heard(place(), request(1, do="garble"))[-1]
    assert answer.is_lost
    assert "cannot be read" in answer.error


def test_stopping_an_attempt_ends_its_process(place: Make, tmp_path: Path) -> None:
    """A stop returns once the process is gone; the reader gets a loss."""
    here, started, news = place(), tmp_path / "started", []

    def run() -> None:
        news.extend(heard(here, request(1, do="wait", started=str(started), until=str(tmp_path / "never")), "mine"))

    thread = threading.Thread(target=run)
    thread.start()
    while not started.exists():
        threading.Event().wait(0.01)
    process = psutil.Process(news[0].at.pid if news else here._child.pid)  # type: ignore[union-attr]
    assert here.stop("another's")
    assert process.is_running()
    assert here.stop("mine")
    assert not process.is_running()
    thread.join(60)
    assert news[-1].is_lost


def test_a_stop_may_overtake_its_run(place: Make) -> None:
    """An attempt that was stopped before it came does not begin."""
    here = place()
    assert here.stop("late")
    assert [one.is_lost for one in heard(here, request(1, do="echo", value=1), "late")] == [True]


def test_a_second_attempt_beside_a_running_one_is_refused(place: Make, tmp_path: Path) -> None:
    """One place does one task at a time, whoever asks for another."""
    here = place()
    lines = here.run("first", guard.now(), request(1, do="wait", started="/dev/null", until=str(tmp_path / "go")))
    next(lines)
    assert heard(here, request(2, do="echo", value=1), "second")[-1].is_lost
    (tmp_path / "go").touch()
    assert json.loads(list(lines)[-1]) == {"id": 1, "err_msg": None, "output": True}


def test_without_renewals_the_task_is_lost(place: Make, tmp_path: Path) -> None:
    """When nobody renews, the guard ends the task, and the answer says so."""
    here = place(lease_seconds=3.0)
    answer = heard(here, request(1, do="wait", started="/dev/null", until=str(tmp_path / "never")))[-1]
    assert answer.is_lost
    assert "its lease has run out" in answer.error


def test_an_old_stamp_extends_nothing(place: Make) -> None:
    """A renewal that was long on its way, and shows an old stamp, leaves the lease as short as it was."""
    here = place(lease_seconds=60.0)
    here.renew(guard.now() - 50)
    assert -60 <= here.overdue_seconds < -50
    here.renew(guard.now() + 10)
    assert here.overdue_seconds < -60


def test_a_program_that_is_not_ready_is_a_loss(place: Make) -> None:
    """A program that says something else first, or cannot be started, is named with what it said."""
    wrong = heard(place(stage="pc1"), request(1, do="echo"))[-1]
    missing = heard(place(argv=("/nowhere/prover",)), request(1, do="echo"))[-1]
    assert wrong.is_lost
    assert "unexpected first line: c2 processor ready" in wrong.error
    assert missing.is_lost
    assert "/nowhere/prover cannot be started: No such file or directory" in missing.error


def test_the_childs_environment(place: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child has this machine's environment without what Ray has put there, under the group's variables."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAY_JOB_ID", "1")
    monkeypatch.setenv("FIL_PROOFS_PARAMETER_CACHE", "/far")
    found = json.loads(bytes(heard(place(envs={"CUDA_VISIBLE_DEVICES": "1"}), request(1, do="env"))[-1].output))
    assert not {"OMP_NUM_THREADS", "RAY_JOB_ID"} & set(found)
    assert (found["FIL_PROOFS_PARAMETER_CACHE"], found["CUDA_VISIBLE_DEVICES"]) == ("/far", "1")
