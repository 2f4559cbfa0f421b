"""Failpoints do what they say, in a process of their own."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from damocles import failpoints

REACH = """
import sys, pathlib
from damocles import failpoints
print("started", flush=True)
for name in sys.argv[2:]:
    failpoints.reach(name, pathlib.Path(sys.argv[1]))
    print(name, flush=True)
"""


def start(file: Path, points: str, *names: str, once: Path | None = None) -> "subprocess.Popen[str]":
    """Start a process that reaches points."""
    env = {failpoints.VARIABLE: points, **({failpoints.ONCE_VARIABLE: str(once)} if once else {})}
    command = [sys.executable, "-c", REACH, str(file), *names]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process: "subprocess.Popen[str]") -> tuple[int, list[str], str]:
    """Return the exit code, the points that were passed, and the last line of its errors."""
    out, err = process.communicate(timeout=30)
    return process.returncode, out.split()[1:], (err.strip().splitlines() or [""])[-1]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file of 100 bytes."""
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    return path


@pytest.mark.parametrize(
    ("action", "code", "error", "size"),
    [
        ("kill", -signal.SIGKILL, "", 100),
        ("torn", -signal.SIGKILL, "", 50),
        ("raise", 1, "damocles.failpoints.InjectedError: b:1", 100),
        ("enospc", 1, "OSError: [Errno 28] No space left on device: 'b:1'", 100),
        ("eio", 1, "OSError: [Errno 5] Input/output error: 'b:1'", 100),
    ],
)
def test_what_a_point_does(file: Path, action: str, code: int, error: str, size: int) -> None:
    """Only the point that the pattern meets acts."""
    assert (code, ["a:1"], error) == end(start(file, f"b:*={action}", "a:1", "b:1", "c:1"))
    assert size == file.stat().st_size


@pytest.mark.parametrize(("action", "state"), [("hang", "S"), ("stop", "T")])
def test_a_point_that_stands_still(file: Path, action: str, state: str) -> None:
    """A process that hangs sleeps for good; one that is stopped goes on when it is told to."""
    process = start(file, f"b:1={action}", "a:1", "b:1")
    assert process.stdout is not None
    assert ["started", "a:1"] == [process.stdout.readline().strip() for _ in range(2)]
    deadline = time.monotonic() + 30
    while (now := Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]) != state:
        assert time.monotonic() < deadline, f"it is in state {now}"
        time.sleep(0.01)
    time.sleep(0.2)
    assert None is process.poll()
    process.send_signal(signal.SIGCONT)
    if action == "stop":
        assert 0 == process.wait(30)
    process.kill()
    assert "b:1\n" * (action == "stop") == process.communicate()[0]


def test_a_count_lets_the_first_times_pass(file: Path) -> None:
    """`@3` acts at the third time."""
    assert ["x", "x"] == end(start(file, "x=raise@3", "x", "x", "x"))[1]


def test_a_point_acts_once_over_all_processes(file: Path, tmp_path: Path) -> None:
    """With a folder for marks every point acts once, whoever reaches it."""
    marks = tmp_path / "marks"
    marks.mkdir()
    passed = [end(start(file, "*=kill", "x/1", "y", once=marks))[1] for _ in range(3)]
    assert [[], ["x/1"], ["x/1", "y"]] == passed
    assert ["x|1", "y"] == sorted(path.name for path in marks.iterdir())


def test_an_unknown_action_is_refused(file: Path) -> None:
    """A slip of the pen must not look like a test that passes."""
    code, _, error = end(start(file, "x=klil", "x"))
    assert 1 == code
    assert "asks for 'klil': use one of kill, raise, hang, stop, enospc, eio, torn" in error
