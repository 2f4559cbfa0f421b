"""Our own child as a process: what it reads, what it writes, and when it ends."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from damocles.stages import host

RUNNER = (sys.executable, "-m", "damocles.stages.processor.runner")


@contextlib.contextmanager
def running(*argv: str, **env: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a process with pipes for the length of the block."""
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def put(process: "subprocess.Popen[str]", line: str) -> None:
    """Write a line to a child."""
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def get(process: "subprocess.Popen[str]") -> Any:
    """Read a line of JSON from a child."""
    return json.loads(pipe(process.stdout).readline())


def pipe(stream: IO[str] | None) -> IO[str]:
    """Return a pipe that is there."""
    assert stream is not None
    return stream


def transfer(source: Path, destination: Path) -> dict[str, Any]:
    """Return a task that copies one file."""
    return {"stores": {}, "routes": [{"src": {"uri": str(source)}, "dest": {"uri": str(destination)}, "opt": None}]}


def test_original_parent_gets_only_what_it_knows(tmp_path: Path) -> None:
    """To a parent that names no stage the child writes the ready line and answers, and nothing else."""
    (tmp_path / "a").write_text("x")
    with running(*RUNNER, "transfer") as child:
        assert "transfer processor ready\n" == pipe(child.stdout).readline()
        put(child, json.dumps({"id": 1, "task": transfer(tmp_path / "a", tmp_path / "b")}))
        assert {"id": 1, "err_msg": None, "output": True} == get(child)
        put(child, json.dumps({"id": 2, "task": transfer(tmp_path / "none", tmp_path / "b")}))
        assert {"id": 2, "err_msg": f"src path not exists: {tmp_path / 'none'}", "output": None} == get(child)
    assert "x" == (tmp_path / "b").read_text()


def test_our_parent_gets_progress_and_details(tmp_path: Path) -> None:
    """To a parent that names the stage the child first shows that it knows the extensions."""
    with running(*RUNNER, "all") as child:
        assert "all processor ready\n" == pipe(child.stdout).readline()
        put(child, json.dumps({"id": 1, "stage": "transfer", "task": transfer(tmp_path / "none", tmp_path / "b")}))
        assert {"id": 1, "progress": {"done": 0, "total": None, "unit": "B"}} == get(child)
        answer = get(child)
        assert f"src path not exists: {tmp_path / 'none'}" == answer["err_msg"]
        assert "Traceback" in answer["detail"]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"id": 1, "task": {}}, "this child serves all, the request is for a stage that it does not name"),
        ({"id": 1, "task": {}, "stage": "pc9"}, "there is no stage 'pc9': the stages are add_pieces, tree_d"),
        ({"id": 1, "task": {}, "stage": "pc2"}, "task of pc2: Object missing required field `pc1out`"),
    ],
)
def test_wrong_requests_are_answered(request_: Any, message: str) -> None:
    """A request with an id always gets an answer, so that its parent does not wait for ever."""
    with running(*RUNNER, "all") as child:
        pipe(child.stdout).readline()
        put(child, json.dumps(request_))
        while "err_msg" not in (answer := get(child)):
            pass
        assert answer["err_msg"].startswith(message)


def test_lines_that_are_no_requests_are_skipped(tmp_path: Path) -> None:
    """A line without sense is logged, and the next one served."""
    (tmp_path / "a").write_text("x")
    with running(*RUNNER, "transfer") as child:
        pipe(child.stdout).readline()
        put(child, "hello")
        put(child, json.dumps({"id": 1, "task": transfer(tmp_path / "a", tmp_path / "b")}))
        assert get(child)["output"] is True
        assert "request skipped" in pipe(child.stderr).readline()


def test_end_of_stdin_ends_the_child_while_it_works(tmp_path: Path) -> None:
    """When stdin ends the child exits with 1 at once, also in the middle of a task."""
    os.mkfifo(tmp_path / "fifo")
    with running(*RUNNER, "transfer") as child:
        pipe(child.stdout).readline()
        put(child, json.dumps({"id": 1, "stage": "transfer", "task": transfer(tmp_path / "fifo", tmp_path / "b")}))
        get(child)
        pipe(child.stdin).close()
        assert 1 == child.wait(timeout=10)
        assert "got empty line, parent might be out\n" == pipe(child.stderr).read()


