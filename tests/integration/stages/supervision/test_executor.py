"""Stages over real children: whose child does the work, and what is left after every kind of end."""

import contextlib
import functools
import os
import signal
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import msgspec
import pytest

from damocles.stages import descriptors, errors, protocol
from damocles.stages.admission import policy
from damocles.stages.supervision import executor, pool
from damocles.wire import tasks

Group = Callable[..., pool.ProcessorGroup]


def ignore(status: executor.Status) -> None:
    """Take a status and do nothing with it."""


async def quick(seconds: float) -> None:
    """Wait a hundredth of the time: pauses between restarts."""
    await anyio.sleep(seconds / 100)


def hanging_transfer(folder: Path) -> tasks.Transfer:
    """Return a task that our own child never finishes: it opens a pipe that nobody writes to."""
    pipe = folder / "pipe"
    if not pipe.exists():
        os.mkfifo(pipe)
    return tasks.Transfer({}, [tasks.Route({"uri": str(pipe)}, {"uri": str(folder / "copy")})])


def quick_transfer(folder: Path) -> tasks.Transfer:
    """Return a task that our own child does at once."""
    (folder / "file").write_bytes(b"content")
    return tasks.Transfer({}, [tasks.Route({"uri": str(folder / "file")}, {"uri": str(folder / "done")})])


async def test_configured_processor_does_the_stage(foreign: Group, deed: Any) -> None:
    """A stage with a group runs in the group's child, and the status names its pid."""
    seen: list[executor.Status] = []
    async with executor.Stages(groups={"unseal": [foreign("unseal")]}) as stages:
        pid = await stages.run("unseal", deed(do="pid"), lane=0, on_status=seen.append)
    assert [executor.Status(state="running", what=f"ext(pid: {pid})", pid=pid)] == seen


async def test_outputs_have_the_types_of_their_stage(foreign: Group, deed: Any) -> None:
    """Outputs are decoded as the table says; another shape is a failure, not a surprise later on."""
    zeros = [0] * 32
    async with executor.Stages(groups={"pc2": [foreign("pc2")], "pc1": [foreign("pc1")]}) as stages:
        value: Any = {"registered_proof": "P", "comm_r": zeros, "comm_d": zeros}
        out = await stages.run("pc2", deed(do="echo", value=value), lane=0, on_status=ignore)
        assert ("P", bytes(32)) == (out.registered_proof, out.comm_r)
        raw = await stages.run("pc1", deed(do="echo", value={"labels": 1.5}), lane=0, on_status=ignore)
        assert {"labels": 1.5} == msgspec.json.decode(raw)
        with pytest.raises(errors.StageFailed, match=r"output of pc2 cannot be read: .*comm_r"):
            await stages.run("pc2", deed(do="echo", value={"registered_proof": "P"}), lane=0, on_status=ignore)


async def test_a_failure_names_where_the_process_has_its_temporary_files(foreign: Group, deed: Any) -> None:
    """It is what the processor's own environment says, and the system's folder where it says nothing."""
    envs = {"TMPDIR": "/mnt/scratch"}
    groups = {"pc1": [foreign("pc1", envs=envs)], "pc2": [foreign("pc2", inherit_envs=False)]}
    async with executor.Stages(groups=groups) as stages:
        for stage, scratch in (("pc1", "/mnt/scratch"), ("pc2", "/tmp")):
            with pytest.raises(errors.StageFailed) as caught:
                await stages.run(stage, deed(do="fail", text="no"), lane=0, on_status=ignore)
            assert scratch == caught.value.scratch


async def test_lane_keeps_its_child(tmp_path: Path) -> None:
    """Each lane has a child of its own, which lives on between tasks."""
    async with executor.Stages() as stages:
        first, second = await stages.warm("a"), await stages.warm("b")
        assert first != second
        for _ in range(2):
            seen: list[executor.Status] = []
            assert await stages.run("transfer", quick_transfer(tmp_path), lane="a", on_status=seen.append)
            assert [first] == [status.pid for status in seen]
        assert (first, second, None) == (stages.pid("a"), stages.pid("b"), stages.pid("c"))


async def test_cancelled_lane_stops_alone(tmp_path: Path, eventually: Any, is_alive: Callable[[int], bool]) -> None:
    """Cancelling one lane's stage ends its process, leaves the other lane alone, and holds nothing."""
    seen: list[executor.Status] = []
    async with executor.Stages(concurrent={"transfer": 1}) as stages:
        other = await stages.warm("other")
        async with anyio.create_task_group() as group:
            group.start_soon(
                functools.partial(stages.run, "transfer", hanging_transfer(tmp_path), lane="a", on_status=seen.append)
            )
            await eventually(lambda: seen and seen[-1].state == "running")
            group.cancel_scope.cancel()
        pid = seen[-1].pid
        assert pid is not None
        assert not is_alive(pid)
        assert other == stages.pid("other")
        assert await stages.run("transfer", quick_transfer(tmp_path), lane="a", on_status=ignore)
        assert stages.pid("a") not in {pid, None}


