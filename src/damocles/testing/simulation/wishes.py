"""What operators want of the threads of a simulated world, and what must become of it."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.abc

from damocles.sealing import planner, thread, validity
from damocles.testing.simulation import disks, virtual
from damocles.worker.serving import drain
from damocles.worker.thread import loop, surroundings


class Watched(loop.SealingThread):
    """A thread that has to make sense after every step."""

    def hear(self, event: thread.Event) -> bool:
        """Let something happen, and look.

        Raises:
            disks.Violation: The thread contradicts itself.
        """
        before = self.mind
        changed = super().hear(event)
        mind = self.mind
        for flaw in validity.flaws(mind):
            raise disks.Violation(f"after {event} of {self.location.name}: {flaw}")
        begins = isinstance(mind.doing, planner.Execute) and mind.doing is not before.doing
        if begins and mind.orders.closed and mind.sector.job_id is None:
            raise disks.Violation(f"{self.location.name} begins a sector, though its worker is drained")
        return changed


@dataclass
class Wishes:
    """Pauses that threads said were recorded, and that had not come when their process died."""

    disk: disks.Disk
    _open: set[tuple[str, str]] = field(default_factory=set)  # name and identity of the store

    def note(self, dying: Iterable[loop.SealingThread]) -> None:
        """Take note of what is wanted of threads that die now."""
        self._open |= {self._store(one) for one in dying if one.pausing and not one.mind.is_unrecorded}

    async def check(self, started: loop.SealingThread) -> None:
        """Wait until a thread has read its journal, and make sure that it knows what is wanted of it.

        Raises:
            disks.Violation: It has forgotten that it was to pause.
        """
        while not started.mind.is_loaded:
            await started.moved()
        store = self._store(started)
        if store in self._open and not (started.pausing or started.paused):
            raise disks.Violation(f"{started.location.name} was to pause, and a restart has forgotten it")
        self._open.discard(store)

    def _store(self, one: loop.SealingThread) -> tuple[str, str]:
        name = one.location.name
        return name, self.disk.journals[name].identity


@dataclass
class Drains:
    """Drains of machines, begun and ended by an operator who does not mind restarts; deadlines come or do not."""

    homes: Path
    dice: random.Random
    _now: dict[str, drain.Drain] = field(default_factory=dict)  # by machine, of the process that lives

    def start(
        self,
        machine: str,
        gate: surroundings.Gate,
        workers: Sequence[loop.SealingThread],
        tasks: anyio.abc.TaskGroup,
    ) -> None:
        """Let the worker of a machine drain as its daemon does."""
        home = self.homes / machine
        home.mkdir(parents=True, exist_ok=True)
        self._now[machine] = drain.Drain(home, gate, workers, virtual.wall_clock)
        tasks.start_soon(self._now[machine].run)

    async def run(self, machines: Sequence[str], count: int, seconds: float) -> None:
        """Drain so many times within so many seconds, each for a while."""
        for when in sorted(self.dice.uniform(1, seconds) for _ in range(count)):
            await anyio.sleep(max(0.0, when - anyio.current_time()))
            machine = self.dice.choice(machines)
            deadline_seconds = self.dice.choice([None, self.dice.uniform(1, 300)])
            await self._set(machine, on=True, deadline_seconds=deadline_seconds)
            await anyio.sleep(self.dice.uniform(10, 400))
            await self._set(machine, on=False)

    async def _set(self, machine: str, *, on: bool, deadline_seconds: float | None = None) -> None:
        """Ask until a process has it that still lives."""
        asked = None
        while asked is not self._now.get(machine) or asked is None:
            asked = self._now.get(machine)
            if asked is not None:
                await asked.set(on=on, deadline_seconds=deadline_seconds, reason="simulated")
            await anyio.sleep(1)
