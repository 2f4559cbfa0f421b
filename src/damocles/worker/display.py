"""What a thread does right now, for people: the thread shows it, its stages and its calls do, and listings read it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from damocles.stages import protocol
from damocles.wire import control


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What a thread does right now, and since when (unix seconds).

    `state` is one of the wire's thread states; `what` says what a Waiting or Idle thread waits for, or which processor
    a Running one uses.
    """

    state: str
    since: float
    what: str | None = None
    pid: int | None = None
    until: float | None = None
    progress: control.Progress | None = None


class Display:
    """The latest `Activity` of a thread, and what that waits for: an answer of the manager, or what its stage says."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.now = Activity(state="Idle", since=clock())
        self.calling: control.Waiting | None = None
        self.stalled: control.Waiting | None = None

    def show(self, state: str, what: str | None = None, pid: int | None = None, until: float | None = None) -> None:
        """Show what begins; polls that follow each other are one wait, which began with the first of them."""
        same = self.now.state == state and self.now.what == what
        since = self.now.since if same else self._clock()
        self.now = Activity(state=state, since=since, what=what, pid=pid, until=until)
        self.stalled = None

    @contextmanager
    def meanwhile(self, state: str, what: str) -> Iterator[None]:
        """Show what is mostly over at once; then what was shown before goes on, as if it had never ended."""
        before = self.now
        self.show(state, what)
        try:
            yield
        finally:
            self.now = before

    def show_paused(self, since: float | None = None) -> None:
        """Show a pause, perhaps of long ago."""
        self.now = Activity(state="Paused", since=since if since is not None else self._clock())

    def show_progress(self, progress: protocol.Progress) -> None:
        """Show how far the running stage is."""
        self.now = replace(self.now, progress=control.Progress(progress.done, progress.total, progress.unit))
        waits_for = progress.waiting if isinstance(progress.waiting, str) else None
        self.stalled = control.Waiting(waits_for, self._clock()) if waits_for is not None else None

    def show_call(self, method: str | None) -> None:
        """Show which call to the manager has no answer yet; `None`: it has one."""
        self.calling = control.Waiting(f"an answer of the manager to {method}", self._clock()) if method else None