async def test_dismissed_lane_has_no_child(is_alive: Callable[[int], bool]) -> None:
    """A closed lane leaves no process."""
    async with executor.Stages() as stages:
        pid = await stages.warm(1)
        await stages.dismiss(1)
        assert (False, None) == (is_alive(pid), stages.pid(1))
        await stages.dismiss("never seen")


async def test_waiting_is_told_and_can_be_cancelled(foreign: Group, deed: Any, tmp_path: Path, eventually: Any) -> None:
    """Who waits for a limit or a lock says so, and leaves the queue when cancelled."""
    gate = tmp_path / "gate"
    waits: dict[str, list[executor.Status]] = {"limit": [], "lock": []}
    groups = {
        "unseal": [foreign("unseal", "--threads", locks=("gpu0",))],
        "verify_seal": [foreign("verify_seal", locks=("gpu0",))],
    }
    async with executor.Stages(groups=groups, concurrent={"unseal": 1}, locks={"gpu0": 1}) as stages:

        async def run(stage: str, task: Any, name: str = "") -> Any:
            return await stages.run(stage, task, lane=name, on_status=waits.setdefault(name, []).append)

        async with anyio.create_task_group() as group:
            started = tmp_path / "started"
            group.start_soon(run, "verify_seal", deed(do="wait", started=str(started), until=str(gate)), "first")
            await eventually(started.exists)
            async with anyio.create_task_group() as waiting:
                waiting.start_soon(run, "unseal", deed(do="pid"), "lock")
                await eventually(lambda: waits["lock"])
                assert [executor.Status(state="waiting", what="lock gpu0")] == waits["lock"]
                waiting.cancel_scope.cancel()
            gate.touch()
        (tmp_path / "gate").unlink()
        async with anyio.create_task_group() as group:
            group.start_soon(run, "unseal", deed(do="wait", started=str(tmp_path / "2"), until=str(gate), value=1))
            await eventually((tmp_path / "2").exists)
            async with anyio.create_task_group() as waiting:
                waiting.start_soon(run, "unseal", deed(do="pid"), "limit")
                await eventually(lambda: waits["limit"])
                assert [executor.Status(state="waiting", what="slot of unseal (limit 1)")] == waits["limit"]
                waiting.cancel_scope.cancel()
            group.cancel_scope.cancel()
        assert isinstance(await run("unseal", deed(do="pid")), int)


async def test_a_task_is_made_when_its_stage_has_its_turn(
    foreign: Group, deed: Any, tmp_path: Path, eventually: Any
) -> None:
    """What ages while it waits is fetched behind the queue; if it cannot be made, the slot is free again."""
    gate, started, asked = tmp_path / "gate", tmp_path / "started", []

    async def fresh() -> Any:
        asked.append(gate.exists())
        if len(asked) == 1:
            raise KeyError("the first time")
        return deed(do="pid")

    async with executor.Stages(groups={"pc1": [foreign("pc1")]}, concurrent={"pc1": 1}) as stages:
        with pytest.raises(KeyError):
            await stages.run("pc1", fresh, lane=0, on_status=ignore)
        asked.append(False)
        async with anyio.create_task_group() as group:
            first = deed(do="wait", started=str(started), until=str(gate), value=1)
            group.start_soon(functools.partial(stages.run, "pc1", first, lane=0, on_status=ignore))
            await eventually(started.exists)
            seen: list[executor.Status] = []
            group.start_soon(functools.partial(stages.run, "pc1", fresh, lane=1, on_status=seen.append))
            await eventually(lambda: seen)
            assert [False, False] == asked
            gate.touch()
    assert [False, False, True] == asked


async def test_tasks_spread_over_the_children_of_a_group(foreign: Group, deed: Any, tmp_path: Path) -> None:
    """Two children with one place each do two tasks at a time."""
    groups = {"verify_seal": [foreign("verify_seal", concurrent=1) for _ in range(2)]}
    async with executor.Stages(groups=groups) as stages:
        gate = [str(tmp_path / "a"), str(tmp_path / "b")]
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                # Each waits for the file that the other one makes when it starts.
                for mine, others in (gate, reversed(gate)):
                    task = deed(do="wait", started=mine, until=others)
                    group.start_soon(functools.partial(stages.run, "verify_seal", task, lane=mine, on_status=ignore))


