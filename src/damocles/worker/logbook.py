"""The last lines that stages' processes wrote, per thread, for `logs` and `logs --follow`."""

import collections
import time
from collections.abc import Callable, Hashable

import anyio
import structlog

from damocles.wire import control

log = structlog.get_logger(__name__)

LINES_PER_THREAD = 5000
CHARACTERS_PER_THREAD = 2_000_000
LONGEST_LINE = 4000


class Logbook:
    """Takes lines from children (it is an `executor.LogSink`) and gives them out by number."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lines: dict[Hashable, collections.deque[control.LogLine]] = collections.defaultdict(collections.deque)
        self._characters: collections.Counter[Hashable] = collections.Counter()
        # Numbers go on after a restart of the worker, so that whoever follows a log need not notice it.
        self._count = int(clock() * 1000)
        self._news = anyio.Event()

    def __call__(self, lane: Hashable, stage: str, pid: int, line: str) -> None:
        """Keep one line; what no thread can be named for is only logged."""
        text = line[:LONGEST_LINE]
        log.info("stage", stage=stage, pid=pid, thread=lane, line=text)
        if lane is None:
            return
        self._count += 1
        lines = self._lines[lane]
        lines.append(control.LogLine(self._count, self._clock(), stage, pid, text))
        self._characters[lane] += len(text)
        while len(lines) > LINES_PER_THREAD or self._characters[lane] > CHARACTERS_PER_THREAD:
            self._characters[lane] -= len(lines.popleft().text)
        self._news.set()
        self._news = anyio.Event()

    async def read(self, thread: int, after: int, wait_seconds: float) -> list[control.LogLine]:
        """Return the lines with a number above `after`; wait for the first one if there is none."""
        with anyio.move_on_after(wait_seconds):
            while not any(line.number > after for line in reversed(self._lines[thread])):
                await self._news.wait()
        return [line for line in self._lines[thread] if line.number > after]
