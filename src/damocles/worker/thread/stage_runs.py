"""Run the stages of one thread: show what they wait for, measure them, and classify their failures."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio.to_thread

from damocles.sealing import failures, thread
from damocles.stages import errors, protocol
from damocles.stages.admission import policy
from damocles.stages.supervision import executor
from damocles.stores import full
from damocles.wire import control

#: Hears of a stage's end: its name, its seconds without those it waited, whether it failed.
Observe = Callable[[str, float, bool], None]

_PACE_SECONDS = 60.0  # that are looked back


class StageRuns:
    """Runs the stages of the thread `lane`, whose store is at `location`, one at a time; `show` hears how far one is."""

    def __init__(
        self,
        stages: executor.Stages,
        lane: int,
        location: Path,
        *,
        show: Callable[[thread.Stage | None], object],
        clock: Callable[[], float],
        observe: Observe | None,
    ) -> None:
        self._stages = stages
        self._lane = lane
        self._location = location
        self._show = show
        self._clock = clock
        self._observe = observe
        self._stage = thread.Stage(waits=False)
        self._pace = Pace()
        self._wait_began: float | None = None
        self.waited_seconds = 0.0  # in all: for a slot, for a processor
        self.hosts: list[str] = []  # other machines, since somebody has cleared this

    async def run(self, stage: str, task: executor.Task, errand: policy.Errand | None = None) -> Any:
        """Run a stage and return its output; of an `errand` with a size it is known what it costs.

        Raises:
            failures.Full: It failed, and there is no room where it writes.
            failures.Temporary: Its process died or does not come up.
            failures.Permanent: It failed.
            failures.Failure: The task could not be made.
        """
        began, waited_before = time.monotonic(), self.waited_seconds
        self._pace = Pace()

        def ended(*, failed: bool) -> None:
            if self._observe is not None:
                waited_seconds = self.waited_seconds - waited_before
                self._observe(stage, time.monotonic() - began - waited_seconds, failed)

        try:
            output = await self._stages.run(
                stage,
                task,
                lane=self._lane,
                on_status=self._on_status,
                on_progress=self._on_progress,
                errand=errand,
            )
        except errors.StageError as error:
            ended(failed=True)
            if (place := await anyio.to_thread.run_sync(self._without_room, error)) is not None:
                raise failures.Full(place, str(error)) from error
            if isinstance(error, errors.StageFailed):
                raise failures.Permanent(str(error)) from error
            # Every stage can be run again from the start, so a killed process costs a retry and not an operator.
            raise failures.Temporary(str(error)) from error
        else:
            ended(failed=False)
            return output
        finally:
            self._wait_began = None
            self._show(None)

    def has_its_turn(self) -> None:
        """Show that the stage waits for nothing any more; what its task is made of is shown beside."""
        self._put(thread.Stage(waits=False))

    def _without_room(self, error: errors.StageError) -> str | None:
        """Return where a failed stage has found no room, `None` if that is not why it failed."""
        says_so = full.says_full(str(error))
        if full.has_no_room(self._location):
            return f"the sealing store {self._location}"
        may_be_scratch = error.scratch is not None and (says_so or isinstance(error, errors.StageDied))
        if may_be_scratch and full.has_no_room(Path(error.scratch or "")):
            return f"{error.scratch}, where the stage has its temporary files (TMPDIR)"
        return f"the sealing store {self._location}" if says_so else None

    def _on_status(self, status: executor.Status) -> None:
        if status.state == "waiting":
            self._wait_began = self._wait_began or time.monotonic()
        elif self._wait_began is not None:
            self.waited_seconds += time.monotonic() - self._wait_began
            self._wait_began = None
        if status.host and status.host not in self.hosts:
            self.hosts.append(status.host)
        self._put(thread.Stage(waits=status.state == "waiting", what=status.what, pid=status.pid, host=status.host))

    def _on_progress(self, progress: protocol.Progress) -> None:
        waits_for = progress.waiting if isinstance(progress.waiting, str) else None
        stalled = control.Waiting(waits_for, self._clock()) if waits_for is not None else None
        paced = self._pace.of(progress.done, progress.total, progress.unit, time.monotonic())
        self._put(replace(self._stage, progress=paced, stalled=stalled))

    def _put(self, stage: thread.Stage) -> None:
        self._stage = stage
        self._show(stage)


class Pace:
    """Receives the progress of one stage; a new file, or a new beginning, is measured from the start."""

    def __init__(self) -> None:
        self._heard: deque[tuple[float, int]] = deque()
        self._total: int | None = None

    def of(self, done: int, total: int | None, unit: str, now: float) -> control.Progress:
        """Return how far a stage is, with its pace over the last minute as soon as that is known; `now` in seconds."""
        if total != self._total or (self._heard and done < self._heard[-1][1]):
            self._heard.clear()
        self._total = total
        self._heard.append((now, done))
        while self._heard[0][0] < now - _PACE_SECONDS and len(self._heard) > 2:
            self._heard.popleft()
        since, first = self._heard[0]
        per_second = (done - first) / (now - since) if done > first and now > since else None
        return control.Progress(done, total, unit, per_second)
