"""Transactions on a SQLite file and on a PostgreSQL server."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from sqlalchemy import Connection, exc, insert, select, text, update

from damocles.manager.db import engine, tables
from damocles.manager.errors import ManagerError
from damocles.rpc.errors import Code

numbers = tables.numbers
both = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
async def database(tmp_path: Path, database_url: str | None) -> AsyncIterator[engine.Database]:
    """Return an open database."""
    async with engine.open_at(database_url or tmp_path / "test.db") as opened:
        yield opened


def increment(tx: Connection) -> int:
    """Read, then write: what loses updates when transactions are not serial."""
    last = tx.execute(select(numbers.c.last_number)).scalar()
    if last is None:
        tx.execute(insert(numbers).values(miner=1, last_number=1))
        return 1
    tx.execute(update(numbers).values(last_number=last + 1))
    return int(last) + 1


def last(tx: Connection) -> int | None:
    """Return what `increment` has come to."""
    return tx.execute(select(numbers.c.last_number)).scalar()


@both
async def test_no_update_is_lost(database: engine.Database) -> None:
    """A hundred read-and-write transactions at once, durable and not, each see the one before."""
    seen: list[int] = []

    async def run(durable: bool) -> None:
        seen.append(await database.write(increment, durable=durable))

    async with anyio.create_task_group() as tasks:
        for index in range(100):
            tasks.start_soon(run, index % 10 == 0)
    assert list(range(1, 101)) == sorted(seen)


@both
async def test_a_failed_transaction_leaves_nothing(database: engine.Database) -> None:
    """What a transaction wrote before it raised is gone."""

    def fail(tx: Connection) -> None:
        increment(tx)
        raise LookupError

    with pytest.raises(LookupError):
        await database.write(fail)
    assert None is await database.read(last)


@both
async def test_a_cancelled_caller_does_not_tear_a_transaction(database: engine.Database) -> None:
    """A transaction whose caller is cancelled is finished, not left open, and the next one runs."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        await database.write(increment)
    assert await database.write(increment) in {1, 2}


@both
async def test_readers_cannot_write(database: engine.Database) -> None:
    """A query that tries to write fails instead of writing outside the turn."""
    with pytest.raises(exc.DBAPIError, match=r"readonly|read-only"):
        await database.read(increment)
    assert database.trouble is None


@both
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
        assert 1 == await database.read(last)
        may_end.set()
    assert 2 == await database.read(last)


@both
async def test_a_value_that_no_row_can_have_is_the_callers_fault(database: engine.Database) -> None:
    """A number that is too large is refused in words, and the database goes on."""
    wrong = insert(numbers).values(miner=1, last_number=2**70)
    with pytest.raises(ManagerError) as told:
        await database.write(lambda tx: tx.execute(wrong))
    assert Code.INVALID_PARAMS == told.value.code
    assert 1 == await database.write(increment)


@both
async def test_opened_again_everything_is_there(tmp_path: Path, database_url: str | None) -> None:
    """A second start finds what the first one wrote, and its tables."""
    for expected in (1, 2):
        async with engine.open_at(database_url or tmp_path / "test.db") as opened:
            assert expected == await opened.write(increment)


@both
async def test_the_audit_can_only_be_added_to(database: engine.Database) -> None:
    """Whoever writes to the database by whatever means can change no entry."""
    row = insert(tables.audit).values(at=1.0, who="a", what="b", sectors="", entry="{}")
    await database.write(lambda tx: tx.execute(row))
    for statement in ("UPDATE audit SET who = 'c'", "DELETE FROM audit"):
        with pytest.raises(exc.DBAPIError, match="only be added to"):
            await database.write(lambda tx, one=statement: tx.execute(text(one)))  # type: ignore[misc]


async def test_durable_transactions_wait_for_the_disk(database: engine.Database) -> None:
    """The SQLite database is in WAL mode, and `durable` decides whether a commit is synced."""

    def synchronous(tx: Connection) -> int:
        return int(tx.execute(text("PRAGMA synchronous")).scalar_one())

    assert 2 == await database.write(synchronous)
    assert 1 == await database.write(synchronous, durable=False)
    assert 2 == await database.write(synchronous)
    assert "wal" == await database.read(lambda tx: tx.execute(text("PRAGMA journal_mode")).scalar_one())
