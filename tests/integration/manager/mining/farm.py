"""Managers that make blocks on a mined devnode, without the processes, in a time that passes while all of them wait.

So a proof may take as long as it likes on a busy machine, and is in time. The sectors are real replicas of 2KiB that are put onto the chain.
"""

import heapq
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from tests.integration.manager.chain.provider import MINER
from tests.integration.manager.proving.farm import STORE, seal

from damocles.chain.sealing import PoStProof
from damocles.devnode import serving
from damocles.devnode.node import Node as Devnode
from damocles.devnode.rules import Rules
from damocles.lotus import nodes
from damocles.lotus.places import Place
from damocles.manager.chain.terms import Miner
from damocles.manager.config import model
from damocles.manager.db import engine
from damocles.manager.mining import blocks
from damocles.manager.mining.loop import Mining
from damocles.manager.mining.prover import Prover
from damocles.manager.mining.rounds import Means
from damocles.manager.proving import opening
from damocles.manager.sectors import ledger, stores
from damocles.testing.on_chain import PROOF, put
from damocles.wire.codec import Blob, Rows
from damocles.wire.sectors import SectorID

DELAY = 300  # also how long a proof may take in truth
OLD_EPOCHS = 60  # of the devnet at the beginning
_FILLED_AFTER = DELAY // 4


class Time:
    """Passes while all who are counted wait; the devnet's own blocks are made on the way."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.devnode: Devnode | None = None
        self.waiters = 0
        self.is_filled = True  # an epoch without a block gets one of the devnet's own
        self._waits: list[tuple[float, int, anyio.Event]] = []
        self._number = 0
        self._advancing = anyio.Lock()

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        self._number += 1
        came = anyio.Event()
        entry = (self.now + max(seconds, 0.0), self._number, came)
        heapq.heappush(self._waits, entry)
        try:
            await self._advance()
            await came.wait()
        finally:
            if entry in self._waits:
                self._waits.remove(entry)
                heapq.heapify(self._waits)

    async def _advance(self) -> None:
        async with self._advancing:
            if len(self._waits) < self.waiters or not self._waits:
                return
            until = self._waits[0][0]
            await self._fill(until)
            self.now = max(self.now, until)
            while self._waits and self._waits[0][0] <= self.now:
                heapq.heappop(self._waits)[2].set()

    async def _fill(self, until: float) -> None:
        devnode = self.devnode
        while devnode is not None and self.is_filled:
            epoch = max(devnode.chain.next_height, int(self.now - devnode.chain.first.timestamp) // DELAY)
            due = devnode.rounds.time_of(epoch) + _FILLED_AFTER
            if due > until:
                return
            self.now = max(self.now, due)
            devnode._nulls = epoch - devnode.chain.next_height
            await devnode.step()


@dataclass
class Farm:
    """The parts that managers share."""

    devnode: Devnode
    place: Place
    folder: Path
    time: Time
    comm_rs: dict[int, bytes] = field(default_factory=dict)

    def file(self, number: int) -> Path:
        """Return the replica of a sector."""
        return self.folder / STORE / "sealed" / str(SectorID(MINER, number))

    def signed_twice(self) -> list[Any]:
        """Return the rounds of which the wallet has signed two blocks that differ."""
        return [key for key, cids in self.devnode.rounds.signed.items() if len(cids) > 1]

    def mined(self) -> list[int]:
        """Return the heights of the miner's blocks on the chain, the oldest first."""
        return [one.height for one in self.devnode.chain.back(self.devnode.chain.head) if one.header is not None][::-1]


@asynccontextmanager
async def devnet(folder: Path, numbers: Sequence[int] = (1, 2), *, is_real: bool = False) -> AsyncIterator[Farm]:
    """Yield a mined devnet whose miner has sectors with power; unless it `is_real`, its node takes every proof."""
    real = {number: await anyio.to_thread.run_sync(seal, folder / STORE, number) for number in numbers if is_real}
    comm_rs = real or {number: bytes([number]) * 32 for number in numbers}
    time = Time()
    of = Rules(needs_posts=False)
    async with serving.serving(
        of, block_seconds=DELAY, is_mined=True, clock=time, accepts_any_proof=not is_real
    ) as devnode:
        devnode.stop_time()  # its blocks are made as our time passes
        put(devnode, {0: [list(numbers)]}, comm_rs)
        time.now += OLD_EPOCHS * DELAY
        time.devnode = devnode
        await time._fill(time.now)
        token = folder / "token"
        token.write_text(devnode.token)
        token.chmod(0o600)
        place = Place(url=devnode.url, token_file=token)
        yield Farm(devnode=devnode, place=place, folder=folder, time=time, comm_rs=comm_rs)


class Believing(Prover):
    """Makes proofs that only a devnode takes which takes any; for tests that are not about proofs."""

    async def lacking(self, size: Any) -> str | None:
        """Return nothing."""
        return None

    async def prove(self, miner: Miner, base: Any, epoch: int) -> tuple[Rows[PoStProof], float]:
        """Return what is no proof."""
        await anyio.sleep(0)
        # A real proof is another one each time that it is made.
        return Rows([PoStProof(0, Blob(secrets.token_bytes(192)))]), 0.0


@dataclass
class Manager:
    """A manager's part that makes blocks, with its database."""

    mining: Mining
    database: engine.Database

    async def records(self) -> list[blocks.Record]:
        """Return the rounds that were won, the oldest first."""
        return (await self.database.read(lambda tx: blocks.latest(tx, None, 1000)))[::-1]

    async def until(self, condition: Callable[[list[blocks.Record]], bool]) -> list[blocks.Record]:
        """Wait until the records are so."""
        with anyio.fail_after(600):
            while not condition(found := await self.records()):
                await anyio.sleep(0.02)
        return found


@asynccontextmanager
async def manager(
    farm: Farm, database: str = "manager.db", *, is_real: bool = False, clock: Callable[[], float] | None = None
) -> AsyncIterator[Manager]:
    """Yield what makes blocks; it runs while the block does. Two managers may have one database."""
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(engine.open_sqlite(farm.folder / database))
        for number in farm.comm_rs:
            await opened.write(partial(ledger.place_files, sector=SectorID(MINER, number), store=STORE, upgrade=False))
        stages = await stack.enter_async_context(opening.open_stages(1))
        lotus = await stack.enter_async_context(nodes.connect([farm.place], clock=farm.time))
        kind = Prover if is_real else Believing
        prover = kind(database=opened, persist=stores.Stores({STORE: farm.folder / STORE}), stages=stages)
        means = Means(database=opened, nodes=lotus, prover=prover, clock=clock or farm.time, sleep=farm.time.sleep)
        table = model.Miner.model_validate({"Actor": MINER, "Proof": {"Enabled": True}})
        mining = Mining(means, [Miner(id=MINER, proof=PROOF, config=table)], DELAY)
        farm.time.waiters += 1
        stack.callback(_leave, farm.time)
        group = await stack.enter_async_context(anyio.create_task_group())
        group.start_soon(mining.run)
        try:
            yield Manager(mining=mining, database=opened)
        finally:
            group.cancel_scope.cancel("the test is over")


def _leave(time: Time) -> None:
    time.waiters -= 1
