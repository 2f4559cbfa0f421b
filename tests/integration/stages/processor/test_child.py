"""One child process under every kind of misfortune."""

import contextlib
import functools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from damocles.stages import errors, processes, protocol
from damocles.stages.processor import child

FOREIGN = Path(__file__).parents[1] / "foreign.py"


def foreign_command(*options: str, **env: str) -> processes.Command:
    """Return a command of the foreign processor."""
    return processes.Command(
        stage="pc2",
        argv=(sys.executable, str(FOREIGN), "pc2", *options),
        env={**os.environ, **env},
        ready_seconds=10,
        grace_seconds=0.2,
    )


class Log(list[str]):
    """What a child writes to stderr."""

    def __call__(self, pid: int, line: str) -> None:
        """Take a line."""
        self.append(line)


@contextlib.asynccontextmanager
async def running(command: processes.Command, log: Log | None = None) -> AsyncIterator[child.Child]:
    """Run a child for as long as the block lasts."""
    async with anyio.create_task_group() as group:

        async def keep(*, task_status: anyio.abc.TaskStatus[child.Child]) -> None:
            await child.keep(command, on_ready=task_status.started, on_end=lambda: None, log=log)

        yield await group.start(keep)
        group.cancel_scope.cancel()


async def do(of: child.Child, settled: Callable[[], None] = lambda: None, **task: Any) -> Any:
    """Let a child do a deed and return its output."""
    return json.loads(bytes(await of.run("pc2", json.dumps(task).encode(), settled=settled)))


async def test_tasks_are_answered() -> None:
    """A foreign processor gets tasks and gives outputs, one after the other."""
    async with running(foreign_command()) as processor:
        assert {"a": [1, None]} == await do(processor, do="echo", value={"a": [1, None]})
        assert processor.pid == await do(processor, do="pid")


async def test_requests_count_up_and_name_the_stage() -> None:
    """Ids start at 1; beside id and task there is only the stage."""
    async with running(foreign_command()) as processor:
        for number in (1, 2):
            seen = await do(processor, do="seen")
            assert {"id": number, "task": {"do": "seen"}, "stage": "pc2"} == seen


async def test_answers_of_any_size() -> None:
    """An answer of 8 MB arrives whole, and so does a request."""
    async with running(foreign_command()) as processor:
        assert 8_000_000 == len(await do(processor, do="big", bytes=8_000_000))
        text = "y" * 3_000_000
        assert text == await do(processor, do="echo", value=text)


async def test_answers_in_any_order(tmp_path: Path) -> None:
    """Several requests are in flight at a time, and each gets its own answer."""
    async with running(foreign_command("--threads")) as processor, anyio.create_task_group() as group:
        gate, started = tmp_path / "gate", tmp_path / "started"
        group.start_soon(functools.partial(do, processor, do="wait", started=str(started), until=str(gate)))
        assert ["second"] == await do(processor, do="echo", value=["second"])
        gate.touch()


async def test_failure_is_the_processors_own_text() -> None:
    """The message of a failed task is what the processor says, to the letter."""
    text = "No cached parameters found for x [failure finding /p/v28-x.params]\n\nCaused by:\n  äöü"
    async with running(foreign_command()) as processor:
        with pytest.raises(errors.StageFailed) as caught:
            await do(processor, do="fail", text=text)
        assert (text, "pc2", processor.pid) == (str(caught.value), caught.value.stage, caught.value.pid)
        assert 1 == await do(processor, do="echo", value=1)


async def test_missing_output_fails() -> None:
    """An answer without output is a failure, not a wait."""
    async with running(foreign_command()) as processor:
        with pytest.raises(errors.StageFailed, match=r"^output field lost$"):
            await do(processor, do="null")


async def test_prints_of_a_library_are_logged() -> None:
    """What a library prints to stdout goes to the log, and the task goes on."""
    log = Log()
    async with running(foreign_command(), log) as processor:
        assert await do(processor, do="chat") is True
        assert "on stdout: loading the kernel: 50%" in log


async def test_garbled_answer_ends_the_child(is_alive: Callable[[int], bool]) -> None:
    """A damaged answer fails the request that it was for, and the child is ended rather than waited for."""
    async with running(foreign_command()) as processor:
        with pytest.raises(errors.StageDied, match="its answer cannot be read"):
            await do(processor, do="garble")
        await processor.gone.wait()
        assert not is_alive(processor.pid)


