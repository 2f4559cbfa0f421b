"""One child that speaks the line protocol, from its start to its burial.

`keep` runs a child as a task of the caller's group; the `Child` that it hands out sends tasks and takes answers. A child
has a session of its own and is always ended as a whole group, with whatever it has started itself.
"""

import collections
import os
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
import msgspec

from damocles import pulse
from damocles.stages import errors, processes, protocol

DUMP_VARIABLE = "DUMP_ERR_RESP_{pid}"  # names a folder for lines that cannot be read; set by `WorkerSetEnv`

_LAST_WORDS = 20


@dataclass(slots=True, kw_only=True, eq=False)
class _Call:
    """A request that has no answer yet."""

    stage: str
    on_progress: Callable[[protocol.Progress], None] | None
    on_log: Callable[[str], None] | None
    on_at: Callable[[protocol.At], None] | None
    settled: Callable[[], None]
    abandoned: bool = False
    result: msgspec.Raw | errors.StageError | None = None
    done: anyio.Event = field(default_factory=anyio.Event)


class Child:
    """A running child. Made by `keep`."""

    def __init__(
        self,
        command: processes.Command,
        process: processes.Process,
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
        self._outbox_filled = pulse.Pulse()
        self._last_words: collections.deque[str] = collections.deque(maxlen=_LAST_WORDS)
        self._lines = protocol.Lines()
        self._log_lines = protocol.Lines(protocol.LOG_LINE_BYTES)
        self._knows_extensions = False
        self._first_line: bytes | None = None
        self._first_news = anyio.Event()
        self._over = anyio.Event()
        self._ended_because = ""
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
        """End the child: SIGTERM to its group, then SIGKILL. `gone` is set once that is done."""
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
        on_at: Callable[[protocol.At], None] | None = None,
    ) -> msgspec.Raw:
        """Send a task (JSON) and wait for its output.

        Cancelled, it ends the child if nobody else waits for an answer of it; otherwise it asks the child to cancel the
        task. `settled` is called once, as soon as the child no longer works on the task.

        Raises:
            StageFailed: The child reports that.
            StageDied: It ended before it answered.
        """
        call = _Call(stage=stage, on_progress=on_progress, on_log=on_log, on_at=on_at, settled=settled)
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
        if self._command.cancel_seconds is not None:
            self._send(protocol.cancellation(request_id))
            with anyio.move_on_after(self._command.cancel_seconds):
                await call.done.wait()
                return
            self.stop("it does not answer a cancellation")
            await self.gone.wait()
        elif self._stop_if_unwanted():
            await self.gone.wait()
        elif self._knows_extensions:
            # Others would take the line for a task without a body; their answer is thrown away when it comes.
            self._send(protocol.cancellation(request_id))

    def _stop_if_unwanted(self) -> bool:
        unwanted = (
            self._command.cancel_seconds is None
            and bool(self._calls)
            and all(call.abandoned for call in self._calls.values())
        )
        if unwanted:
            self.stop("nobody waits for its answers any more")
        return unwanted

    def _send(self, line: bytes) -> None:
        self._outbox.append(line)
        self._outbox_filled.beat()

    # What goes on while the child lives ------------------------------------------------------------------------------

    async def _write_requests(self) -> None:
        """Write whole lines, so that a cancelled request never leaves half of one."""
        pipe = self._process.stdin
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
            await self._outbox_filled.wait()

    async def _read_answers(self) -> None:
        async for data in processes.chunks(self._process.stdout):
            await self._take_output(data)
        self._finish()

    async def _read_log(self, pipe: int) -> None:
        async for data in processes.chunks(pipe):
            self._take_log_data(data)

    async def _watch_exit(self) -> None:
        await self._process.exited()
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
                if report.at is not None and call.on_at is not None:
                    call.on_at(report.at)
            case protocol.Chatter(text=text):
                await self._dump(line)
                self._take_log(f"on stdout: {text}".encode())
            case protocol.Garbled(text=text):
                await self._dump(line)
                self.stop(f"its answer cannot be read: {text}")

    def _settle(self, answer: protocol.Answer) -> None:
        call = self._calls.pop(answer.id, None)
        if call is None:
            # A second answer harms nobody. An id that was never given out: the request it is for would wait for ever.
            if not 0 < answer.id < self._next_id:
                self.stop(f"it answers a request {answer.id} that it never got")
            return
        self.answers += 1
        if answer.is_last:
            self._finish()
        if answer.output is not None:
            call.result = answer.output
        else:
            kind = errors.StageDied if answer.is_lost else errors.StageFailed
            call.result = kind(call.stage, answer.error or "", self.pid, answer.detail)
        call.done.set()
        call.settled()
        self._stop_if_unwanted()

    def _take_log_so_far(self) -> None:
        if self._process.stderr is not None:
            self._take_log_data(processes.ready_bytes(self._process.stderr))

    def _take_log_data(self, data: bytes) -> None:
        for line in self._log_lines.feed(data):
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
        if not folder:
            return
        file = anyio.Path(folder, f"ext-processor-err-resp-{self.pid}-{uuid.uuid4().hex}.json")
        try:
            await file.parent.mkdir(parents=True, exist_ok=True)
            await file.write_bytes(line)
        except OSError as error:
            self._say(f"{file}: {error.strerror}")

    def _say(self, text: str) -> None:
        self._take_log(text.encode())

    # Its beginning and its end ----------------------------------------------------------------------------------------

    async def live(self, on_ready: Callable[["Child"], None]) -> None:
        """Serve until the child is gone; `on_ready` is called when it can take tasks."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch_exit)
                tasks.start_soon(self._read_answers)
                tasks.start_soon(self._write_requests)
                if self._process.stderr is not None:
                    tasks.start_soon(self._read_log, self._process.stderr)
                if await self._is_ready():
                    on_ready(self)
                await self._over.wait()
                tasks.cancel_scope.cancel()
        except BaseException:
            self.stop("its worker stops")
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await self._bury()

    async def _is_ready(self) -> bool:
        """Wait for the first line; whatever comes instead ends the child."""
        seconds, stage = self._command.ready_seconds, self._command.stage
        expected = protocol.ready_line(stage).decode().strip()
        with anyio.move_on_after(seconds):
            await self._first_news.wait()
        if self._first_line is not None and protocol.is_ready(self._first_line, stage):
            return not self.is_over  # it may have said so and ended
        if self._first_line is not None:
            self.stop(f"unexpected first line: {protocol.excerpt(self._first_line)} (expected {expected!r})")
        elif not self._over.is_set():
            self.stop(f"timeout exceeded before child get ready: no line {expected!r} within {seconds:g}s")
        return False

    async def _bury(self) -> None:
        """End its group, take its last answers, and notify those who still wait."""
        try:
            if not await self._process.end(self._command.grace_seconds if self.was_ended else None):
                self._ended_because = self._ended_because or "it closed its pipes"
        except (TimeoutError, PermissionError) as error:
            self._say(f"process {self.pid} cannot be ended: {error}")
        while data := processes.ready_bytes(self._process.stdout):
            await self._take_output(data)
        self._take_log_so_far()
        if self._log_lines.pending_bytes:
            self._take_log(self._log_lines.end())
        self._process.close()
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
        """Return how the child ended, or why we ended it."""
        return f"ended because {self._ended_because}" if self._ended_because else self._process.end_text()

    def not_ready(self) -> errors.ChildNotReady:
        """Return the error of a child that never reported that it is ready."""
        reason = self._ended_because or f"child process exited before it was ready: {self.end_text()}"
        command = errors.command_text(self._command.argv)
        last = f": {self._last_words[-1]}" if self._last_words else ""
        detail = "\n".join(self._last_words) or None
        return errors.ChildNotReady(self._command.stage, f"{reason}{last} [{command}]", self.pid, detail)


async def keep(
    command: processes.Command,
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
        ChildNotReady: It could not be started, or did not report in time that it is ready. It is gone then.
    """
    ready = False

    def note_ready(child: Child) -> None:
        nonlocal ready
        ready = True
        on_ready(child)

    child = Child(command, processes.start(command, with_stderr=log is not None), on_end=on_end, log=log)
    await child.live(note_ready)
    if not ready:
        raise child.not_ready()
    return child


def own_argv(stage: str, *options: str) -> tuple[str, ...]:
    """Return the command of our own child."""
    return sys.executable, "-m", "damocles.stages.processor.runner", stage, *options
