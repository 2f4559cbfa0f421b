"""Machines of a simulated world, and their lines to the manager."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio

from damocles import methods
from damocles.rpc import core, errors, messages
from damocles.stores import identity
from damocles.testing.simulation import sham
from damocles.worker.thread import loop as threads

if TYPE_CHECKING:
    from damocles.testing.simulation.world import World

T = TypeVar("T")

URL = "sim://manager"


@dataclass
class Machine:
    """A machine with a worker on it: can be killed, frozen and cut off."""

    name: str
    stores: list[Path]
    memory: identity.Memory
    instance: str = ""  # what its worker calls itself
    life: anyio.CancelScope | None = None
    thawed: anyio.Event = field(default_factory=anyio.Event)
    freezers: int = 0
    cut_off: bool = False
    workers: list[threads.SealingThread] = field(default_factory=list)
    stages: sham.ShamStages | None = None
    generation: int = 0


class Line:
    """A machine's line to the manager: slow, lossy, and sometimes repeating itself."""

    def __init__(self, world: "World", machine: Machine, dice: random.Random | None = None) -> None:
        self._world = world
        self._dice = dice or world.dice
        self._machine = machine
        self._generation = machine.generation

    async def call(self, ask: methods.Ask[T], /) -> T:
        """Send a call and return its result."""
        world, dice = self._world, self._dice
        await self._wait()
        await anyio.sleep(dice.uniform(0.01, 0.5))
        box, generation = world.box, world.box.generation
        if self._machine.cut_off or box.service is None:
            raise errors.Unreachable(URL, "simulated")
        if dice.random() < world.loss:
            await anyio.sleep(10)
            raise errors.TimedOut(URL, 10)
        body = messages.encode_call(1, ask.method, ask.params)
        caller = core.Call(peer=self._machine.name)
        reply = await box.service.answer(body, caller)
        if dice.random() < world.loss and box.service is not None:
            reply = await box.service.answer(body, caller)
        try:
            result: T = messages.decode_answer(reply.body, ask.returns, url=URL, method=ask.method, status=reply.status)
            world.saw(ask, result)
        finally:
            await anyio.sleep(dice.uniform(0.01, 0.5))
            await self._wait()
        cut_meanwhile: bool = self._machine.cut_off  # type: ignore[unreachable, unused-ignore]
        if cut_meanwhile or generation != box.generation or dice.random() < world.loss:
            await anyio.sleep(10)
            raise errors.TimedOut(URL, 10)
        return result

    async def _wait(self) -> None:
        await self._machine.thawed.wait()
