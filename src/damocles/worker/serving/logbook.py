"""The last lines that stages' processes wrote, per thread, for `logs` and `logs --follow`.

The newest are in memory; all of them, up to a size, lie in each sealing store too, and are there after a restart.
"""

import collections
import contextlib
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import anyio
import anyio.to_thread
import structlog

from damocles import privacy, pulse
from damocles.rpc import messages
from damocles.sealing.sectors import Sector
from damocles.text import redaction
from damocles.wire import codec, control

log = structlog.get_logger(__name__)

LINES_PER_THREAD = 5000
CHARACTERS_PER_THREAD = 2_000_000
LONGEST_LINE = 4000
FILE_NAME = "stages.log"  # in a store's `meta`; JSON lines
OLDER_SUFFIX = ".1"
FILE_BYTES = 1 << 20  # of the file and of the older one


class Thread(Protocol):
    """What is asked of a thread."""

    index: int
    location: Path

    @property
    def sector(self) -> Sector:
        """The sector that it works on."""
        ...


_FAILED = re.compile(r"task \d+ failed: ")  # so our processors begin the line that says why


class Logbook:
    """Takes lines from children (it is an `executor.LogSink`) and gives them out by number."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._threads: dict[Hashable, Thread] = {}
        self._lines: dict[Hashable, collections.deque[control.LogLine]] = collections.defaultdict(collections.deque)
        self._characters: collections.Counter[Hashable] = collections.Counter()
        # Numbers go on after a restart of the worker, so that whoever follows a log need not notice it.
        self._count = int(clock() * 1000)
        self._news = pulse.Pulse()
        self._keepers: dict[Path, _Keeper] = {}
        # Not the limit that all share: readers of a disk that hangs must not use that up.
        self._looks: dict[Path, anyio.CapacityLimiter] = {}

    def know(self, all_threads: Iterable[Thread]) -> None:
        """Name the sectors of these threads in their lines, and keep the lines in their stores."""
        self._threads.update({thread.index: thread for thread in all_threads})

    def forget(self, index: int) -> None:
        """Drop the lines of a thread that is no more; those in its store stay there, and nothing is open there."""
        if (thread := self._threads.pop(index, None)) is not None:
            file = thread.location / "meta" / FILE_NAME
            self._looks.pop(file, None)
            if (keeper := self._keepers.pop(file, None)) is not None:
                keeper.end()
        self._lines.pop(index, None)
        self._characters.pop(index, None)

    def __call__(self, lane: Hashable, stage: str, pid: int, line: str, host: str = "") -> None:
        """Keep one line; what no thread can be named for is only logged."""
        text = redaction.text(line)[:LONGEST_LINE]
        tell = log.error if _FAILED.match(text) else log.info
        tell(text, stage=stage, pid=pid, thread=lane, **({"host": host} if host else {}))
        if lane is None:
            return
        self._count += 1
        thread = self._threads.get(lane)
        sector = (thread.sector.job_id if thread else None) or ""
        kept = control.LogLine(self._count, self._clock(), stage, pid, text, sector, host)
        lines = self._lines[lane]
        lines.append(kept)
        self._characters[lane] += len(text)
        while len(lines) > LINES_PER_THREAD or self._characters[lane] > CHARACTERS_PER_THREAD:
            self._characters[lane] -= len(lines.popleft().text)
        if thread is not None:
            file = thread.location / "meta" / FILE_NAME
            if file not in self._keepers:
                self._keepers[file] = _Keeper(file)
            self._keepers[file].put(kept)
        self._news.beat()

    async def read(self, thread: int, after: int, wait_seconds: float) -> list[control.LogLine]:
        """Return the lines with a number above `after`; wait for the first one if there is none."""
        lines = self._lines[thread]
        if (not lines or after < lines[0].number) and thread in self._threads:
            file = self._threads[thread].location / "meta" / FILE_NAME
            limiter = self._looks.setdefault(file, anyio.CapacityLimiter(1))
            stored = await anyio.to_thread.run_sync(_stored, file, abandon_on_cancel=True, limiter=limiter)
            before = lines[0].number if lines else self._count + 1
            older = [line for line in stored if after < line.number < before]
            if older:
                return [*older, *lines][-LINES_PER_THREAD:]
        with anyio.move_on_after(wait_seconds):
            while not any(line.number > after for line in reversed(lines)):
                await self._news.wait()
        return [line for line in lines if line.number > after]

    def written(self) -> None:
        """Return when all lines so far are in their files."""
        for keeper in self._keepers.values():
            keeper.written()


class _Keeper:
    """Writes the lines of one store, in a thread of its own: a disk that hangs costs lines and holds up nobody."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lines: queue.Queue[control.LogLine | None] = queue.Queue(LINES_PER_THREAD + 1)
        self._is_reported = False  # that the file cannot be written
        # Not waited for at the worker's end: nothing hangs on the last lines.
        threading.Thread(target=self._run, name=f"log of {file.parent.parent}", daemon=True).start()

    def put(self, line: control.LogLine) -> None:
        """Have a line written, unless too many wait for it already."""
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(line)

    def end(self) -> None:
        """Write what waits, and nothing more."""
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(None)

    def written(self) -> None:
        """Return when nothing waits any more."""
        self._lines.join()

    def _run(self) -> None:
        while True:
            line = self._lines.get()
            try:
                if line is None:
                    return
                self._write(line)
            finally:
                self._lines.task_done()

    def _write(self, line: control.LogLine) -> None:
        """Append a line; not synced, since nothing hangs on it."""
        try:
            if not self._file.parent.is_dir():
                return  # no store, or not one yet
            descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, privacy.GROUP_READS)
            with os.fdopen(descriptor, "ab") as opened:
                opened.write(codec.encode(line) + b"\n")
                is_full = opened.tell() >= FILE_BYTES
            if is_full:
                self._file.replace(_older(self._file))
            self._is_reported = False
        except OSError as error:
            if not self._is_reported:
                log.warning("stages' output is not kept", file=str(self._file), error=str(error))
            self._is_reported = True


def _older(file: Path) -> Path:
    return file.with_name(file.name + OLDER_SUFFIX)


def _stored(file: Path) -> list[control.LogLine]:
    return [line for each in (_older(file), file) for line in _parsed(each)]


def _parsed(file: Path) -> Iterator[control.LogLine]:
    try:
        texts = file.read_bytes().splitlines()
    except OSError:
        return  # none was written, or the disk is in trouble: what is in memory has to do
    for text in texts:
        try:
            yield codec.decode(text, control.LogLine)
        except messages.UNREADABLE:
            continue  # a power cut has left half a line
