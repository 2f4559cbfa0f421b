"""Messages through the outbox against bare inserts, and what a manager of ten miners costs while it waits."""

import hashlib
import logging
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import psutil
import structlog

from bench.figures import Figure
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.messages import Message, Signature, SignatureType, SignedMessage
from damocles.manager.db import engine
from damocles.manager.outbox import fees, node, orders, sending
from damocles.testing.chain_farm import ChainFarm
from damocles.testing.farm import wait_until
from damocles.wire.codec import CID

MESSAGES = 500
MINERS, MANY_MINERS = 10, 100
PARAMS = bytes(1000)  # about as long as those of a proof with its activation
SETTLE_SECONDS = 20.0
IDLE_SECONDS = 120.0
_SENDER = Address(bytes([3]) + bytes([1]) * 48)
_TERMS = sending.Terms(senders=[_SENDER], policy=fees.Policy(confidence=0))


def figures() -> Iterator[Figure]:
    """Measure."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory() as folder:
        bare = _bare_seconds(Path(folder))
        ours = anyio.run(_seconds, Path(folder))
    structlog.configure(**before)
    yield Figure(
        name="messages through the outbox, a node that answers at once",
        value=MESSAGES / ours,
        unit="per second",
        against=f"bare inserts: {MESSAGES / bare:.0f} per second",
    )
    yield Figure(
        name="a message, recorded as wanted, signed and landed / a bare insert, both synced",
        value=ours / bare,
        unit="",
    )
    yield from _idle(MINERS, at_most=2)


def figures_of_miners() -> Iterator[Figure]:
    """Measure a manager of very many miners, with epochs as long as those of the main network."""
    yield from _idle(MANY_MINERS, at_most=10, epoch_seconds=30, seconds=300)


def _bare_seconds(folder: Path) -> float:
    database = sqlite3.connect(folder / "bare.db", isolation_level=None)
    database.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t (id INTEGER PRIMARY KEY, p BLOB)"
    )
    began = time.perf_counter()
    for _ in range(MESSAGES):
        database.execute("INSERT INTO t (p) VALUES (?)", (PARAMS,))
    seconds = time.perf_counter() - began
    database.close()
    return seconds


class _Chain:
    """A node and its chain at once: what is pushed is executed by the next epoch."""

    def __init__(self) -> None:
        self.epoch = 1
        self.base_fee = Amount(100)
        self._executed: dict[CID, int] = {}

    @asynccontextmanager
    async def view(self) -> AsyncIterator["_Chain"]:
        """Yield itself, an epoch later."""
        self.epoch += 1
        yield self

    async def balance(self, sender: Address) -> Amount:
        """Return more than enough."""
        return Amount(10**24)

    async def nonce(self, sender: Address, *, depth: int) -> int:
        """Return how many were executed."""
        return len(self._executed)

    async def receipt(self, cid: CID, *, since: int) -> node.Receipt | None:
        """Return what happened to a message."""
        epoch = self._executed.get(cid)
        return None if epoch is None else node.Receipt(epoch=epoch, exit_code=0, returned=b"", gas_used=1)

    async def pool_nonce(self, sender: Address) -> int:
        """Return the same as `nonce`."""
        return len(self._executed)

    async def estimate(self, message: Message) -> node.Estimate:
        """Return what all cost."""
        return node.Estimate(gas_limit=1000, premium=Amount(1))

    async def sign(self, message: Message) -> SignedMessage:
        """Sign with a hash."""
        return SignedMessage(message, Signature(SignatureType.BLS, hashlib.sha256(b"%d" % message.nonce).digest() * 3))

    async def push(self, message: SignedMessage) -> None:
        """Execute it."""
        self._executed[message.cid] = self.epoch


async def _seconds(folder: Path) -> float:
    wish = orders.Wish(miner=1000, kind="proof", to=Address.of_id(1000), method=34, params=PARAMS)
    async with engine.open_sqlite(folder / "ours.db") as database:
        outbox = sending.Outbox(database, _Chain(), lambda *_: _TERMS)
        began = time.perf_counter()
        for _ in range(MESSAGES):
            await database.write(lambda tx: orders.put(tx, wish, 0.0))
        while await database.read(orders.unfinished):
            await outbox.turn()
        return time.perf_counter() - began


def _idle(count: int, *, at_most: float, epoch_seconds: int = 4, seconds: float = IDLE_SECONDS) -> Iterator[Figure]:
    """Measure a manager with so many miners on a devnode; most of what it does, it does once an epoch."""
    with tempfile.TemporaryDirectory() as folder, ChainFarm(Path(folder), threads=0, max_sectors=0) as farm:
        farm.start_devnode()
        for _ in range(count - 1):
            farm.create_miner()
        wait_until(lambda: len(farm.ask_node("StateListMiners", None)) == count, "the miners are there")
        miners = farm.ask_node("StateListMiners", None)
        farm.others = [int(miner.removeprefix("t0")) for miner in miners if miner != f"t0{farm.miner}"]
        farm.block_delay = f"{epoch_seconds}s"
        farm.kill_devnode()
        farm.start_manager()
        assert farm.manager is not None
        process = psutil.Process(farm.manager.pid)
        time.sleep(SETTLE_SECONDS)
        before = sum(process.cpu_times()[:2])
        time.sleep(seconds)
        percent = (sum(process.cpu_times()[:2]) - before) / seconds * 100
    yield Figure(
        name=f"manager: CPU when idle, {len(miners)} miners, epochs of {epoch_seconds} s",
        value=percent,
        unit="% of a core",
        at_most=at_most,
        against="original, epochs of 30 s: 80 %",
    )
