"""A manager that proves the sectors of a devnode's miner, without the processes: the test makes the blocks.

The sectors are real replicas of 2KiB; how they came onto the chain is left out, they are put there. The devnode verifies every window PoSt.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec
from tests.integration.manager.chain.provider import MINER, configuration
from tests.native.conftest import stage

from damocles import beside, proofs
from damocles.chain import methods
from damocles.chain.sealing import SubmitWindowedPoSt
from damocles.devnode import serving, state
from damocles.devnode.actors.activation import entropy_of
from damocles.devnode.node import Node as Devnode
from damocles.devnode.rules import Rules
from damocles.manager.chain import interface, verifiers
from damocles.manager.chain import opening as chains
from damocles.manager.config import load
from damocles.manager.db import engine
from damocles.manager.plans import wdpost
from damocles.manager.proving import opening, posts
from damocles.manager.sectors import ledger, stores
from damocles.testing.on_chain import PROOF, Places, put
from damocles.wire import tasks
from damocles.wire import wdpost as wire
from damocles.wire.codec import Bytes32
from damocles.wire.sectors import SectorID

WINDOW = 12  # epochs of a deadline
STORE = "persist"
with_ = msgspec.structs.replace


def seal(folder: Path, number: int) -> bytes:
    """Seal a sector into a persist store; return CommR."""
    work = folder.parent / f"work-{number}"
    made = stage(work, number=number)
    comm_r = made.pc2(made.pc1()).comm_r
    name = str(SectorID(MINER, number))
    for kind, source in (("sealed", made.sealed), ("cache", made.cache)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        source.rename(folder / kind / name)
    return bytes(comm_r)


@dataclass
class Farm:
    """The parts, and the folder with the files of the sectors."""

    devnode: Devnode
    database: engine.Database
    jobs: wdpost.WdPoSt
    chain: Any
    proving: Any
    store: Path
    miners: Any
    comm_rs: dict[int, bytes] = field(default_factory=dict)

    @property
    def head(self) -> int:
        """The height."""
        return self.devnode.chain.head.height

    @property
    def miner(self) -> state.Miner:
        """The miner as it is at the head."""
        found = self.devnode.chain.head.state
        assert found is not None
        return found.miners[MINER]

    def opens(self, deadline: int) -> int:
        """Return when a deadline opens next, or has opened."""
        period, offset = 48 * WINDOW, self.miner.offset
        start = self.head - (self.head - offset) % period
        opens = start + deadline * WINDOW
        return opens if opens + WINDOW > self.head else opens + period

    def file(self, number: int) -> Path:
        """Return the replica of a sector."""
        return self.store / "sealed" / str(SectorID(MINER, number))

    async def turn(self) -> None:
        """Let the manager do what there is to do at this head, provers and reviews too."""
        rounds = self.chain.rounds
        for _ in range(2):
            await rounds.once()
            await self.proving.once()
            await self.settled()

    async def settled(self) -> None:
        """Wait until no prover has anything to do, and no deadline is being read."""
        with anyio.fail_after(60):
            while self.proving._reviews._wanted or await self._busy():
                await anyio.sleep(0.02)

    async def _busy(self) -> bool:
        jobs = (await self.jobs.all_jobs()).jobs
        return any(job.state is wire.State.RUNNING or (job.state is wire.State.READY and not job.tries) for job in jobs)

    async def jump(self, epoch: int) -> None:
        """Let blocks pass without a turn."""
        if epoch > self.head:
            await self.devnode.step(epoch - self.head)

    async def until(self, epoch: int) -> None:
        """Let blocks pass, with a turn after each."""
        while self.head < epoch:
            await self.devnode.step()
            await self.turn()

    async def posts(self, deadline: int) -> list[posts.Post]:
        """Return the posts of the window of a deadline that is open, or opens next."""
        opens = self.opens(deadline)
        return await self.database.read(lambda tx: posts.of_window(tx, MINER, opens))

    def landed(self, kind: Any = methods.SUBMIT_WINDOW_POST) -> list[tuple[int, Any]]:
        """Return the messages of a kind that were executed well on this chain: epoch and parameters, the oldest first."""
        found = []
        tipset = self.devnode.chain.head
        while tipset.parent is not None:
            parent = self.devnode.chain.known[tipset.parent]
            for signed, outcome in zip(parent.messages, tipset.outcomes, strict=True):
                if signed.message.method == kind.number and not outcome.exit_code:
                    found.append((parent.height, kind.read_params(signed.message.params)))
            tipset = parent
        return found[::-1]

    def posted(self) -> list[tuple[int, list[int], list[int]]]:
        """Return deadline, partitions and skipped sectors of each window PoSt on the chain, the oldest first."""
        return [
            (
                one.deadline,
                [part.index for part in one.partitions],
                [n for part in one.partitions for n in part.skipped],
            )
            for _, one in self.landed()
        ]


def verify(claim: Any) -> bool:
    """Verify window PoSts, and believe anything else."""
    return proofs.verify_window_post(claim) if isinstance(claim, tasks.VerifyWindowPoSt) else True


def check(farm: Farm, epoch: int, params: SubmitWindowedPoSt) -> bool:
    """Return whether a window PoSt on the chain is valid, which the chain itself does not look at."""
    opens = epoch - (epoch - farm.miner.offset) % WINDOW
    draws = farm.devnode.chain.executor.draws(farm.devnode.chain.head)
    numbers = [
        n for part in params.partitions for n in farm.miner.deadlines[params.deadline].partitions[part.index].live
    ]
    skipped = {n for part in params.partitions for n in part.skipped}
    return proofs.verify_window_post(
        tasks.VerifyWindowPoSt(
            miner_id=MINER,
            proof_type=PROOF.window_name,
            replicas=[tasks.PublicReplica(n, Bytes32(farm.comm_rs[n])) for n in sorted(set(numbers) - skipped)],
            seed=Bytes32(draws.beacon(4, opens - WINDOW // 3, entropy_of(MINER))),
            proof=bytes(params.proofs[0].proof),
        )
    )


@asynccontextmanager
async def running(
    folder: Path,
    places: Places,
    *,
    devnode: Devnode | None = None,
    comm_rs: dict[int, bytes] | None = None,
    prove_here: int = 1,
    clock: Callable[[], float] = time.time,
    fake_verifier: interface.Verifier | None = None,
    **miner: Any,
) -> AsyncIterator[Farm]:
    """Yield a manager on a new devnode, or on one that is there; in the same folder it goes on with its database.

    With `fake_verifier` it is that which the manager believes.
    """
    store = folder / STORE
    async with AsyncExitStack() as stack:
        if devnode is None:
            rules = Rules(window_epochs=WINDOW)
            devnode = await stack.enter_async_context(serving.serving(rules, accepts_any_proof=True))
            devnode.chain.executor.verify = verify
            await devnode.step(5)
            numbers = [number for parts in places.values() for some in parts for number in some]
            comm_rs = {number: await anyio.to_thread.run_sync(seal, store, number) for number in numbers}
            put(devnode, places, comm_rs)
        assert comm_rs is not None
        said = configuration(devnode, folder, **miner)
        database = await stack.enter_async_context(engine.open_sqlite(folder / "manager.db"))
        for number in comm_rs:
            await database.write(
                lambda tx, n=number: ledger.place_files(tx, SectorID(MINER, n), STORE, upgrade=False)  # type: ignore[misc]
            )
        verifier = await stack.enter_async_context(verifiers.open_stages())
        opened = await stack.enter_async_context(
            chains.open_chain(load.check(said, "test"), database, verifier, verifier, clock)
        )
        stages = await stack.enter_async_context(opening.open_stages(prove_here))
        jobs = wdpost.WdPoSt(
            database, opened.chain, fake_verifier or verifier, [ledger.Miner(id=MINER, proof=PROOF)], clock
        )
        means = opening.Means(
            rounds=opened.chain.rounds,
            miners=opened.miners,
            block_seconds=0.1,
            stages=stages,
            prove_here=prove_here,
        )
        proving = opening.proving(
            means, database=database, jobs=jobs, persist=stores.Stores({STORE: store}), clock=clock
        )
        await stack.enter_async_context(beside.running(*proving._others()))
        yield Farm(devnode, database, jobs, opened.chain, proving, store, opened.miners, comm_rs)
