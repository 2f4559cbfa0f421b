"""Show the progress of work on files: bars on a terminal, plain lines elsewhere, always on stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from damocles.parameters.watching import Watcher
from damocles.text import units

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_LINE_EVERY_SECONDS = 30.0
_NAME_WIDTH = 24
_PATIENCE_SECONDS = 2.0
_REFRESH_SECONDS = 0.2


@contextmanager
def watcher(*, has_sizes: bool = True) -> Iterator[Watcher]:
    """Yield a watcher that shows progress on this stderr; without sizes, it shows the time taken."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich import progress
    from rich.console import Console

    columns: list[progress.ProgressColumn] = [progress.TextColumn("{task.description}")]
    if has_sizes:
        columns += [
            progress.BarColumn(bar_width=10),
            progress.DownloadColumn(binary_units=True),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(compact=True),
        ]
    else:
        columns.insert(0, progress.SpinnerColumn())
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        yield Bars(shown)


class Counter:
    """Show a count on a terminal, once it takes longer than two seconds; elsewhere show nothing."""

    def __init__(self, what: str, total: int | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._what, self._total, self._clock = what, total, clock
        self._began = self._drawn = clock()
        self._width = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def show(self, done: int) -> None:
        """Update the count of what is done."""
        now = self._clock()
        if now - self._began < _PATIENCE_SECONDS or now - self._drawn < _REFRESH_SECONDS or not sys.stderr.isatty():
            return
        self._drawn = now
        share = f" ({done * 100 // self._total} %)" if self._total else ""
        text = f"{done} {self._what}{share}"
        print(f"\r{text.ljust(self._width)}", end="", file=sys.stderr, flush=True)
        self._width = len(text)

    def end(self) -> None:
        """Clear the text."""
        if self._width:
            print(f"\r{' ' * self._width}\r", end="", file=sys.stderr, flush=True)
            self._width = 0


class Lines:
    """A line when a file begins, and one every half minute while it lasts."""

    def __init__(self) -> None:
        self._totals: dict[str, tuple[str, int]] = {}
        self._done: dict[str, int] = {}
        self._drawn: dict[str, float] = {}

    def begin(self, name: str, doing: str, size_bytes: int, done_bytes: int) -> None:
        """See `Watcher`."""
        self._totals[name], self._done[name] = (doing, size_bytes), done_bytes
        self._drawn[name] = time.monotonic()
        already = f", {units.human_size(done_bytes)} here already" if done_bytes else ""
        self.say(f"{name}: {doing} {units.human_size(size_bytes)}{already}")

    def advance(self, name: str, count: int) -> None:
        """See `Watcher`."""
        self._done[name] += count
        doing, size_bytes = self._totals[name]
        self._now_and_then(name, f"{doing}, {units.human_size(self._done[name])} of {units.human_size(size_bytes)}")

    def end(self, name: str) -> None:
        """See `Watcher`."""
        self._drawn.pop(name, None)

    def pulse(self, name: str, text: str) -> None:
        """See `Watcher`."""
        self._now_and_then(name, text)

    def say(self, text: str) -> None:
        """See `Watcher`."""
        print(text, file=sys.stderr, flush=True)

    def _now_and_then(self, name: str, text: str) -> None:
        now = time.monotonic()
        if now - self._drawn.setdefault(name, now) >= _LINE_EVERY_SECONDS:
            self._drawn[name] = now
            self.say(f"{name}: {text}")


class Bars:
    """A bar per file, and the lines above them."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def begin(self, name: str, doing: str, size_bytes: int, done_bytes: int) -> None:
        """See `Watcher`."""
        self.end(name)
        self._tasks[name] = self._progress.add_task(f"{doing} {_short(name)}", total=size_bytes, completed=done_bytes)

    def advance(self, name: str, count: int) -> None:
        """See `Watcher`."""
        self._progress.advance(self._tasks[name], count)

    def end(self, name: str) -> None:
        """See `Watcher`."""
        if (task := self._tasks.pop(name, None)) is not None:
            self._progress.remove_task(task)

    def pulse(self, name: str, text: str) -> None:
        """See `Watcher`."""
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=None)
        self._progress.update(self._tasks[name], description=f"{name}: {text}")

    def say(self, text: str) -> None:
        """See `Watcher`."""
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _short(name: str) -> str:
    """Keep both ends of a file's name: they show what it is for, and whether it is a key."""
    keep = _NAME_WIDTH // 2
    return name if len(name) <= _NAME_WIDTH else f"{name[:keep]}…{name[-keep:]}"
