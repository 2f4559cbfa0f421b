"""One child process, from its start to its burial.

`keep` runs a child as a task of the caller's group; the `Child` that it hands out sends tasks and takes answers. A child
has a session of its own and is always ended as a whole group, with whatever it has started itself.

Pipes and the process's descriptor are watched by the event loop directly, without asyncio's subprocesses: those wait
for pipes that a grandchild may hold, stumble over long lines, and reap a process before its group has been ended.
"""

import collections
import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from damocles.stages import errors, host, protocol

DUMP_VARIABLE = "DUMP_ERR_RESP_{pid}"  # names a folder for lines that cannot be read; set by `WorkerSetEnv`

_READ_BYTES = 1 << 20
_LOG_LINE_BYTES = 1 << 16
_LAST_WORDS = 20
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


@dataclass(slots=True, kw_only=True, eq=False)
class _Call:
    """A request that has no answer yet."""

    stage: str
    on_progress: Callable[[protocol.Progress], None] | None
    on_log: Callable[[str], None] | None
    settled: Callable[[], None]
    abandoned: bool = False
    result: msgspec.Raw | errors.StageError | None = None
    done: anyio.Event = field(default_factory=anyio.Event)


class Child:
    """A running child. Made by `keep`."""

    def __init__(
        self,
        command: Command,
        process: "subprocess.Popen[bytes]",
        process_descriptor: int,
        *,
        on_end: Callable[[], None],
        log: Callable[[int, str], None] | None,
    ) -> None:
        self._command = command
        self._process = process
        self._on_end = on_end
        self._log = log
        self._calls: dict[int, _Call] = {}
        self._next_id = 1
        self._outbox: collections.deque[bytes] = collections.deque()
        self._outbox_filled = anyio.Event()
        self._last_words: collections.deque[str] = collections.deque(maxlen=_LAST_WORDS)
        self._lines = protocol.Lines()
        self._log_lines = protocol.Lines()
        self._knows_extensions = False
        self._first_line: bytes | None = None
        self._first_news = anyio.Event()
        self._over = anyio.Event()
        self._ended_because = ""
        # Readable once the process has exited; unlike waiting for it, this does not reap it: see `_end_group`.
        self._process_descriptor = process_descriptor
        self.gone = anyio.Event()
        self.answers = 0

    @property
    def pid(self) -> int:
        """The process id, also that of its group."""
        return self._process.pid

    @property
    def is_over(self) -> bool:
        """Whether it takes no more tasks."""
        return self._over.is_set()

    @property
    def was_ended(self) -> bool:
        """Whether we ended it, rather than it itself."""
        return bool(self._ended_because)

    def stop(self, reason: str) -> None:
        """End the child: SIGTERM to its group, then SIGKILL. `gone` tells when that is done."""
        self._ended_because = self._ended_because or reason
        self._finish()

    def _finish(self) -> None:
        if not self._over.is_set():
            self._over.set()
            self._first_news.set()
            self._on_end()

    async def run(
        self,
        stage: str,
        task: bytes,
        *,
        settled: Callable[[], None],
        on_progress: Callable[[protocol.Progress], None] | None = None,
        on_log: Callable[[str], None] | None = None,
    ) -> msgspec.Raw:
        """Send a task (JSON) and wait for its output.

        Cancelled, it ends the child if nobody else waits for an answer of it; else the child is asked to give the
        task up. `settled` is called once, as soon as the child does not work on the task any more.

        Raises:
            StageFailed: The child says so.
            StageDied: It ended before it answered.
        """
        call = _Call(stage=stage, on_progress=on_progress, on_log=on_log, settled=settled)
        if self._over.is_set():
            settled()
            raise self._obituary(stage)
        request_id, self._next_id = self._next_id, self._next_id + 1
        self._calls[request_id] = call
        self._send(protocol.request(request_id, task, stage))
        try:
            await call.done.wait()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._abandon(request_id, call)
            raise
        if isinstance(call.result, msgspec.Raw):
            return call.result
        assert call.result is not None
        raise call.result

    async def _abandon(self, request_id: int, call: _Call) -> None:
        if call.done.is_set():
            return
        call.abandoned = True
        if self._stop_if_unwanted():
            await self.gone.wait()
        elif self._knows_extensions:
            # Others would take the line for a task without a body; their answer is thrown away when it comes.
            self._send(protocol.cancellation(request_id))

    def _stop_if_unwanted(self) -> bool:
        unwanted = bool(self._calls) and all(call.abandoned for call in self._calls.values())
        if unwanted:
            self.stop("nobody waits for its answers any more")
        return unwanted

    def _send(self, line: bytes) -> None:
        self._outbox.append(line)
        self._outbox_filled.set()

    # What goes on while the child lives ------------------------------------------------------------------------------

    async def _write_requests(self) -> None:
        """Write whole lines, so that a cancelled request never leaves half of one."""
        assert self._process.stdin is not None
        pipe = self._process.stdin.fileno()
        while True:
            while self._outbox:
                rest = memoryview(self._outbox.popleft())
                while rest:
                    try:
                        rest = rest[os.write(pipe, rest) :]
                    except BlockingIOError:
                        await anyio.wait_writable(pipe)
                    except BrokenPipeError:
                        self._finish()
                        return
            self._outbox_filled = anyio.Event()
            await self._outbox_filled.wait()

    async def _read_answers(self) -> None:
        assert self._process.stdout is not None
        async for data in _chunks(self._process.stdout.fileno()):
            await self._take_output(data)
        self._finish()

    async def _read_log(self) -> None:
        assert self._process.stderr is not None
        async for data in _chunks(self._process.stderr.fileno()):
            self._take_log_data(data)

    async def _watch_exit(self) -> None:
        await anyio.wait_readable(self._process_descriptor)
        self._finish()

    async def _take_output(self, data: bytes) -> None:
        for line in self._lines.feed(data):
            if self._first_line is None:
                self._first_line = line
                self._first_news.set()
            else:
                await self._take_line(line)
        if self._lines.pending_bytes > protocol.MAX_LINE_BYTES:
            self.stop(f"it wrote a line of more than {protocol.MAX_LINE_BYTES} bytes")

    async def _take_line(self, line: bytes) -> None:
        match protocol.read_line(line):
            case protocol.Answer() as answer:
                self._take_log_so_far()  # it is of this task still
                self._settle(answer)
            case protocol.Report() as report:
                self._knows_extensions = True
                call = self._calls.get(report.id)
                if call is None or call.abandoned:
                    return
                if report.progress is not None and call.on_progress is not None:
                    call.on_progress(report.progress)
                if report.log is not None and call.on_log is not None:
                    call.on_log(report.log)
            case protocol.Chatter(text=text):
                await self._dump(line)
                self._take_log(f"on stdout: {text}".encode())
            case protocol.Garbled(text=text):
                await self._dump(line)
                self.stop(f"its answer cannot be read: {text}")

    def _settle(self, answer: protocol.Answer) -> None:
        call = self._calls.pop(answer.id, None)
        if call is None:
            return
        self.answers += 1
        if answer.is_last:
            self._finish()
        if answer.output is not None:
            call.result = answer.output
        else:
            call.result = errors.StageFailed(call.stage, answer.error or "", self.pid, answer.detail)
        call.done.set()
        call.settled()
        self._stop_if_unwanted()

    def _take_log_so_far(self) -> None:
        if self._process.stderr is not None:
            with contextlib.suppress(BlockingIOError):
                self._take_log_data(os.read(self._process.stderr.fileno(), _READ_BYTES))

    def _take_log_data(self, data: bytes) -> None:
        lines = self._log_lines.feed(data)
        if self._log_lines.pending_bytes > _LOG_LINE_BYTES:
            lines.append(self._log_lines.end())
        for line in lines:
            self._take_log(line)

    def _take_log(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        self._last_words.append(text)
        if self._log is not None:
            self._log(self.pid, text)
        else:
            sys.stderr.write(text + "\n")

    async def _dump(self, line: bytes) -> None:
        folder = os.environ.get(DUMP_VARIABLE.format(pid=self.pid))
        if folder:
            file = anyio.Path(folder, f"ext-processor-err-resp-{self.pid}-{uuid.uuid4().hex}.json")
            await file.parent.mkdir(parents=True, exist_ok=True)
            await file.write_bytes(line)

    # Its beginning and its end ----------------------------------------------------------------------------------------

    async def live(self, on_ready: Callable[["Child"], None]) -> None:
        """Serve until the child is gone; `on_ready` is called when it can take tasks."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch_exit)
                tasks.start_soon(self._read_answers)
                tasks.start_soon(self._write_requests)
                if self._process.stderr is not None:
                    tasks.start_soon(self._read_log)
                if await self._is_ready():
                    on_ready(self)
                await self._over.wait()
                tasks.cancel_scope.cancel()
        except BaseException:
            self.stop("its worker stops")
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await self._end_group()
                await self._bury()

    async def _is_ready(self) -> bool:
        """Wait for the first line; whatever comes instead ends the child."""
        seconds, stage = self._command.ready_seconds, self._command.stage
        expected = protocol.ready_line(stage).decode().strip()
        with anyio.move_on_after(seconds):
            await self._first_news.wait()
        if self._first_line is not None and protocol.is_ready(self._first_line, stage):
            return True
        if self._first_line is not None:
            self.stop(f"unexpected first line: {protocol.excerpt(self._first_line)} (expected {expected!r})")
        elif not self._over.is_set():
            self.stop(f"timeout exceeded before child get ready: no line {expected!r} within {seconds:g}s")
        return False

    async def _end_group(self) -> None:
        """Leave no process of the group alive.

        The leader is reaped only after that, so the number of the group cannot have passed to another one.
        """
        if self.was_ended or not await self._has_exited(_EXIT_SECONDS):
            self._ended_because = self._ended_because or "it closed its pipes"
            self._signal(signal.SIGTERM)
            await self._has_exited(self._command.grace_seconds)
        self._signal(signal.SIGKILL)
        if not await self._has_exited(_BURIAL_SECONDS):
            self._take_log(f"process {self.pid} does not die: it is stuck in the kernel, look at its disks".encode())

    async def _outlive_group(self) -> None:
        """Wait until what the child had started is dead too: its files are about to be used by the next try."""
        with anyio.move_on_after(_BURIAL_SECONDS), contextlib.suppress(ProcessLookupError, PermissionError):
            while True:
                os.killpg(self.pid, 0)
                if not await anyio.to_thread.run_sync(_computes, self.pid):
                    return  # zombies; whoever has inherited them reaps them or not
                await anyio.sleep(0.01)

    async def _has_exited(self, seconds: float) -> bool:
        with anyio.move_on_after(seconds):
            await anyio.wait_readable(self._process_descriptor)
            return True
        return False

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass  # nobody is left
        except PermissionError:
            self._take_log(f"process {self.pid} runs as another user now and cannot be ended by us".encode())

    async def _bury(self) -> None:
        """Take its last answers, reap it, and tell those who still wait."""
        self._process.poll()
        await self._outlive_group()
        assert self._process.stdout is not None
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._process.stdout.fileno(), _READ_BYTES):
                await self._take_output(data)
        self._take_log_so_far()
        if self._log_lines.pending_bytes:
            self._take_log(self._log_lines.end())
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        os.close(self._process_descriptor)
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.result = self._obituary(call.stage)
            call.done.set()
            call.settled()
        self.gone.set()

    def _obituary(self, stage: str) -> errors.StageDied:
        text = f"child process exited: {stage} (pid {self.pid}, {self.end_text()})"
        return errors.StageDied(stage, text, self.pid, "\n".join(self._last_words) or None)

    def end_text(self) -> str:
        """Say how the child ended, or why we ended it."""
        if self._ended_because:
            return f"ended because {self._ended_because}"
        code = self._process.returncode
        if code is None:
            return "it ends just now"
        if code >= 0:
            return f"exit code {code}"
        name = signal.Signals(-code).name
        return f"killed by {name}" + ("; the kernel does that when memory runs out" if name == "SIGKILL" else "")

    def not_ready(self) -> errors.ChildNotReady:
        """Return the error of a child that never said it was ready."""
        reason = self._ended_because or f"child process exited before it was ready: {self.end_text()}"
        command = errors.command_text(self._command.argv)
        last = f": {self._last_words[-1]}" if self._last_words else ""
        detail = "\n".join(self._last_words) or None
        return errors.ChildNotReady(self._command.stage, f"{reason}{last} [{command}]", self.pid, detail)


async def keep(
    command: Command,
    *,
    on_ready: Callable[[Child], None],
    on_end: Callable[[], None],
    log: Callable[[int, str], None] | None = None,
) -> Child:
    """Start a child and stay with it until it is gone; return it then, for its last data.

    Args:
        command: What to start.
        on_ready: Called with the child once it can take tasks.
        on_end: Called as soon as it takes no more tasks; its process may live for some seconds yet.
        log: Gets the pid and each line of stderr; without it the child writes to our own stderr.

    Raises:
        ChildNotReady: It could not be started, or did not say that it is ready in time. It is gone then.
    """
    ready = False

    def note_ready(child: Child) -> None:
        nonlocal ready
        ready = True
        on_ready(child)

    child = Child(command, *_spawn(command, with_stderr=log is not None), on_end=on_end, log=log)
    await child.live(note_ready)
    if not ready:
        raise child.not_ready()
    return child


def _spawn(command: Command, *, with_stderr: bool) -> "tuple[subprocess.Popen[bytes], int]":
    """Start the process, in the thread of the event loop: the child's death signal is tied to this thread's life.

    Return it with a descriptor of it that the event loop can watch.
    """
    process = None
    try:
        process = subprocess.Popen(  # noqa: S603 - the operator's own command
            command.argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if with_stderr else None,
            env={**command.env, host.PARENT_VARIABLE: str(os.getpid())},
            start_new_session=True,
            bufsize=0,
        )
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
        return process, os.pidfd_open(process.pid)
    except OSError as error:
        if process is not None:
            with process:
                process.kill()
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


async def _chunks(pipe: int) -> AsyncIterator[bytes]:
    """Yield what comes out of a pipe until its end."""
    while True:
        try:
            data = os.read(pipe, _READ_BYTES)
        except BlockingIOError:
            await anyio.wait_readable(pipe)
            continue
        if not data:
            return
        yield data


def own_argv(stage: str, *options: str) -> tuple[str, ...]:
    """Return the command of our own child."""
    return sys.executable, "-m", "damocles.stages.runner", stage, *options
