"""Runs a program and ends it, with whatever it has started, when its lease runs out.

    guard CONTROL DEADLINE PROGRAM [ARGUMENT ...]

The program has the guard's standard input, output and error. CONTROL is the descriptor of a pipe: each line in it is a
later deadline, in seconds of this machine's CLOCK_BOOTTIME (which goes on while the machine sleeps). The program ends with
SIGKILL at the deadline, when the pipe is closed, when the guard gets a SIGTERM, and, by the kernel, when the guard is
killed. It may be killed at any point anyway; a grace period would only lengthen the lease.

Whatever the program has started, in whatever session, is the guard's to end too: orphans among them become its children. Only
when the guard itself is killed, those in other sessions are not found.

Of the standard library alone: it has to start, and to end, where little else works any more.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LOOK_SECONDS = 1.0  # a timer stands still while the machine sleeps, the deadline does not
_READ_BYTES = 1 << 12


def now() -> float:
    """Return this machine's clock for leases: seconds since it was started, with those it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Guard:
    """One program under one lease."""

    def __init__(self, control: int, deadline: float) -> None:
        self._control = control
        self._deadline = deadline
        self._rest = b""

    def watch(self, program: int) -> str:
        """Return why the program has to end, or nothing if it has ended; `program` is its pid descriptor."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(program, select.POLLIN)
        while (left := self._deadline - now()) > 0:
            ready = {descriptor for descriptor, _ in poll.poll(1000 * min(left, _LOOK_SECONDS) + 1)}
            if program in ready:
                return ""
            if self._control in ready and not self._renew():
                return "nobody holds its lease any more"
        return "its lease has run out"

    def _renew(self) -> bool:
        """Take later deadlines; return whether somebody may send more. What is unreadable is the end of a lease, too."""
        data = os.read(self._control, _READ_BYTES)
        *lines, self._rest = (self._rest + data).split(b"\n")
        try:
            self._deadline = max([self._deadline, *map(float, lines)])
        except ValueError:
            return False
        return bool(data)


def start(program: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Start the program in a session of its own. Keep what is returned: dropped, it reaps the process."""
    libc, guard = ctypes.CDLL(None), os.getpid()

    def settle() -> None:
        os.setsid()
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != guard:
            os._exit(1)  # it died before we asked to die with it

    # No threads here, so that code of ours may run between fork and exec.
    environment = {**os.environ, "DAMOCLES_PARENT_PID": str(guard)}
    return subprocess.Popen(program, env=environment, preexec_fn=settle)  # noqa: S603, PLW1509 - an operator's own command


def end_text(pid: int) -> str:
    """Return how a program has ended, without reaping it: its number is still its own."""
    end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    if end is None or end.si_code == os.CLD_EXITED:
        return f"has ended: exit code {end.si_status if end else 'unknown'}"
    return f"was killed by {signal.Signals(end.si_status).name}"


def end_all() -> None:
    """Kill every descendant and wait until none is left; those whose parent is gone come to us, one round later."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    with contextlib.suppress(ChildProcessError):
        while True:
            for pid in children.read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            os.waitpid(-1, 0)


def undo_inheritance() -> None:
    """Take back what Ray's worker does to its children: blocked signals, first in line when memory runs out."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("0")


def say(text: str) -> None:
    """Write to the log, which is stderr, if somebody reads it still."""
    with contextlib.suppress(OSError):
        os.write(2, f"guard: {text}\n".encode())


def main(arguments: Sequence[str]) -> NoReturn:
    """Run; the exit code is 0, or 1 for a program that cannot be started."""
    control, deadline, program = int(arguments[0]), float(arguments[1]), arguments[2:]
    os.set_inheritable(control, False)
    undo_inheritance()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        started = start(program)
        pid = started.pid
        # The pipes are the program's alone: who reads its output has to see the end.
        for standard in (0, 1):
            os.close(standard)
        reason = Guard(control, deadline).watch(os.pidfd_open(pid))
        say(f"{program[0]} (pid {pid}) {f'is killed: {reason}' if reason else end_text(pid)}")
    except OSError as error:
        say(f"{program[0]} cannot be started: {error.strerror}")
        sys.exit(1)
    finally:
        end_all()
    sys.exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
