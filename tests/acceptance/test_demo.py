"""`make demo` beside what an earlier one has left."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from damocles.manager import home
from damocles.stores import sealing

DEMO = Path(__file__).parents[2] / "demo" / "demo.py"


@pytest.fixture
def left(tmp_path):
    """Return the folder of an earlier demo, with a manager's home and a store."""
    folder = tmp_path / "demo-run"
    (folder / "manager").mkdir(parents=True)
    (folder / "manager" / home.LOCK_NAME).touch()
    sealing.init(folder / "store1")
    (folder / "worker.toml").touch()
    return folder


def run(folder: Path) -> tuple[int, str]:
    """Run the demo in a folder; return its exit code and what it says."""
    command = [sys.executable, str(DEMO), "--dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
    return done.returncode, done.stdout


def test_a_demo_does_not_take_the_folder_from_under_a_worker(left):
    """While a process uses a store of an earlier demo, nothing is deleted, and the process is named in one line."""
    with sealing.opened(left / "store1"):
        code, said = run(left)
    assert (
        2,
        f"{left} is in use: stop what runs there (kill {os.getpid()}), or choose another folder with --dir\n",
    ) == (
        code,
        said,
    )
    assert (left / "worker.toml").exists()


def test_a_demo_does_not_take_the_folder_from_under_a_manager(left):
    """The same holds for a manager, whose lock is in its home."""
    with (left / "manager" / home.LOCK_NAME).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, said = run(left)
    assert (2, True) == (code, f"(kill {os.getpid()})" in said)
    assert (left / "worker.toml").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    """Only the folder of a demo is ever deleted."""
    (tmp_path / "mine").touch()
    code, said = run(tmp_path)
    assert (2, f"{tmp_path} exists and is not a demo's folder: choose another one with --dir\n") == (code, said)
    assert (tmp_path / "mine").exists()