async def test_garbled_answer_fails_all_in_flight(tmp_path: Path) -> None:
    """Of several requests nobody knows which the damaged answer was for, so none of them waits for ever."""
    died = []
    async with running(foreign_command("--threads")) as processor, anyio.create_task_group() as group:

        async def expect_death(**task: Any) -> None:
            with pytest.raises(errors.StageDied):
                await do(processor, **task)
            died.append(task["do"])

        group.start_soon(
            functools.partial(expect_death, do="wait", started=str(tmp_path / "a"), until=str(tmp_path / "b"))
        )
        group.start_soon(functools.partial(expect_death, do="garble"))
    assert {"wait", "garble"} == set(died)


async def test_an_answer_to_no_request_ends_the_child() -> None:
    """Its id was never given out, so the request that it was for would be waited for in vain."""
    async with running(foreign_command()) as processor:
        with anyio.fail_after(60), pytest.raises(errors.StageDied, match="answers a request 1001 that it never got"):
            await do(processor, do="misname")


async def test_unreadable_lines_are_dumped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the original's variable set, whole lines that are no answers go to files."""
    async with running(foreign_command()) as processor:
        monkeypatch.setenv(child.DUMP_VARIABLE.format(pid=processor.pid), str(tmp_path / "dumps"))
        with pytest.raises(errors.StageDied):
            await do(processor, do="garble")
        (file,) = (tmp_path / "dumps").iterdir()
        assert b'{"id":1,"err_msg":null,"outp' == file.read_bytes()
        assert file.name.startswith(f"ext-processor-err-resp-{processor.pid}-")


@pytest.mark.parametrize(
    ("task", "how"),
    [({"do": "exit", "code": 7}, "exit code 7"), ({"do": "close"}, "ended because it closed its pipes")],
)
async def test_end_of_the_child_fails_its_requests(task: Mapping[str, Any], how: str) -> None:
    """A child that exits, or closes stdout, fails what it had in flight, and the text tells how it ended."""
    async with running(foreign_command(), Log()) as processor:
        with pytest.raises(errors.StageDied) as caught:
            await do(processor, **task)
        assert f"child process exited: pc2 (pid {processor.pid}, {how})" == str(caught.value)
        if task["do"] == "exit":
            assert "out of luck" == caught.value.detail


async def test_kill_is_noticed_although_a_grandchild_holds_the_pipes(
    tmp_path: Path, eventually: Any, is_alive: Callable[[int], bool]
) -> None:
    """SIGKILL of the child fails its request at once, and takes the grandchild with it."""
    async with running(foreign_command()) as processor, anyio.create_task_group() as group:

        async def expect_death() -> None:
            with pytest.raises(errors.StageDied, match="killed by SIGKILL"):
                await do(processor, do="stubborn", started=str(tmp_path / "started"))

        group.start_soon(expect_death)
        await eventually((tmp_path / "started").exists)
        pid, grandchild = map(int, (tmp_path / "started").read_text().split())
        os.kill(pid, signal.SIGKILL)
    assert not is_alive(grandchild)


async def test_cancelling_ends_the_whole_group(
    tmp_path: Path, eventually: Any, is_alive: Callable[[int], bool]
) -> None:
    """When `run` comes back from its cancellation, neither the stubborn child nor its grandchild lives."""
    settled = []
    async with running(foreign_command()) as processor, anyio.create_task_group() as group:
        task: dict[str, Any] = {"do": "stubborn", "started": str(tmp_path / "started")}
        group.start_soon(functools.partial(do, processor, lambda: settled.append(True), **task))
        await eventually((tmp_path / "started").exists)
        group.cancel_scope.cancel()
    pids = [int(pid) for pid in (tmp_path / "started").read_text().split()]
    assert [False, False] == [is_alive(pid) for pid in pids]
    assert [True] == settled


async def test_cancelling_one_of_two_leaves_the_other_alone(tmp_path: Path, eventually: Any) -> None:
    """In a child that serves somebody else the task goes on and keeps its place, until it is answered."""
    settled = []
    gate, started = tmp_path / "gate", tmp_path / "started"
    async with running(foreign_command("--threads")) as processor, anyio.create_task_group() as others:
        other: dict[str, Any] = {"do": "wait", "until": str(tmp_path / "end"), "started": str(tmp_path / "other")}
        others.start_soon(functools.partial(do, processor, **other))
        async with anyio.create_task_group() as group:
            task: dict[str, Any] = {"do": "wait", "until": str(gate), "started": str(started)}
            group.start_soon(functools.partial(do, processor, lambda: settled.append(True), **task))
            await eventually(started.exists)
            group.cancel_scope.cancel()
        assert [] == settled
        gate.touch()
        await eventually(lambda: settled)
        (tmp_path / "end").touch()


