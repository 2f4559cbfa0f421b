"""One life of a manager that proves: what its daemon runs, in a task group that ends with it."""

import contextvars
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from damocles.devnode.node import Node as Devnode
from damocles.lotus.nodes import Nodes
from damocles.manager.chain.lotus import LotusChain
from damocles.manager.chain.terms import Miner
from damocles.manager.db.engine import Database
from damocles.manager.plans.wdpost import WdPoSt
from damocles.manager.proving import opening
from damocles.manager.sectors import ledger, stores
from damocles.testing.proving_chain.proofs import FakeVerifier
from damocles.testing.proving_chain.provers import Children, Gone
from damocles.testing.sealing_chain import direct

STORE = "persist"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What outlives a manager, and what it is configured with."""

    database: Database
    devnode: Devnode
    node: direct.DirectNode
    miners: Sequence[Miner]
    children: Children
    prove_here: int
    store: Path
    clock: Callable[[], float]


@dataclass(slots=True)
class _Answer:
    ready: anyio.Event = field(default_factory=anyio.Event)
    is_there: bool = False
    value: Any = None
    error: Exception | None = None


class Life:
    """A manager from its start to its death."""

    def __init__(self, place: Place) -> None:
        nodes = Nodes([place.node], clock=place.clock)
        self.rounds = direct.rounds(place.database, place.devnode, nodes, place.miners, place.clock)
        chain = LotusChain(
            database=place.database,
            nodes=nodes,
            network=direct.network(place.devnode),
            verifier=FakeVerifier(),
            rounds=self.rounds,
        )
        first = place.miners[0]
        self._jobs = WdPoSt(
            place.database, chain, FakeVerifier(), [ledger.Miner(id=first.id, proof=first.proof)], place.clock
        )
        self.proving = opening.proving(
            opening.Means(
                rounds=self.rounds,
                miners=place.miners,
                block_seconds=direct.BLOCK_SECONDS,
                stages=place.children,  # type: ignore[arg-type]
                prove_here=place.prove_here,
            ),
            database=place.database,
            jobs=self._jobs,
            persist=stores.Stores({STORE: place.store}),
            clock=place.clock,
        )
        self._group: anyio.abc.TaskGroup | None = None

    async def run(self) -> None:
        """Live, until something kills it."""
        async with anyio.create_task_group() as self._group:
            self._group.start_soon(self.rounds.follow)
            self._group.start_soon(self.rounds.run)
            self._group.start_soon(self.proving.run)

    def end(self) -> None:
        """Let it end in good order."""
        if self._group is not None:
            self._group.cancel_scope.cancel()

    async def ask(self, context: contextvars.Context, call: Callable[[WdPoSt], Awaitable[Any]]) -> Any:
        """Call it as a worker does; what the call does, it does in the manager, in its context, and dies with it.

        Raises:
            Gone: It died meanwhile.
            Exception: As the call.
        """
        if self._group is None:
            raise Gone
        answer = _Answer()
        context.copy().run(self._group.start_soon, self._answer, call, answer)
        await answer.ready.wait()
        if answer.error is not None:
            raise answer.error
        if not answer.is_there:
            raise Gone
        return answer.value

    async def _answer(self, call: Callable[[WdPoSt], Awaitable[Any]], answer: _Answer) -> None:
        try:
            answer.value = await call(self._jobs)
            answer.is_there = True
        except Exception as error:  # noqa: BLE001 (raised where it is asked)
            answer.error = error
        finally:
            answer.ready.set()
