"""Handlers between a scripted manager and scripted stages."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from damocles import methods
from damocles.rpc import errors
from damocles.sealing.sectors import Sector
from damocles.stages.supervision import executor
from damocles.stores import identity
from damocles.stores.outlets import Outlets
from damocles.stores.persist import PersistStore
from damocles.stores.pieces import PieceStores
from damocles.wire import codec, seal, sectors, tasks
from damocles.worker import upstream
from damocles.worker.plans import job

ZERO = codec.Bytes32(bytes(32))
SECTOR = sectors.SectorID(10000, 1)


@dataclass
class ScriptedCaller:
    """Fake: a manager that gives prepared answers, one after the other, and keeps what it was asked.

    An answer that is an exception is raised. The last answer of a method stays.
    """

    answers: dict[str, list[Any]] = field(default_factory=dict)
    asked: list[tuple[str, list[Any]]] = field(default_factory=list)

    async def call(self, ask: methods.Ask[Any]) -> Any:
        """Answer the next thing."""
        method, params = ask.method, ask.params
        self.asked.append((method, list(params)))
        prepared = self.answers.get(method.removeprefix("Venus."))
        if prepared is None:
            raise errors.RpcError(errors.Code.METHOD_NOT_FOUND, f"method {method} not found")
        answer = prepared.pop(0) if len(prepared) > 1 else prepared[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class Bench:
    """A job's surroundings; `stages` maps a stage to its output, an exception, or a function of its task."""

    data: Path
    caller: ScriptedCaller = field(default_factory=ScriptedCaller)
    stages: dict[str, Any] = field(default_factory=dict)
    ran: list[tuple[str, Any]] = field(default_factory=list)
    options: job.Options = field(default_factory=job.Options)
    persist_stores: dict[str, PersistStore] = field(default_factory=dict)
    memory: identity.Memory = identity.NOTHING
    static_tree_d: dict[sectors.SectorSize, Path] = field(default_factory=dict)
    unprovable: dict[sectors.SectorSize, str] = field(default_factory=dict)
    pieces: PieceStores = field(default_factory=lambda: PieceStores(origin="http://manager"))
    outlets: Outlets = field(default_factory=Outlets)

    async def run(self, stage: str, task: executor.Task) -> Any:
        """Give a stage's prepared output."""
        task = await executor.made(task)
        self.ran.append((stage, task))
        output = self.stages[stage]
        if isinstance(output, Exception):
            raise output
        return output(task) if callable(output) else output

    async def lacking_for_post(self, sizes: Iterable[sectors.SectorSize]) -> dict[sectors.SectorSize, str | None]:
        """Say what is prepared of sizes that cannot be proved."""
        return {size: self.unprovable.get(size) for size in sizes}

    def job(self, sector: Sector) -> job.Job:
        """Return what a handler gets."""
        return job.Job(
            sector=sector,
            options=self.options,
            manager=upstream.Manager(self.caller),
            run=self.run,
            worker="worker-1",
            store="store-1",
            data=self.data,
            persist_stores=self.persist_stores,
            memory=self.memory,
            static_tree_d=self.static_tree_d,
            pieces=self.pieces,
            outlets=self.outlets,
            lacking_for_post=self.lacking_for_post,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return a bench with an empty data folder."""
    return Bench(tmp_path)


@pytest.fixture
def sector() -> Callable[..., Sector]:
    """Return a maker of sectors in work."""

    def make(**fields: Any) -> Sector:
        made: dict[str, Any] = {
            "plan": "sealer",
            "allocated": seal.AllocatedSector(SECTOR, 5),
            "pieces": [tasks.PieceInfo(ZERO, 2032)],
            "ticket": seal.Ticket(bytes(32), 100),
            "pc1out": msgspec.Raw(b"{}"),
            "pc2out": tasks.PC2Output("StackedDrg2KiBV1_1", ZERO, ZERO),
            "seed": seal.Seed(bytes(32), 200),
            "c1out": msgspec.Raw(b"{}"),
            "proof": codec.NumberList(b"proof"),
        }
        return Sector(**{**made, **fields})

    return make