async def test_dead_child_is_replaced(foreign: Group, deed: Any) -> None:
    """A configured child that dies fails its task; the next task waits for the new child."""
    seen: list[executor.Status] = []
    async with executor.Stages(groups={"unseal": [foreign("unseal")]}, sleep=quick) as stages:
        first = await stages.run("unseal", deed(do="pid"), lane=0, on_status=ignore)
        with pytest.raises(errors.StageDied, match="exit code 5"):
            await stages.run("unseal", deed(do="exit", code=5), lane=0, on_status=ignore)
        assert first != await stages.run("unseal", deed(do="pid"), lane=0, on_status=seen.append)
    assert ["child of unseal (restarting)"] == [status.what for status in seen if status.state == "waiting"]


async def test_child_is_never_given_up(foreign: Group, deed: Any, tmp_path: Path, eventually: Any) -> None:
    """A child that fails to start again is tried until it comes up, however often that fails."""
    crash = tmp_path / "crash"
    lines: list[str] = []

    def log(lane: object, stage: str, pid: int, line: str, host: str = "") -> None:
        lines.append(line)

    group = foreign("unseal", envs={"CRASH_WHILE": str(crash)})
    async with executor.Stages(groups={"unseal": [group]}, sleep=quick, log=log) as stages:
        crash.touch()
        with pytest.raises(errors.StageDied):
            await stages.run("unseal", deed(do="exit", code=1), lane=0, on_status=ignore)
        await eventually(lambda: sum("next try in" in line for line in lines) >= 3)
        crash.unlink()
        assert isinstance(await stages.run("unseal", deed(do="pid"), lane=0, on_status=ignore), int)


async def test_child_that_is_ready_and_gone_blocks_nobody(foreign: Group, deed: Any) -> None:
    """A child that ends right after its ready line is an error or a wait that can be cancelled, never a busy loop."""
    group = foreign("unseal", envs={"EXIT_WHEN_READY": "9"})
    with anyio.fail_after(20), contextlib.suppress(errors.StageDied):
        async with executor.Stages(groups={"unseal": [group]}, sleep=quick) as stages:
            for _ in range(20):
                with anyio.move_on_after(0.02), contextlib.suppress(errors.StageDied):
                    await stages.run("unseal", deed(do="pid"), lane=0, on_status=ignore)


async def test_child_that_is_not_restarted_is_not_waited_for(foreign: Group, deed: Any) -> None:
    """With `auto_restart = false` tasks fail when the last child is gone, rather than wait."""
    async with executor.Stages(groups={"unseal": [foreign("unseal", auto_restart=False)]}) as stages:
        for _ in range(2):
            with pytest.raises(errors.StageDied) as caught:
                await stages.run("unseal", deed(do="exit"), lane=0, on_status=ignore)
        assert "no child of unseal is left, and none is started again (auto_restart = false)" == str(caught.value)


async def test_processors_that_do_not_start_are_all_named(foreign: Group) -> None:
    """A wrong configuration fails at once, with a line for each processor, and leaves nothing behind."""
    groups = {"pc2": [foreign("pc1")], "c2": [foreign("c2")], "unseal": [pool.ProcessorGroup(bin="/no/such")]}
    with pytest.raises(errors.ChildNotReady) as caught:
        await executor.Stages(groups=groups).__aenter__()
    text = str(caught.value)
    assert "processors.pc2: unexpected first line: pc1 processor ready (expected 'pc2 processor ready')" in text
    assert "processors.unseal: /no/such cannot be started: No such file or directory" in text


async def test_daemons_are_kept_alive(foreign: Group, eventually: Any, tmp_path: Path) -> None:
    """Children of `sealing_daemons` start with the others, and again when they die."""
    pids = tmp_path / "pids"
    script = f"import os, sys; print('EMPTY processor ready', flush=True); open({str(pids)!r}, 'a').write(f'{{os.getpid()}} '); sys.stdin.read()"
    group = pool.ProcessorGroup(bin=sys.executable, args=("-c", script))
    async with executor.Stages(groups={pool.DAEMONS: [group]}, sleep=quick):
        first = await eventually(lambda: pids.exists() and pids.read_text().split())
        os.kill(int(first[0]), signal.SIGKILL)
        await eventually(lambda: len(pids.read_text().split()) == 2)