def test_stray_prints_do_not_get_into_the_protocol(tmp_path: Path) -> None:
    """What native code prints to stdout comes out on stderr."""
    script = (
        "import os, sys; from damocles.stages.files import copies; from damocles.stages.processor import runner\n"
        "def noisy(*_, **__): os.write(1, b'stray\\n'); print('more', flush=True); return sys.stdin.read() == ''\n"
        "copies.run = noisy; runner.main(['transfer'])"
    )
    with running(sys.executable, "-c", script) as child:
        pipe(child.stdout).readline()
        put(child, json.dumps({"id": 1, "task": transfer(tmp_path / "a", tmp_path / "b")}))
        assert {"id": 1, "err_msg": None, "output": True} == get(child)
        assert ["stray\n", "more\n"] == [pipe(child.stderr).readline() for _ in range(2)]


def test_child_dies_with_its_parent_although_stdin_stays_open(is_alive: Callable[[int], bool], tmp_path: Path) -> None:
    """The kernel ends the child with the parent that started it; the end of stdin is not needed for it."""
    read_end, write_end = os.pipe()
    script = (
        "import os, subprocess, sys\n"
        f"env = {{**os.environ, '{host.PARENT_VARIABLE}': str(os.getpid())}}\n"
        f"child = subprocess.Popen({[*RUNNER, 'transfer']!r}, stdin={read_end}, stdout=subprocess.PIPE, env=env)\n"
        "child.stdout.readline(); print(child.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[read_end], text=True
    )
    with parent:
        pid = int(pipe(parent.stdout).readline())
        parent.kill()
    try:
        deadline = time.monotonic() + 10
        while is_alive(pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.close(write_end)
        os.close(read_end)


def test_child_runs_on_the_cpus_it_is_given() -> None:
    """The original's variable for CPUs restricts the child, without rights and without a cgroup."""
    cpu = min(os.sched_getaffinity(0))
    with running(*RUNNER, "transfer", **{host.CPUSET_VARIABLE: str(cpu)}) as child:
        pipe(child.stdout).readline()
        assert {cpu} == os.sched_getaffinity(child.pid)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (host.CPUSET_VARIABLE, "0-x", "'0-x' is not a list of CPUs: expected one like 0-3,8"),
        (host.CPUSET_VARIABLE, "100000", "this machine gives us no CPU 100000; running on every CPU"),
        (host.NUMA_VARIABLE, "77", "numa_preferred = '77': this machine has the nodes"),
    ],
)
def test_places_that_do_not_exist_are_named(variable: str, value: str, message: str) -> None:
    """A wrong placement is a line on stderr, and the child serves all the same."""
    with running(*RUNNER, "transfer", **{variable: value}) as child:
        assert message in pipe(child.stderr).readline()
        assert "transfer processor ready\n" == pipe(child.stdout).readline()


def test_preferred_memory_node_is_accepted() -> None:
    """Node 0 exists everywhere, and asking for it says nothing."""
    with running(*RUNNER, "transfer", **{host.NUMA_VARIABLE: "0"}) as child:
        pipe(child.stdout).readline()
        pipe(child.stdin).close()
        assert "got empty line, parent might be out\n" == pipe(child.stderr).read()


def test_unknown_stage_is_a_usage_error() -> None:
    """A wrong stage exits with 2 and lists the right ones."""
    done = subprocess.run([*RUNNER, "pc3"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert 2 == done.returncode
    assert (1, True) == (len(done.stderr.splitlines()), "'add_pieces'" in done.stderr)


def test_options_of_the_original_are_taken() -> None:
    """Options that a configuration for the original may hold do not keep the child from starting."""
    with running(*RUNNER, "pc1", "--hugepage_files_path", "/huge") as child:
        assert "huge pages in /huge are not used" in pipe(child.stderr).readline()
        assert "pc1 processor ready\n" == pipe(child.stdout).readline()


def test_interrupt_ends_the_child() -> None:
    """Ctrl-C ends a child that shares the terminal with its parent, without a traceback."""
    with running(*RUNNER, "transfer") as child:
        pipe(child.stdout).readline()
        child.send_signal(signal.SIGINT)
        assert -signal.SIGINT == child.wait(timeout=10)
        assert "" == pipe(child.stderr).read()
