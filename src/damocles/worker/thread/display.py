"""What a thread does right now, for people: drawn from its state, never read by what decides."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from damocles.sealing import planner, thread
from damocles.wire import control

OPTIONS = "its options (config.toml)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What a thread does right now, and since when (unix seconds).

    `state` is one of the wire's thread states; `what` is what a Waiting or Idle thread waits for, or the processor
    of a Running one.
    """

    state: str
    since: float
    what: str | None = None
    pid: int | None = None
    until: float | None = None
    progress: control.Progress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """An `Activity` without its beginning; with no state what is done is too short to be seen."""

    state: str | None
    what: str | None = None
    pid: int | None = None
    until: float | None = None
    progress: control.Progress | None = None


class Display:
    """The latest `Activity` of a thread. What follows each other alike is one, which began with the first of them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.now = self._lasting = Activity(state="Idle", since=clock())

    def draw(self, mind: thread.Thread) -> None:
        """Show a thread as it is now."""
        seen = drawn(mind)
        if seen.state is None:
            self.now = self._lasting
        elif seen.what == OPTIONS:
            # Mostly over at once; then what was shown before goes on, as if it had never ended.
            self.now = self._begun(seen, seen.state, self.now)
        else:
            self.now = self._lasting = self._begun(seen, seen.state, self._lasting)
            if _is_held(mind) and mind.trouble is None and mind.sector.paused_at is not None:
                self.now = self._lasting = replace(self.now, since=mind.sector.paused_at)

    def _begun(self, seen: Drawn, state: str, before: Activity) -> Activity:
        since = before.since if (before.state, before.what) == (state, seen.what) else self._clock()
        return Activity(
            state=state, since=since, what=seen.what, pid=seen.pid, until=seen.until, progress=seen.progress
        )


def drawn(mind: thread.Thread) -> Drawn:
    """Return what is to be seen of a thread."""
    if mind.trouble is not None or _is_held(mind):
        return Drawn(state="Paused")
    match mind.doing:
        case thread.ReadOptions():
            return Drawn(state="Waiting", what=OPTIONS)
        case thread.Await(what, is_idle):
            return Drawn(state="Idle" if is_idle else "Waiting", what=what)
        case thread.Claim():
            return Drawn(state="Running", what="claiming the sector")
        case planner.Execute() if mind.stage is not None:
            stage = mind.stage
            state = "Waiting" if stage.waits else "Running"
            return Drawn(state=state, what=stage.what, pid=stage.pid, progress=stage.progress)
        case planner.Execute():
            return Drawn(state="Running")
        case planner.Wait(seconds, why):
            return Drawn(state="Idle", what=why, until=mind.since + seconds)
        case planner.Finalize():
            return Drawn(state="Running", what="finalizing")
        case planner.Discard():
            return Drawn(state="Running", what="aborting")
        case _:
            return Drawn(state=None)


def _is_held(mind: thread.Thread) -> bool:
    """Whether the thread is paused, or was until now and has not gone on yet."""
    if isinstance(mind.doing, planner.Hold):
        return True
    return mind.sector.paused_at is not None and (mind.doing is None or isinstance(mind.doing, thread.ReadOptions))