async def test_log_lines_name_lane_and_stage(foreign: Group, deed: Any) -> None:
    """What a child says on stderr is told with the lane and the stage that it works for."""
    lines: list[tuple[object, str, int, str]] = []

    def log(lane: object, stage: str, pid: int, line: str, host: str = "") -> None:
        lines.append((lane, stage, pid, line))

    async with executor.Stages(
        groups={"verify_seal": [foreign("verify_seal", "--knows-extensions")]}, log=log
    ) as stages:
        progress: list[protocol.Progress] = []
        await stages.run(
            "verify_seal",
            deed(do="complain", text="too hot"),
            lane=3,
            on_status=ignore,
            on_progress=progress.append,
        )
    assert {(3, "verify_seal", "half way"), (3, "verify_seal", "too hot")} <= {(*line[:2], line[3]) for line in lines}
    assert [protocol.Progress(1, 2)] == progress


async def test_leaving_ends_all_children(foreign: Group, deed: Any, is_alive: Callable[[int], bool]) -> None:
    """After the block no child lives, configured or our own."""
    async with executor.Stages(groups={"unseal": [foreign("unseal")]}) as stages:
        pids = [
            await stages.run("unseal", deed(do="pid"), lane=0, on_status=ignore),
            await stages.warm(0),
            await stages.warm(1),
        ]
        assert [True, True, True] == [is_alive(pid) for pid in pids]
    assert [False, False, False] == [is_alive(pid) for pid in pids]


async def test_error_in_the_block_comes_out_as_it_is() -> None:
    """What goes wrong inside is not wrapped into a group of errors."""

    async def fail() -> None:
        async with executor.Stages() as stages:
            await stages.warm(0)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": {"pc3": [pool.ProcessorGroup()]}}, "there is no stage 'pc3'"),
        ({"groups": {"pc1": []}}, "no subs section found: processors.pc1"),
        ({"groups": {"pc1": [pool.ProcessorGroup(locks=("gpu9",))]}}, "lock gpu9 is not in processors.ext_locks"),
        ({"groups": {"pc1": [pool.ProcessorGroup(concurrent=0)]}}, r"processors\.pc1\[0\]: concurrent = 0"),
    ],
)
def test_senseless_settings_are_refused(arguments: Any, message: str) -> None:
    """Settings that could only hang or be ignored are errors that name the key."""
    with pytest.raises(ValueError, match=message):
        executor.Stages(**arguments)


async def test_children_die_with_a_killed_daemon(eventually: Any, is_alive: Callable[[int], bool]) -> None:
    """SIGKILL of the daemon takes its children with it."""
    script = textwrap.dedent("""
        import anyio
        from damocles.stages.supervision import executor
        async def main():
            async with executor.Stages() as stages:
                print(await stages.warm(0), await stages.warm(1), flush=True)
                await anyio.sleep_forever()
        anyio.run(main)
    """)
    async with await anyio.open_process([sys.executable, "-c", script], stderr=None) as daemon:
        assert daemon.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            line += await daemon.stdout.receive()
        pids = [int(pid) for pid in line.split()]
        assert [True, True] == [is_alive(pid) for pid in pids]
        daemon.send_signal(signal.SIGKILL)
        await eventually(lambda: not any(is_alive(pid) for pid in pids))


async def test_a_child_may_have_its_task_done_elsewhere(foreign: Group, deed: Any) -> None:
    """A child names the process that works on a task, and its machine: state and log show those; a loss there is a death here."""
    lines: list[tuple[str, int, str]] = []
    seen: list[executor.Status] = []

    def log(lane: object, stage: str, pid: int, line: str, host: str = "") -> None:
        lines.append((host, pid, line))

    async with executor.Stages(groups={"unseal": [foreign("unseal")]}, log=log) as stages:
        with pytest.raises(errors.StageDied, match="gpu1 is lost"):
            await stages.run("unseal", deed(do="elsewhere"), lane=0, on_status=seen.append)
        assert executor.Status(state="running", what="ray(gpu1, pid: 4711)", pid=4711, host="gpu1") == seen[-1]
        assert ("gpu1", 4711, "hot today") in lines
        assert await stages.run("unseal", deed(do="echo", value=7), lane=0, on_status=lambda _: None) == 7


async def test_children_of_one_stage_are_started_with_gpus_of_their_own() -> None:
    """Where a limit lets several C2 run at once, each child is told its part of the machine's GPUs; a lane's child has them all."""
    machine = policy.Policy(capacity={"gpus": 2})
    async with executor.Stages(concurrent={"c2": 2}, admitted_by=machine) as stages:
        seats = [*stages._seats_of(descriptors.STAGES["c2"], 0), *stages._seats_of(descriptors.STAGES["pc2"], 0)]
        told = [seat.command().env.get("CUDA_VISIBLE_DEVICES") for seat in seats]
    assert told == ["0", "1", os.environ.get("CUDA_VISIBLE_DEVICES")]
