"""A sealing thread on a real store, between a scripted manager and scripted stages."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from damocles.sealing import events, planner, thread, validity
from damocles.sealing.sectors import Sector
from damocles.sealing.states import State
from damocles.stages.supervision import executor
from damocles.stores import sealing
from damocles.stores.pieces import PieceStores
from damocles.wire import codec, seal, sectors, tasks
from damocles.worker import upstream
from damocles.worker.plans import job
from damocles.worker.thread import loop, reservations, surroundings

from ..worker.conftest import Bench, ScriptedCaller

SECTOR = sectors.SectorID(10000, 1)
ZERO = codec.Bytes32(bytes(32))
PC2OUT = tasks.PC2Output("StackedDrg2KiBV1_1", ZERO, ZERO)


def sector_in(state: State, **fields: Any) -> Sector:
    """Return a sector that has everything a handler of the plan sealer may read, in a state."""
    made: dict[str, Any] = {
        "plan": "sealer",
        "state": state,
        "path": (State.Allocated, state),
        "visited": (State.Allocated, state),
        "allocated": seal.AllocatedSector(SECTOR, 5),
        "pieces": [tasks.PieceInfo(ZERO, 2032)],
        "ticket": seal.Ticket(bytes(32), 100),
        "pc1out": msgspec.Raw(b"{}"),
        "pc2out": PC2OUT,
        "seed": seal.Seed(bytes(32), 200),
        "c1out": msgspec.Raw(b"{}"),
        "proof": codec.NumberList(b"proof"),
    }
    return Sector(**{**made, **fields})


@dataclass
class ScriptedStages:
    """Fake: gives a stage's prepared outputs, one after the other; the last one stays, an exception is raised.

    A stage that is held answers when the test lets it go.
    """

    outputs: dict[str, list[Any]] = field(default_factory=dict)
    held: dict[str, anyio.Event] = field(default_factory=dict)
    began: list[str] = field(default_factory=list)

    async def run(self, stage: str, task: Any, *, on_status: Callable[[executor.Status], None], **_: Any) -> Any:
        """Run a stage."""
        await executor.made(task)
        self.began.append(stage)
        on_status(executor.Status(state="running", what="ext(pid: 1)", pid=1))
        if stage in self.held:
            await self.held[stage].wait()
        prepared = self.outputs[stage]
        output = prepared.pop(0) if len(prepared) > 1 else prepared[0]
        if isinstance(output, Exception):
            raise output
        return output


class Watched(loop.SealingThread):
    """A thread that has to make sense after every step."""

    def hear(self, event: thread.Event) -> bool:
        """Let something happen, and look."""
        changed = super().hear(event)
        assert [] == validity.flaws(self.mind), event
        return changed


@dataclass
class Scene:
    """A store, and what a thread on it talks to; `running` runs a thread, whose end is like a kill."""

    location: Path
    caller: ScriptedCaller = field(default_factory=ScriptedCaller)
    stages: ScriptedStages = field(default_factory=ScriptedStages)
    settings: surroundings.Settings = field(
        default_factory=lambda: surroundings.Settings(
            plan="sealer",
            options=job.Options(),
            limits=planner.Limits(
                max_retries=2,
                seal_interval_seconds=0.001,
                recover_interval_seconds=0.001,
                request_task_max_retries=1,
            ),
        )
    )
    open_store: Any = surroundings.opened
    gate: surroundings.Gate = field(default_factory=surroundings.Gate)
    room: reservations.Reservations = field(default_factory=reservations.Reservations)

    def holds(self, sector: Sector) -> None:
        """Let the store hold a sector, as an earlier worker left it."""
        with sealing.opened(self.location) as store:
            store.journal.record(Sector(plan=sector.plan), events.Restart(), sector, at=0.0)

    def recorded(self) -> Sector:
        """Return what the journal holds; no thread may be running."""
        with sealing.opened(self.location) as store:
            found = store.journal.load()
        assert found is not None
        return found

    def option(self, **changes: Any) -> None:
        """Change options that handlers read."""
        self.settings = replace(self.settings, options=replace(self.settings.options, **changes))

    def thread(self, **arguments: Any) -> loop.SealingThread:
        """Return a thread that does not run yet."""
        around = surroundings.Surroundings(
            instance="worker-1",
            manager=upstream.Manager(self.caller),
            stages=self.stages,  # type: ignore[arg-type]
            persist_stores={},
            static_tree_d={},
            pieces=PieceStores(origin="http://manager"),
            trash_retention_seconds=1e6,
            gate=self.gate,
            room=self.room,
        )
        made = {"settings": lambda: self.settings, "open_store": self.open_store, **arguments}
        return Watched(0, self.location, around, **made)

    @asynccontextmanager
    async def running(self, **arguments: Any) -> AsyncIterator[loop.SealingThread]:
        """Run a thread as long as the block lasts."""
        thread = self.thread(**arguments)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(thread.run)
            yield thread
            tasks.cancel_scope.cancel()

    def asked(self, method: str) -> list[list[Any]]:
        """Return the parameters of the calls of a method."""
        return [params for name, params in self.caller.asked if name == f"Venus.{method}"]


async def until(condition: Callable[[], object]) -> None:
    """Let others work until something is true."""
    with anyio.fail_after(60):
        while not condition():
            await anyio.sleep(0.001)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Return a scene with a fresh store and a manager that has nothing to say."""
    sealing.init(tmp_path / "store")
    made = Scene(tmp_path / "store")
    made.caller.answers = {
        "ReportState": [seal.SectorStateResp(SECTOR, finalized=False)],
        "ReportFinalized": [None],
        "ReportAborted": [None],
        "AllocateSector": [None],
        "AllocateSanpUpSector": [None],
        "WdPoStAllocateJobs": [[]],
        "SubmitPreCommit": [seal.Submitted(seal.SubmitResult.ACCEPTED)],
        "PollPreCommitState": [seal.Polled(seal.OnChainState.PENDING)],
    }
    return made


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return a handler's surroundings with an empty data folder."""
    (tmp_path / "data").mkdir()
    return Bench(tmp_path / "data")


@contextmanager
def full_disk(store: sealing.SealingStore) -> Iterator[None]:
    """Let the store's journal have no room while the block lasts."""
    database = store.journal._db
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.execute(f"PRAGMA max_page_count = {pages}")
    yield
    database.execute("PRAGMA max_page_count = 1000000")