async def test_child_that_knows_cancellation_is_asked(tmp_path: Path, eventually: Any) -> None:
    """A child that has reported progress is told that a task is not wanted any more."""
    settled = []
    gate, started = tmp_path / "gate", tmp_path / "started"
    async with (
        running(foreign_command("--threads", "--knows-extensions")) as processor,
        anyio.create_task_group() as others,
    ):
        wait: dict[str, Any] = {"do": "wait", "until": str(gate)}
        others.start_soon(functools.partial(do, processor, **wait, started=str(tmp_path / "other")))
        async with anyio.create_task_group() as group:
            group.start_soon(
                functools.partial(do, processor, lambda: settled.append(True), **wait, started=str(started))
            )
            await eventually(started.exists)
            group.cancel_scope.cancel()
        await eventually(lambda: settled)
        gate.touch()


async def test_child_that_nobody_waits_for_is_ended(
    tmp_path: Path, eventually: Any, is_alive: Callable[[int], bool]
) -> None:
    """When the last wanted request is answered, a child that computes for nobody is ended."""
    started = tmp_path / "started"
    async with running(foreign_command("--threads")) as processor:
        async with anyio.create_task_group() as others:
            others.start_soon(
                functools.partial(do, processor, do="wait", until=str(tmp_path / "gate"), started=str(tmp_path / "o"))
            )
            async with anyio.create_task_group() as group:
                never: dict[str, Any] = {"do": "wait", "until": str(tmp_path / "never"), "started": str(started)}
                group.start_soon(functools.partial(do, processor, **never))
                await eventually(started.exists)
                group.cancel_scope.cancel()
            (tmp_path / "gate").touch()
        await processor.gone.wait()
        assert not is_alive(processor.pid)


async def test_reports_reach_the_caller() -> None:
    """Progress and log lines of a task are handed to whoever runs it."""
    progress: list[protocol.Progress] = []
    logged: list[str] = []
    async with running(foreign_command("--knows-extensions")) as processor:
        await processor.run(
            "pc2", b'{"do":"pid"}', settled=lambda: None, on_progress=progress.append, on_log=logged.append
        )
    assert ([protocol.Progress(1, 2)], ["half way"]) == (progress, logged)


async def test_stderr_is_forwarded() -> None:
    """Lines on stderr reach the log whole, whatever their length."""
    log = Log()
    async with running(foreign_command(), log) as processor:
        await do(processor, do="complain", text="z" * 50_000)
    assert ["z" * 50_000] == log


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"FIRST_LINE": "c2"}, "unexpected first line: c2 processor ready (expected 'pc2 processor ready')"),
        ({"CRASH_WHILE": "/"}, "child process exited before it was ready: exit code 3: no GPU here"),
    ],
)
async def test_child_that_is_not_ready(env: Mapping[str, str], message: str, is_alive: Callable[[int], bool]) -> None:
    """A wrong first line or an early exit is an error that says what happened and names the command."""
    with pytest.raises(errors.ChildNotReady) as caught:
        await child.keep(foreign_command(**env), on_ready=print, on_end=lambda: None, log=Log())
    assert str(caught.value).startswith(message)
    assert str(FOREIGN) in str(caught.value)
    assert caught.value.pid is not None
    assert not is_alive(caught.value.pid)


async def test_silent_child_is_not_waited_for(is_alive: Callable[[int], bool]) -> None:
    """A child that says nothing in time is ended, not left half started."""
    command = processes.Command(stage="pc2", argv=("sleep", "1000"), env=os.environ, ready_seconds=0.1)
    with pytest.raises(errors.ChildNotReady, match="timeout exceeded before child get ready") as caught:
        await child.keep(command, on_ready=print, on_end=lambda: None)
    assert caught.value.pid is not None
    assert not is_alive(caught.value.pid)


async def test_missing_program_is_named() -> None:
    """A program that is not there is an error that names it."""
    command = processes.Command(stage="pc2", argv=("/no/such/program", "processor", "pc2"), env={})
    with pytest.raises(errors.ChildNotReady, match="/no/such/program cannot be started: No such file"):
        await child.keep(command, on_ready=print, on_end=lambda: None)


async def test_no_descriptor_is_left_behind() -> None:
    """Children come and go without using up descriptors."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        async with running(foreign_command(), Log()) as processor:
            await do(processor, do="pid")
    assert before == len(list(Path("/proc/self/fd").iterdir()))
