"""One child under a guard, for one task at a time: on a far machine within an actor, here within the helper.

All of it is for threads, since an actor's calls are threads of their own. Nothing here knows of Ray.
"""

import contextlib
import os
import platform
import queue
import select
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from damocles.stages import host, processes, protocol
from damocles.stages.far import guard, settings
from damocles.stages.processor import child

_LAST_WORDS = 20
_BURIAL_SECONDS = 10.0
_EXIT_SECONDS = 2.0  # between the end of stdout and the guard's
_OF_GUARD = "guard: "
# What a worker of Ray has, and a program that it runs should not: it reserves no cores, and its own are not to be lowered.
_OF_RAY = ("RAY_", "OMP_NUM_THREADS", "PYTHONBREAKPOINT", "SPT_NOENV")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a workplace runs, and for how long without a renewal."""

    stage: str
    argv: tuple[str, ...] = ()  # none: our own processor
    envs: Mapping[str, str] = field(default_factory=dict)
    ready_seconds: float = 5.0
    lease_seconds: float = 15.0


def of(group: settings.Group) -> Work:
    """Return the work of a group."""
    return Work(
        stage=group.stage,
        argv=group.argv,
        envs=group.envs,
        ready_seconds=group.ready_seconds,
        lease_seconds=group.lease_seconds,
    )


def _settled(work: Work) -> Work:
    """Return the work with our own program, by this machine's Python, where it names none."""
    return work if work.argv else replace(work, argv=child.own_argv(work.stage), ready_seconds=60.0)


