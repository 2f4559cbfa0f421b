"""The farm of the acceptance tests leaves nothing behind."""

import subprocess
import sys

import pytest

from damocles.testing import farm


def test_the_manager_is_stopped_whatever_becomes_of_the_worker(tmp_path, monkeypatch):
    """A worker that does not end fails the test and does not leave the manager running."""
    stopped = []

    def stop(process):
        stopped.append(process)
        if process == "worker":
            raise AssertionError("a daemon did not end")

    monkeypatch.setattr(farm, "stop", stop)
    with pytest.raises(AssertionError, match="did not end"):
        farm.Farm(tmp_path, manager="manager", worker="worker").__exit__()  # type: ignore[arg-type]
    assert ["worker", "manager"] == stopped


def test_no_two_processes_are_given_the_same_port():
    """Tests that run side by side find ports of their own, also before their daemons listen."""
    ours = {farm.free_port() for _ in range(50)}
    program = "from damocles.testing import farm; print(*[farm.free_port() for _ in range(50)], flush=True)"
    others = [
        subprocess.Popen([sys.executable, "-c", f"{program}; input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    try:
        theirs = [{int(port) for port in other.stdout.readline().split()} for other in others if other.stdout]
    finally:
        for other in others:
            other.communicate(b"\n")
    assert [50] * 4 == [len(ports) for ports in (ours, *theirs)]
    assert 200 == len(ours.union(*theirs))
