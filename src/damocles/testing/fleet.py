"""A fleet of sham workers in one process: our daemons' own threads, control API and pings over a sham prover.

`python -m damocles.testing.fleet --manager URL --token-file FILE --workers 100 --threads 50` serves them until killed. Nothing
here seals: each thread holds a made-up sector; most are paused at C1Done for want of parameters, as after a bad night.
"""

import argparse
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec

from damocles import logs, methods
from damocles.rpc import core, dialects
from damocles.rpc.calling import client
from damocles.rpc.serving import server
from damocles.rpc.serving.asgi import worker_app
from damocles.sealing import events, planner
from damocles.sealing.sectors import Sector
from damocles.sealing.states import State
from damocles.stages import errors
from damocles.stages.supervision import executor
from damocles.stores import sealing
from damocles.stores.pieces import PieceStores
from damocles.wire import seal
from damocles.wire.sectors import SectorID
from damocles.worker import upstream
from damocles.worker.plans import job
from damocles.worker.serving import control, drain, logbook, ping
from damocles.worker.thread import loop, surroundings

MISSING = (
    "No cached parameters found for stacked-proof-of-replication-merkletree-poseidon_hasher-8-0-0-sha256_hasher-"
    "032d3138d22506ec0082ed72b2dcba18df18477904e35bafee82b3793b06832f [failure finding /var/tmp/sham/v28.params]"
)
NAME = "sham"  # of the prover, in every listing


class ShamStages:
    """A prover that takes a second and fails for want of parameters."""

    async def run(
        self, stage: str, task: msgspec.Struct, *, on_status: Callable[[executor.Status], None], **_: Any
    ) -> Any:
        """Pretend to work."""
        on_status(executor.Status(state="running", what=f"{NAME} {stage}", pid=1))
        await anyio.sleep(1)
        raise errors.StageFailed(stage, MISSING)


class ShamManager:
    """Takes every call of a thread; pings go to the real one."""

    async def call(self, ask: methods.Ask[Any], /) -> Any:
        """Answer what keeps a thread going."""
        await anyio.sleep(0.01)
        if ask.method == methods.claims.call_as.name and ask.params[2] == methods.sealer.report_state.name:
            return seal.SectorStateResp(ask.params[0], finalized=False)
        return 1 if ask.method == methods.claims.claim.name else None


class MemoryJournal:
    """A journal that forgets."""

    identity = NAME

    def __init__(self, sector: Sector) -> None:
        self._sector = sector

    def load(self) -> Sector:
        """Return the made-up sector."""
        return self._sector

    def record(self, before: Sector, event: events.Event, after: Sector, **_: Any) -> None:
        """Forget."""

    def close(self) -> None:
        """Do nothing."""


def made_up(worker: int, index: int, per_worker: int) -> Sector:
    """Return a sector that is paused at C1Done; every tenth thread proves, and every seventh is empty."""
    if index % 7 == 6:
        return Sector(plan="sealer", paused_at=time.time())
    number = worker * per_worker + index
    paused = index % 10 != 9
    return Sector(
        plan="sealer",
        state=State.C1Done,
        path=(State.Allocated, State.C1Done),
        visited=(State.Allocated, State.C1Done),
        allocated=seal.AllocatedSector(SectorID(10000, number), 5),
        c1out=msgspec.Raw(b"{}"),
        claim=1,
        entered_at=time.time(),
        paused_at=time.time() if paused else None,
        last_error=f"permanent: {MISSING}" if paused else None,
    )


def sham_worker(
    name: str, held: Sequence[Sector], stores: Path, home: Path, manager_url: str
) -> tuple[control.Control, list[loop.SealingThread]]:
    """Return the control of a worker and its threads, each with one of the sectors; none runs yet."""
    settings = surroundings.Settings(plan="sealer", options=job.Options(), limits=planner.Limits())
    gate = surroundings.Gate()
    around = surroundings.Surroundings(
        instance=name,
        manager=upstream.Manager(ShamManager()),
        stages=ShamStages(),  # type: ignore[arg-type]
        persist_stores={},
        static_tree_d={},
        pieces=PieceStores(origin=manager_url),
        trash_retention_seconds=1e9,
        gate=gate,
    )
    everyone = [
        loop.SealingThread(
            index,
            stores / f"store{index:02}",
            around,
            lambda: settings,
            open_store=_opener(MemoryJournal(sector)),
        )
        for index, sector in enumerate(held)
    ]
    return control.Control(everyone, drain.Drain(home, gate, everyone), logbook.Logbook()), everyone


async def serve(manager_url: str, token: str, workers: range, per_worker: int, interval_seconds: float) -> None:
    """Serve the fleet until cancelled."""
    base = Path(tempfile.mkdtemp(prefix="sham-fleet"))
    async with AsyncExitStack() as stack:
        caller = await stack.enter_async_context(client.connect(manager_url, token=token))
        tasks = await stack.enter_async_context(anyio.create_task_group())
        for number in workers:
            held = [made_up(number, index, per_worker) for index in range(per_worker)]
            name = f"{NAME}-{number:03}"
            ours, everyone = sham_worker(name, held, Path(f"/{NAME}/{number:03}"), base / str(number), manager_url)
            service = core.Service(dialects.WORKER)
            ours.register(service)
            bound = await stack.enter_async_context(server.serve(worker_app(service), "127.0.0.1", 0))
            for thread in everyone:
                tasks.start_soon(thread.run)
            tasks.start_soon(ping.run, upstream.Manager(caller), ours, name, str(bound), interval_seconds)
            await anyio.sleep(interval_seconds / len(workers) / 20)  # spread the pings
        print("ready", flush=True)  # noqa: T201, whoever started us waits for it
        await anyio.sleep_forever()


def _opener(book: MemoryJournal) -> Any:
    @contextmanager
    def opened(location: Path) -> Iterator[sealing.SealingStore]:
        yield sealing.SealingStore(location, book)  # type: ignore[arg-type]

    return opened


def main() -> None:
    """Run the fleet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manager", required=True, help="JSON-RPC endpoint of the manager")
    parser.add_argument("--token-file", type=Path, required=True, help="file with the manager's token for workers")
    parser.add_argument("--first", type=int, default=0, help="number of the first worker")
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--threads", type=int, default=50)
    parser.add_argument("--interval", type=float, default=30.0, help="seconds between pings")
    asked = parser.parse_args()
    logs.configure(level=logging.CRITICAL)
    workers = range(asked.first, asked.first + asked.workers)
    anyio.run(serve, asked.manager, asked.token_file.read_text().strip(), workers, asked.threads, asked.interval)


if __name__ == "__main__":
    main()
