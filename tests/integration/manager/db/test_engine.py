"""Transactions on a SQLite file."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from sqlalchemy import Connection, exc, insert, select, text, update

from damocles.manager.db import engine, tables

numbers = tables.numbers


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[engine.Database]:
    """Return an open database."""
    async with engine.open_sqlite(tmp_path / "test.db") as opened:
        yield opened


def increment(tx: Connection) -> int:
    """Read, then write: what loses updates when transactions are not serial."""
    last = tx.execute(select(numbers.c.last_number)).scalar()
    if last is None:
        tx.execute(insert(numbers).values(miner=1, last_number=1))
        return 1
    tx.execute(update(numbers).values(last_number=last + 1))
    return int(last) + 1


async def test_no_update_is_lost(database: engine.Database) -> None:
    """A hundred read-and-write transactions at once, durable and not, each see the one before."""
    seen: list[int] = []

    async def run(durable: bool) -> None:
        seen.append(await database.write(increment, durable=durable))

    async with anyio.create_task_group() as tasks:
        for index in range(100):
            tasks.start_soon(run, index % 10 == 0)
    assert list(range(1, 101)) == sorted(seen)


async def test_a_failed_transaction_leaves_nothing(database: engine.Database) -> None:
    """What a transaction wrote before it raised is gone."""

    def fail(tx: Connection) -> None:
        increment(tx)
        raise LookupError

    with pytest.raises(LookupError):
        await database.write(fail)
    assert None is await database.read(lambda tx: tx.execute(select(numbers.c.last_number)).scalar())


async def test_a_cancelled_caller_does_not_tear_a_transaction(database: engine.Database) -> None:
    """A transaction whose caller is cancelled is finished, not left open, and the next one runs."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        await database.write(increment)
    assert await database.write(increment) in {1, 2}


async def test_readers_cannot_write(database: engine.Database) -> None:
    """A query that tries to write fails instead of writing outside the turn."""
    with pytest.raises(exc.OperationalError, match="readonly"):
        await database.read(increment)


async def test_readers_do_not_wait_for_the_writer(database: engine.Database) -> None:
    """A read during a writing transaction sees the state before it."""
    await database.write(increment)
    wrote, may_end = anyio.Event(), anyio.Event()

    def slow(tx: Connection) -> None:
        increment(tx)
        anyio.from_thread.run_sync(wrote.set)
        anyio.from_thread.run(may_end.wait)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(database.write, slow)
        await wrote.wait()
        assert 1 == await database.read(lambda tx: tx.execute(select(numbers.c.last_number)).scalar())
        may_end.set()
    assert 2 == await database.read(lambda tx: tx.execute(select(numbers.c.last_number)).scalar())


async def test_durable_transactions_wait_for_the_disk(database: engine.Database) -> None:
    """The database is in WAL mode, and `durable` decides whether a commit is synced."""

    def synchronous(tx: Connection) -> int:
        return int(tx.execute(text("PRAGMA synchronous")).scalar_one())

    assert 2 == await database.write(synchronous)
    assert 1 == await database.write(synchronous, durable=False)
    assert 2 == await database.write(synchronous)
    assert "wal" == await database.read(lambda tx: tx.execute(text("PRAGMA journal_mode")).scalar_one())
