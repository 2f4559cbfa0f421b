"""Writes and claims on SQLite and on PostgreSQL, with one, two and four managers side by side, and fail-over of a lease.

Each manager is a process with an engine of its own, on one database; all begin at once. A write records a message for the chain, a
claim hands out the next sector of one miner, which is what managers collide about. Both are durable, and the server is synced.
"""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from sqlalchemy import Connection

from bench.figures import Figure
from damocles.chain.addresses import Address
from damocles.manager.db import engine
from damocles.manager.outbox import orders
from damocles.manager.sectors import ledger
from damocles.testing import postgres
from damocles.wire.sectors import SealProof

WRITES = 160  # of all managers together
CLAIMS = 80
MANAGERS = (1, 2, 4)
PARAMS = bytes(1000)  # about as long as those of a proof with its activation
AT_ONCE = 8  # callers that wait, of each manager
LEASE = "bench"
_WISH = orders.Wish(miner=1000, kind="proof", to=Address.of_id(1000), method=34, params=PARAMS)
_MINER = ledger.Miner(id=1000, proof=SealProof(5))


def figures() -> Iterator[Figure]:
    """Measure; nothing of PostgreSQL where it is not installed."""
    with tempfile.TemporaryDirectory() as folder:
        place = str(Path(folder) / "manager.db")
        yield from _compared("SQLite", place, _bare_sqlite(Path(folder)), (1,))
    if not postgres.is_installed():
        return
    with postgres.server(synced=True) as server:
        url = server.url(server.new())
        yield from _compared("PostgreSQL", url, _bare_postgresql(url), MANAGERS)
        yield Figure(
            name="a manager is killed: until another one has its lease", value=_failover(url), unit="s", at_most=10
        )


def _compared(name: str, place: str, bare: float, counts: tuple[int, ...]) -> Iterator[Figure]:
    """Yield what is done in a second, and against bare inserts by one process beside it, in the same run."""
    for kind, total in (("writes", WRITES), ("claims", CLAIMS)):
        for count in counts:
            rate = total / _seconds(place, kind, total, count)
            managers = "1 manager" if count == 1 else f"{count} managers"
            yield Figure(
                name=f"{kind} on {name}, {managers}",
                value=rate,
                unit="per second",
                against=f"bare inserts: {bare:.0f} per second; ratio {rate / bare:.2f}",
            )


def _seconds(place: str, kind: str, total: int, count: int) -> float:
    """Return how long so many processes take for all of it together."""
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(_child(place, kind, str(total // count))) for _ in range(count)]
        for child in children:
            _hear(child)
        began = time.perf_counter()
        for child in children:
            _tell(child)
        for child in children:
            _hear(child)
        return time.perf_counter() - began


def _failover(url: str) -> float:
    with _child(url, "hold", "0") as first, _child(url, "hold", "0") as second:
        for child in (first, second):
            _hear(child)
        _tell(first)
        _hear(first)  # it has the lease
        _tell(second)
        time.sleep(5)  # as an average manager, not one that has renewed just now
        first.send_signal(signal.SIGKILL)
        began = time.perf_counter()
        _hear(second)
        return time.perf_counter() - began


@contextlib.contextmanager
def _child(*words: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "bench.databases", *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        try:
            yield child
        finally:
            child.kill()


def _hear(child: "subprocess.Popen[bytes]") -> None:
    assert child.stdout is not None
    if child.stdout.readline() == b"":
        raise RuntimeError("a manager of the bench has ended")


def _tell(child: "subprocess.Popen[bytes]") -> None:
    assert child.stdin is not None
    child.stdin.write(b"\n")
    child.stdin.flush()


def _bare_sqlite(folder: Path) -> float:
    with contextlib.closing(sqlite3.connect(folder / "bare.db", isolation_level=None)) as database:
        database.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t (id INTEGER PRIMARY KEY, p BLOB)"
        )
        began = time.perf_counter()
        for _ in range(WRITES):
            database.execute("INSERT INTO t (p) VALUES (?)", (PARAMS,))
        return WRITES / (time.perf_counter() - began)


def _bare_postgresql(url: str) -> float:
    import psycopg  # noqa: PLC0415 (only where there is a server)

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE bare (id SERIAL PRIMARY KEY, p BYTEA)")
        began = time.perf_counter()
        for _ in range(WRITES):
            connection.execute("INSERT INTO bare (p) VALUES (%s)", (PARAMS,))
        return WRITES / (time.perf_counter() - began)


# A manager ---------------------------------------------------------------------------------------------------------


def _write(tx: Connection) -> None:
    orders.put(tx, _WISH, 0.0)


def _claim(tx: Connection) -> None:
    ledger.allocate(tx, _MINER, ledger.Receiver(f"bench {os.getpid()}"), 0.0)


@asynccontextmanager
async def _opened(place: str) -> AsyncIterator[engine.Database]:
    opening = engine.open_postgresql(place) if "://" in place else engine.open_sqlite(Path(place))
    async with opening as database:
        print("ready", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        yield database


async def _work(place: str, kind: str, count: int) -> None:
    left = iter(range(count))
    transaction = _write if kind == "writes" else _claim
    async with _opened(place) as database:

        async def one() -> None:
            for _ in left:
                await database.write(transaction)

        async with anyio.create_task_group() as tasks:
            for _ in range(AT_ONCE):
                tasks.start_soon(one)
        print("done", flush=True)


async def _hold(place: str) -> None:
    async with _opened(place) as database:
        while True:
            async with database.leases.keeping([LEASE]) as held:
                if held.has(LEASE):
                    print("held", flush=True)
                    await anyio.sleep_forever()
            await anyio.sleep(0.1)


if __name__ == "__main__":
    at, what, how_many = sys.argv[1:]
    anyio.run(_hold, at) if what == "hold" else anyio.run(_work, at, what, int(how_many))
