"""The guard: nothing outlives its lease, its holder, or itself."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from damocles.stages.far import guard

# Starts a child in the same group, one in a session of its own, and says all three pids; then waits to be killed.
FAMILY = """
import os, subprocess, sys, time
sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
near, far = subprocess.Popen(sleeper), subprocess.Popen(sleeper, start_new_session=True)
print(os.getpid(), near.pid, far.pid, flush=True)
time.sleep(600)
"""
LONG = 600.0


class Held:
    """A guard under test, and the end of its pipe that renews."""

    def __init__(self, program: list[str], seconds: float) -> None:
        reader, self.control = os.pipe()
        command = [sys.executable, "-m", "damocles.stages.far.guard", str(reader), str(guard.now() + seconds), *program]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[reader], text=True
        )
        os.close(reader)

    def family(self) -> list[psutil.Process]:
        """Return the processes that FAMILY names."""
        assert self.process.stdout is not None
        return [psutil.Process(int(pid)) for pid in self.process.stdout.readline().split()]

    def end(self) -> tuple[int, str]:
        """Wait for the guard's end; return its exit code and its log."""
        assert self.process.stderr is not None
        return self.process.wait(60), self.process.stderr.read()


@contextmanager
def held(*program: str, seconds: float = LONG) -> Iterator[Held]:
    """Start a guard; whatever it has started is gone afterwards, also when a test fails."""
    one = Held([sys.executable, *program], seconds)
    try:
        yield one
    finally:
        for process in (one.process.stdin, one.process.stdout, one.process.stderr):
            assert process is not None
            process.close()
        os.close(one.control) if one.control >= 0 else None
        one.process.wait(60)


def are_gone(processes: list[psutil.Process]) -> bool:
    """Wait until processes are gone; return whether they are."""
    return not psutil.wait_procs(processes, 60)[1]


def test_the_end_of_the_lease_ends_everything() -> None:
    """A lease that nobody renews ends the program and all that it has started, in whatever session."""
    with held("-c", FAMILY, seconds=2.0) as one:
        family = one.family()
        code, log = one.end()
        assert are_gone(family)
        assert len(family) == 3
        assert code == 0
        assert "is killed: its lease has run out" in log


def test_a_renewal_keeps_the_program() -> None:
    """A program whose lease is renewed runs beyond the first deadline, until the last one."""
    with held("-c", FAMILY, seconds=2.0) as one:
        family = one.family()
        until = guard.now() + 4.0
        os.write(one.control, f"{until}\n".encode())
        one.end()
        assert guard.now() >= until
        assert are_gone(family)


def test_a_late_renewal_extends_nothing() -> None:
    """A renewal that shows an earlier deadline than the one in force changes nothing."""
    with held("-c", FAMILY, seconds=2.0) as one:
        until = guard.now() + 4.0
        os.write(one.control, f"{until}\n{until - 10}\n".encode())
        family = one.family()
        one.end()
        assert guard.now() >= until
        assert are_gone(family)


@pytest.mark.parametrize("text", ["forever\n", "nan\n1e999x\n"])
def test_an_unreadable_renewal_ends_the_program(text: str) -> None:
    """What is no deadline ends the lease, rather than that nobody knows when it ends."""
    with held("-c", FAMILY) as one:
        family = one.family()
        os.write(one.control, text.encode())
        one.end()
        assert are_gone(family)


def test_the_holders_end_ends_everything() -> None:
    """When the pipe is closed, as by the death of whoever holds the lease, nothing goes on."""
    with held("-c", FAMILY) as one:
        family = one.family()
        os.close(one.control)
        one.control = -1
        _, log = one.end()
        assert are_gone(family)
        assert "nobody holds its lease" in log


def test_sigterm_ends_everything() -> None:
    """A guard that is asked to end takes along what it guards."""
    with held("-c", FAMILY) as one:
        family = one.family()
        one.process.terminate()
        one.end()
        assert are_gone(family)


def test_a_killed_guard_takes_its_program_along() -> None:
    """The kernel ends the program with the guard, whatever kills that."""
    with held("-c", FAMILY) as one:
        program, near, far = one.family()
        one.process.kill()
        assert are_gone([program])
        for orphan in (near, far):  # which nobody guards any more: the program was to be of one piece
            orphan.kill()
        assert are_gone([near, far])


def test_a_frozen_guard_ends_an_overdue_program_when_it_wakes() -> None:
    """A machine that froze beyond the deadline goes on with nothing: the guard looks at the clock first."""
    with held("-c", FAMILY, seconds=3.0) as one:
        family = one.family()
        one.process.send_signal(signal.SIGSTOP)
        time.sleep(3.5)  # the clock itself is under test
        os.write(one.control, f"{guard.now() - 1}\n".encode())
        one.process.send_signal(signal.SIGCONT)
        one.end()
        assert are_gone(family)


def test_the_programs_end_is_the_guards() -> None:
    """When the program has ended by itself, what it left behind goes too, and the output is whole."""
    code = "import subprocess, sys; print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid)"
    with held("-c", code) as one:
        orphans = one.family()
        assert one.end()[0] == 0
        assert are_gone(orphans)


def test_a_missing_program_is_told() -> None:
    """A program that is not there is named, with the system's reason."""
    reader, writer = os.pipe()
    program = "/nowhere/prover"
    command = [sys.executable, "-m", "damocles.stages.far.guard", str(reader), str(guard.now() + 9), program]
    done = subprocess.run(command, capture_output=True, text=True, pass_fds=[reader], check=False, timeout=60)
    os.close(reader)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, f"guard: {program} cannot be started: No such file or directory\n")


def test_the_program_inherits_no_blocked_signals() -> None:
    """Ray's workers block SIGINT and are first in line when memory runs out; the program gets neither."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        code = "import signal; print(len(signal.pthread_sigmask(signal.SIG_BLOCK, [])), open('/proc/self/oom_score_adj').read())"
        with held("-c", code) as one:
            one.end()
            assert one.process.stdout is not None
            assert one.process.stdout.read().split() == ["0", "0"]
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def test_the_guard_imports_nothing_but_the_standard_library() -> None:
    """A guard starts in a moment and cannot be broken by a library."""
    tops = {
        line.split()[1].split(".")[0]
        for line in Path(guard.__file__).read_text().splitlines()
        if line.startswith(("import ", "from "))
    }
    assert tops <= set(sys.stdlib_module_names)
