"""Disks of a simulated world that are not there for a while.

The dice are its own, so that what else a seed does stays as it was.
"""

import random
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from damocles.testing.simulation import disks
from damocles.testing.simulation.machines import Machine


@dataclass
class Mounts:
    """The disks, and a way to stop the worker of a machine for as long as one takes."""

    dice: random.Random
    persist: Path
    disk: disks.Disk
    machines: Sequence[Machine]
    stop: Callable[[Machine], Awaitable[None]]
    tell: Callable[[str], None]

    async def run(self, count: int, seconds: float) -> None:
        """Let disks be away `count` times within so many seconds: the persist store's, or a sealing store's."""
        dice = self.dice
        for when in sorted(dice.uniform(60, seconds) for _ in range(count)):
            await anyio.sleep(max(0.0, when - anyio.current_time()))
            away_seconds = dice.uniform(60, 600)
            if dice.random() < 0.3:
                await self._without_persist_store(away_seconds)
            else:
                await self._without_sealing_store(dice.choice(self.machines), away_seconds)

    async def _without_persist_store(self, seconds: float) -> None:
        self.tell("the persist store is away")
        path, away = self.persist, self.persist.with_name("persist away")
        path.rename(away)
        path.mkdir()
        await anyio.sleep(seconds)
        shutil.rmtree(path)
        away.rename(path)
        self.tell("the persist store is back")

    async def _without_sealing_store(self, machine: Machine, seconds: float) -> None:
        """Let it be away over a restart of its worker."""
        known = [store for store in machine.stores if store.name in self.disk.seen]
        if not known:
            return
        store = self.dice.choice(known)
        self.tell(f"{store.name} is away")
        await self.stop(machine)
        self.disk.unmount(store)
        await anyio.sleep(seconds)
        await self.stop(machine)
        self.disk.mount(store)
        self.tell(f"{store.name} is back")
