"""The fleet of a simulated world: workers that cannot prove, workers that share a name, and what must hold of both.

It has dice of its own, so that what else a seed does stays as it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

from damocles.manager.fleet import doubles, workers
from damocles.manager.plans import wdpost_askers, wdpost_turns
from damocles.stages import errors
from damocles.stages.supervision import executor
from damocles.testing.simulation import disks, virtual
from damocles.wire import wdpost

LACKING = "No cached parameters found (simulated)"
PORT = 17890
_MARGIN_SECONDS = 10.0  # an answer may be on its way while a job ends


class UnfitStages:
    """Stands for the stages of a machine that lacks parameters, or has lost its mounts: fast, and always in vain."""

    async def run(self, stage: str, task: Any, *, on_status: Any, **_: Any) -> Any:
        """Fail."""
        on_status(executor.Status(state="running", what="sham", pid=1))
        await anyio.sleep(0.5)
        await executor.made(task)
        raise errors.StageFailed(stage, LACKING)


class Forgetful(wdpost_askers.Askers):
    """A planted bug: nobody else could take a job."""

    def of(self, *_: Any) -> set[str]:
        """Know nobody."""
        return set()


class Credulous(doubles.Namesakes):
    """A planted bug: every ping under a name counts as the one worker of that name."""

    def of(self, *_: Any) -> list[workers.Row]:
        """Notice nobody."""
        return []


@dataclass
class Posts:
    """Who asked for window PoSts, and whether jobs were dropped too early."""

    fit: set[str] = field(default_factory=set)
    aware: set[str] = field(default_factory=set)  # those that know that they cannot prove
    _asked: dict[str, list[float]] = field(default_factory=dict)

    def saw(self, params: Sequence[Any], lent: Sequence[wdpost.Job]) -> None:
        """Take note of a worker that asked for jobs.

        Raises:
            disks.Violation: It knows that it cannot prove.
        """
        worker = params[2]
        if worker in self.aware:
            raise disks.Violation(f"{worker} asks for window PoSts, though it knows that it cannot make them: {lent}")
        self._asked.setdefault(worker, []).append(virtual.wall_clock())

    def forget(self) -> None:
        """Forget who asked, as a manager that is started again does."""
        self._asked.clear()

    def check(self, jobs: Sequence[wdpost.Brief]) -> None:
        """Make sure that no job was dropped while a fit worker, which had not tried it, was asking for jobs.

        Raises:
            disks.Violation: One was.
        """
        for job in jobs:
            if job.state is not wdpost.State.FINISHED or not job.error:
                continue
            tried = {failure.worker for failure in wdpost_turns.failures_of(job)}
            for worker in self.fit - tried:
                first = job.finished_at - wdpost_askers.ASKING_SECONDS + _MARGIN_SECONDS
                if any(first < at < job.finished_at - _MARGIN_SECONDS for at in self._asked.get(worker, ())):
                    raise disks.Violation(
                        f"window PoSt {job.id} was given up by {tried}, and {worker} had not tried it"
                    )
