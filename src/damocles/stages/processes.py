"""One operating system process in a group of its own: started, watched and ended as a whole.

Pipes and the process's descriptor are watched by the event loop directly, without asyncio's subprocesses: those wait
for pipes that a grandchild may hold, and reap a process before its group has been ended.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from damocles.stages import errors, host

READ_BYTES = 1 << 20
_EXIT_SECONDS = 1.0  # between the end of stdout and the exit of a process that ends by itself
_BURIAL_SECONDS = 10.0  # after SIGKILL; longer only if the kernel is stuck in a system call


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How to start a child, and how long to wait for it."""

    stage: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    ready_seconds: float = 5.0
    grace_seconds: float = 3.0  # between SIGTERM and SIGKILL
    # How long the answer to a cancellation may take; None: a child is ended with its task.
    cancel_seconds: float | None = None

    @property
    def scratch(self) -> str:
        """Where the process has its temporary files."""
        return self.env.get("TMPDIR") or "/tmp"  # noqa: S108  # the C library's choice, and Rust's


class Process:
    """A started process with pipes, whose ends here do not block."""

    def __init__(self, popen: "subprocess.Popen[bytes]") -> None:
        self._popen = popen
        # Readable once the process has exited; unlike waiting for it, this does not reap it.
        self._descriptor = os.pidfd_open(popen.pid)
        assert popen.stdin is not None
        assert popen.stdout is not None
        self.stdin = popen.stdin.fileno()
        self.stdout = popen.stdout.fileno()
        self.stderr = None if popen.stderr is None else popen.stderr.fileno()
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                os.set_blocking(pipe, False)

    @property
    def pid(self) -> int:
        """The process id, also that of its group."""
        return self._popen.pid

    async def exited(self) -> None:
        """Wait until the process has exited; it is a zombie then."""
        await anyio.wait_readable(self._descriptor)

    async def end(self, grace_seconds: float | None) -> bool:
        """Leave no process of the group alive: SIGTERM, `grace_seconds`, SIGKILL; then reap the leader.

        With `None` the leader is on its way out by itself, and gets a second for that. Return whether it took it.
        The leader is reaped only in the end, so the number of the group cannot have passed to another one before.

        Raises:
            TimeoutError: A process survives SIGKILL.
            PermissionError: It runs as another user now.
        """
        went = grace_seconds is None and await self._exits_within(_EXIT_SECONDS)
        if not went:
            self._signal(signal.SIGTERM)
            await self._exits_within(_EXIT_SECONDS if grace_seconds is None else grace_seconds)
        self._signal(signal.SIGKILL)
        if not await self._exits_within(_BURIAL_SECONDS):
            raise TimeoutError(f"process {self.pid} does not die: it is stuck in the kernel, look at its disks")
        self._popen.poll()
        await self._outlive_group()
        return went

    async def _exits_within(self, seconds: float) -> bool:
        with anyio.move_on_after(seconds):
            await self.exited()
            return True
        return False

    async def _outlive_group(self) -> None:
        """Wait until what the child had started is dead too: its files are about to be used by the next try."""
        with anyio.move_on_after(_BURIAL_SECONDS), contextlib.suppress(ProcessLookupError):
            while True:
                os.killpg(self.pid, 0)
                if not await anyio.to_thread.run_sync(_computes, self.pid):
                    return  # zombies; whoever has inherited them reaps them or not
                await anyio.sleep(0.01)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # nobody is left
            os.killpg(self.pid, number)

    def close(self) -> None:
        """Close the pipes."""
        for pipe in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if pipe is not None:
                pipe.close()
        os.close(self._descriptor)

    def end_text(self) -> str:
        """Return how the process ended."""
        code = self._popen.returncode
        if code is None:
            return "it is just ending"
        if code >= 0:
            return f"exit code {code}"
        name = signal.Signals(-code).name
        return f"killed by {name}" + ("; the kernel does that when memory runs out" if name == "SIGKILL" else "")


def start(command: Command, *, with_stderr: bool) -> Process:
    """Start a process, in the thread of the event loop: the child's death signal is tied to this thread's life.

    Raises:
        ChildNotReady: The program is not there, or cannot be started.
    """
    popen = None
    try:
        popen = subprocess.Popen(  # noqa: S603 - the operator's own command
            command.argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if with_stderr else None,
            env={**command.env, host.PARENT_VARIABLE: str(os.getpid())},
            start_new_session=True,
            bufsize=0,
        )
        return Process(popen)
    except OSError as error:
        if popen is not None:
            with popen:
                popen.kill()
        text = f"{command.argv[0]} cannot be started: {error.strerror} [{errors.command_text(command.argv)}]"
        raise errors.ChildNotReady(command.stage, text) from error


def _computes(group: int) -> bool:
    """Whether a group has a process that is more than a zombie."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False


async def chunks(pipe: int) -> AsyncIterator[bytes]:
    """Yield what comes out of a pipe until its end."""
    while True:
        try:
            data = os.read(pipe, READ_BYTES)
        except BlockingIOError:
            await anyio.wait_readable(pipe)
            continue
        if not data:
            return
        yield data


def ready_bytes(pipe: int) -> bytes:
    """Return what is in a pipe at this moment."""
    try:
        return os.read(pipe, READ_BYTES)
    except BlockingIOError:
        return b""
