"""The managers of a world, one or several on one database, and what becomes of them."""

import contextlib
import contextvars
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import anyio
from sqlalchemy import Connection

from damocles import beside
from damocles.manager.db import engine, leases, schema
from damocles.manager.plans.wdpost import WdPoSt
from damocles.rpc import errors as rpc
from damocles.testing.proving_chain import processes
from damocles.testing.proving_chain.machines import CLOCK_SECONDS, Clocks, Linked, Machine, Shared
from damocles.testing.proving_chain.manager import Life, Place
from damocles.testing.proving_chain.provers import Ask, Gone
from damocles.testing.sealing_chain.direct import Died

_ANSWER_SECONDS = 10.0  # a worker leaves a manager that says nothing for so long
_RATE = 0.15  # by which a monotonic clock goes wrong at most
_FROZEN_SECONDS = (2.0, 8.0, 12.0, 17.0, 40.0, 100.0, 250.0)

Call = Callable[[WdPoSt], Awaitable[Any]]


class Managers:
    """The managers of a seed. Where there are several, they have dice of their own, so that a seed with one is as if there were none of this."""

    def __init__(self, seed: int, drift: float, tell: Callable[[str], None]) -> None:
        dice = self._dice = random.Random(f"managers of {seed}")  # noqa: S311 (it is to be the same again)
        self._tell = tell
        self.machines = [Machine("the manager", Clocks(drift))]
        self.violations: list[str] = []
        for number in range(2, dice.choice((1, 1, 2, 2, 3)) + 1):
            rate = dice.uniform(1 - _RATE, 1 + _RATE)
            self.machines.append(Machine(f"manager {number}", Clocks(dice.uniform(-0.002, 0.002), rate)))
        self._server = Clocks(dice.uniform(-0.002, 0.002))
        self._strikes = dice.choice((0.001, 0.003, 0.01))
        self._backend: Shared | None = None
        if self.are_several:
            latency_seconds = dice.choice((0.0, 0.01, 0.05))
            for machine in self.machines:
                machine.link.latency_seconds = latency_seconds

    @property
    def are_several(self) -> bool:
        """Whether there are."""
        return len(self.machines) > 1

    @contextlib.asynccontextmanager
    async def open(self, path: Path) -> AsyncIterator[engine.Database]:
        """Yield the database, for whoever is no manager.

        A death leaves of a transaction all or nothing, so that the file need not be opened anew.
        """
        if not self.are_several:
            async with engine.open_sqlite(path) as database:
                yield database
            return
        self._backend = Shared(path, self._server.wall)
        schema.upgrade(self._backend.migrate)
        try:
            with self._looked_at():
                yield engine.Database(self._backend)
        finally:
            self._backend.close()

    @contextlib.contextmanager
    def _looked_at(self) -> Iterator[None]:
        """Look at all that is written under leases: whoever writes has them, by the rows."""
        write = leases._Some.write  # noqa: SLF001

        async def looked_at(held: Any, transaction: Callable[[Connection], Any], *, durable: bool = True) -> Any:
            def look(tx: Connection) -> Any:
                result = transaction(tx)
                _, rows = leases.load(tx, held.tokens)
                holder = held._store.leases.holder  # noqa: SLF001
                for name in held.tokens:
                    if name not in rows or rows[name].holder != holder:
                        has = rows[name].holder if name in rows else "nobody"
                        self.violations.append(f"{holder} writes under the lease of {name}, which {has} has")
                return result

            inner = transaction.func if isinstance(transaction, partial) else transaction
            look.__qualname__ = inner.__qualname__
            return await write(held, look, durable=durable)

        with mock.patch.object(leases._Some, "write", looked_at):  # noqa: SLF001
            yield

    # How they live.

    async def lives(self, machine: Machine, place: Place, pause: Callable[[], float]) -> None:
        """Let managers live on a machine, one after the other, for ever; `pause` says how long there is none in between."""
        if self.are_several:
            machine.process.begin()
        machine.context = contextvars.copy_context()
        while True:
            machine.lives += 1
            database = place.database
            if self._backend is not None:
                holder = f"{machine.name} in life {machine.lives}"
                database = Linked(self._backend, machine.link, machine.clocks.monotonic, holder)
            machine.life = Life(replace(place, database=database, clock=machine.clocks.wall))
            try:
                await machine.life.run()
            except BaseExceptionGroup as error:
                leaves = list(beside.leaves(error))
                if not all(isinstance(leaf, Died) for leaf in leaves):
                    raise
            machine.life = None
            if machine.is_ending:
                await database.leases.give_back()
                machine.is_ending = False
            await anyio.sleep(pause())

    def door(self, number: int) -> Ask:
        """Return how a worker asks: it stays with one manager while that answers, and goes to the next one when it does not."""
        at = number % len(self.machines)

        async def ask(call: Call) -> Any:
            nonlocal at
            for _ in self.machines:
                life = self.machines[at].life
                if life is not None:
                    break
                at = (at + 1) % len(self.machines)
            else:
                raise Gone
            context = self.machines[at].context
            assert context is not None
            if not self.are_several:
                return await life.ask(context, call)
            try:
                with anyio.fail_after(_ANSWER_SECONDS):
                    return await life.ask(context, call)
            except (Gone, TimeoutError, rpc.DiskFails) as error:
                at = (at + 1) % len(self.machines)
                raise Gone from error

        return ask

    # What becomes of them.

    def reach(self, name: str) -> None:
        """Let the one that is at a point be frozen there, or lose the database, if the dice say so."""
        process = processes.current()
        machine = next((one for one in self.machines if one.process is process), None)
        if not self.are_several or machine is None or machine.is_ending or machine.process.is_frozen:
            return
        if self._dice.random() >= self._strikes:
            return
        seconds = self._dice.choice(_FROZEN_SECONDS)
        if self._dice.random() < 0.7:
            self._tell(f"{machine.name} is frozen for {seconds:g} s at {name}")
            machine.freeze(stands=self._dice.random() < 0.3)
        else:
            self._tell(f"{machine.name} is cut from the database for {seconds:g} s at {name}")
            machine.link.is_cut, machine.link.loses_answer = True, self._dice.random() < 0.5
        processes.later(seconds, machine.heal)

    def trouble(self, *, may_jump: bool) -> None:
        """Let clocks jump, or a manager end in good order, if the dice say so; once in an epoch."""
        dice = self._dice
        if not self.are_several:
            return
        if may_jump and dice.random() < 0.03:
            machine = dice.choice(self.machines[1:])
            machine.clocks.off = dice.uniform(-CLOCK_SECONDS, CLOCK_SECONDS)
            self._tell(f"the clock of {machine.name} jumps to {machine.clocks.off:.0f} s off")
        if dice.random() < 0.03:
            self._server.off = dice.uniform(-CLOCK_SECONDS, CLOCK_SECONDS)
            self._tell(f"the database's clock jumps to {self._server.off:.0f} s off")
        if dice.random() < 0.03:
            machine = dice.choice(self.machines)
            if machine.life is not None and machine.context is not None and not machine.process.is_frozen:
                self._tell(f"{machine.name} ends in good order")
                machine.is_ending = True
                machine.context.copy().run(machine.life.end)

    def heal(self) -> None:
        """Let all go on, and reach the database."""
        for machine in self.machines:
            machine.heal()