def environment(envs: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child here: this machine's, without what Ray has put there, under `envs`."""
    here = {name: value for name, value in os.environ.items() if not name.startswith(_OF_RAY)}
    here.pop(host.PARENT_VARIABLE, None)
    return {**here, **envs}


class _Ended(Exception):
    """The child takes and gives nothing any more; the text says how it ended."""


class Workplace:
    """Runs tasks in a child that is kept for the next one, as long as its lease is renewed."""

    def __init__(self, work: Work) -> None:
        self._work = work = _settled(work)
        self._deadline = guard.now() + work.lease_seconds
        self._lock = threading.Lock()
        self._attempt: str | None = None
        self._stopped: deque[str] = deque(maxlen=100)  # a call to stop may overtake the one to run
        self._child: _Child | None = None

    def run(self, attempt: str, stamp: float, request: bytes) -> Iterator[bytes]:
        """Yield the lines about a task until its answer, which is the last one.

        `request` is a request in the line protocol, `attempt` its name for `stop`, `stamp` as in `renew`. Closing the iterator ends the
        child.
        """
        number = protocol.read_request(request).id
        self.renew(stamp)
        with self._lock:
            refused = self._attempt is not None or attempt in self._stopped
            if not refused:
                self._attempt = attempt
        if refused:
            yield protocol.lost(number, "the attempt was stopped before it began, or another one runs in its place")
            return
        is_answered = False
        try:
            child = self._kept()
            yield protocol.at(number, platform.node(), child.pid)
            child.send(request)
            while not is_answered:
                line, is_answered = _passed_on(child.next_line(), number)
                yield line
        except _Ended as error:
            is_answered = True
            self.close()
            yield protocol.lost(number, str(error))
        finally:
            if not is_answered:
                self.close()
            with self._lock:
                self._attempt = None

    def _kept(self) -> "_Child":
        """Return the child; start it if there is none."""
        child = self._child
        if child is not None and not child.is_over:
            return child
        self.close()
        child = _Child(self._work, self._deadline)
        with self._lock:
            self._child = child
            is_stopped = self._attempt in self._stopped
        if is_stopped:
            child.end()
        child.wait_until_ready()
        return child

    def renew(self, stamp: float) -> float:
        """Renew the lease: it ends so many seconds after `stamp`, which an earlier call returned; return the next stamp."""
        with self._lock:
            self._deadline = max(self._deadline, stamp + self._work.lease_seconds)
            if self._child is not None:
                self._child.hold_until(self._deadline)
        return guard.now()

    @property
    def overdue_seconds(self) -> float:
        """How long nobody has held the lease."""
        return guard.now() - self._deadline

    def stop(self, attempt: str) -> bool:
        """End an attempt; return whether nothing of it goes on."""
        with self._lock:
            self._stopped.append(attempt)
            child = self._child if self._attempt == attempt else None
        return child is None or child.end()

    def close(self) -> None:
        """End the child."""
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            child.end()


def _passed_on(line: bytes | str, number: int) -> tuple[bytes, bool]:
    """Return what a child says about a task, and whether that is its answer; the rest of what it prints is for the log.

    Raises:
        _Ended: It is an answer that cannot be read.
    """
    if isinstance(line, str):
        return protocol.log(number, line), False
    match protocol.read_line(line):
        case (protocol.Answer(id=about) | protocol.Report(id=about)) as read if about == number:
            return line + b"\n", isinstance(read, protocol.Answer)
        case protocol.Chatter(text=text):
            return protocol.log(number, f"on stdout: {text}"), False
        case protocol.Garbled(text=text):
            raise _Ended(f"its answer cannot be read: {text}")
        case _:
            return protocol.log(number, f"skipped, it is about another task: {protocol.excerpt(line)}"), False


class _Child:
    """A guard with its program; what it writes waits in a queue: bytes from stdout, text from stderr, None at the end."""

    def __init__(self, work: Work, deadline: float) -> None:
        self._work = work
        self._news: queue.Queue[bytes | str | None] = queue.Queue()
        self._last_words: deque[str] = deque(maxlen=_LAST_WORDS)
        self._lock = threading.Lock()
        self._ended_because = ""
        reader, self._control = os.pipe()
        try:
            self._guard = subprocess.Popen(  # noqa: S603 - the operator's own command, or ours
                [sys.executable, "-m", guard.__name__, str(reader), repr(deadline), *work.argv],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment(work.envs),
                pass_fds=[reader],
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            os.close(self._control)
            raise _Ended(f"no guard can be started: {error.strerror}") from error
        finally:
            os.close(reader)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process that computes, or the guard if that has just ended."""
        children = Path(f"/proc/{self._guard.pid}/task/{self._guard.pid}/children")
        with contextlib.suppress(OSError):
            for pid in children.read_text().split():
                return int(pid)
        return self._guard.pid

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or is about to."""
        return bool(self._ended_because) or self._guard.poll() is not None

    def wait_until_ready(self) -> None:
        """Wait for the first line.

        Raises:
            _Ended: It does not come, or another one.
        """
        expected = protocol.ready_line(self._work.stage).decode().strip()
        while True:
            try:
                line = self._news.get(timeout=self._work.ready_seconds)
            except queue.Empty:
                self._ended_because = f"no line {expected!r} within {self._work.ready_seconds:g}s"
                raise self._ended() from None
            match line:
                case None:
                    raise self._ended()
                case bytes() if protocol.is_ready(line, self._work.stage):
                    return
                case bytes():
                    self._ended_because = f"unexpected first line: {protocol.excerpt(line)} (expected {expected!r})"
                    raise self._ended()

    def send(self, line: bytes) -> None:
        """Write a whole request.

        Raises:
            _Ended: Nobody reads it.
        """
        assert self._guard.stdin is not None
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[self._guard.stdin.write(rest) :]
        except OSError:
            raise self._ended() from None

    def next_line(self) -> bytes | str:
        """Wait for the next line.

        Raises:
            _Ended: There is none any more.
        """
        line = self._news.get()
        if line is None:
            raise self._ended()
        return line

    def hold_until(self, deadline: float) -> None:
        """Show the guard a later deadline."""
        with self._lock, contextlib.suppress(OSError):
            if self._control >= 0:
                os.write(self._control, f"{deadline!r}\n".encode())

    def end(self) -> bool:
        """End guard and program; return whether they are gone."""
        self._ended_because = self._ended_because or "it was told to"
        with self._lock:
            if self._control >= 0:
                os.close(self._control)
                self._control = -1
        try:
            self._guard.wait(_BURIAL_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        self._reader.join(_BURIAL_SECONDS)
        for pipe in (self._guard.stdin, self._guard.stdout, self._guard.stderr):
            assert pipe is not None
            pipe.close()
        return True

    def _ended(self) -> _Ended:
        because = self._ended_because
        if not because:  # by itself: let the guard see how
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guard.wait(_EXIT_SECONDS)
        self.end()
        words = list(self._last_words)
        told = words[-1].removeprefix(_OF_GUARD) if words and words[-1].startswith(_OF_GUARD) else "ended"
        last = f": {words[-2]}" if len(words) > 1 else ""
        where = f"{self._work.stage} on {platform.node()}"
        return _Ended(f"child process exited: {where} ({because or told}){last}")

    def _read(self) -> None:
        """Read both pipes until they are closed; what was in the log when an answer came is put before it."""
        assert self._guard.stdout is not None
        assert self._guard.stderr is not None
        output, log = self._guard.stdout.fileno(), self._guard.stderr.fileno()
        answers, texts = protocol.Lines(), protocol.Lines(protocol.LOG_LINE_BYTES)
        poll, open_pipes = select.poll(), {output, log}
        for pipe in open_pipes:
            os.set_blocking(pipe, False)
            poll.register(pipe, select.POLLIN)
        while open_pipes:
            ready = {pipe for pipe, _ in poll.poll()}
            # Read the answer before the log: what is in neither was written later.
            came = {pipe: processes.ready_bytes(pipe) for pipe in (output, log) if pipe in ready or pipe == log}
            for line in texts.feed(came[log]):
                self._take_log(line)
            for line in answers.feed(came.get(output, b"")):
                self._news.put(line)
            over = {pipe for pipe in ready if not came[pipe]}
            if answers.pending_bytes > protocol.MAX_LINE_BYTES:
                over.add(output)
            for pipe in over & open_pipes:
                poll.unregister(pipe)
                open_pipes.remove(pipe)
                if pipe == output:
                    self._news.put(None)
        if texts.pending_bytes:
            self._take_log(texts.end())

    def _take_log(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        self._last_words.append(text)
        self._news.put(text)
