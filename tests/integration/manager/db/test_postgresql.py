"""What only a server does: transactions that collide, statements that last, an outage."""

import signal
import sys
from collections.abc import Iterator
from functools import partial

import anyio
import anyio.to_thread
import psutil
import pytest
from sqlalchemy import Connection, insert, select, text, update

from damocles.manager import errors
from damocles.manager.db import engine, tables
from damocles.rpc.errors import Code, DatabaseAway
from damocles.testing import postgres

numbers = tables.numbers


@pytest.fixture
def database_url(own_server: postgres.Server) -> str:
    """Return the URL of an empty database on a server that the test may stop."""
    return own_server.url(own_server.new())


@pytest.fixture(scope="module")
def own_server() -> Iterator[postgres.Server]:
    """Return a server of this module."""
    if not postgres.is_installed():
        pytest.skip("PostgreSQL is not installed: run `make setup`")
    with postgres.server() as running:
        yield running


def last(tx: Connection) -> int | None:
    """Return the counter."""
    return tx.execute(select(numbers.c.last_number)).scalar()


def increment(tx: Connection) -> int:
    """Count on."""
    before = last(tx)
    if before is None:
        tx.execute(insert(numbers).values(miner=1, last_number=1))
        return 1
    tx.execute(update(numbers).values(last_number=before + 1))
    return before + 1


async def test_two_managers_lose_no_update(database_url: str) -> None:
    """Two that count in the same row at the same time collide, are run again, and none of them loses a count."""
    async with (
        engine.open_postgresql(database_url) as one,
        engine.open_postgresql(database_url) as other,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(20):
            tasks.start_soon(one.write, increment)
            tasks.start_soon(other.write, increment)
    async with engine.open_postgresql(database_url) as database:
        assert 40 == await database.read(last)


async def test_managers_join_and_who_wants_it_alone_is_refused(own_server: postgres.Server, database_url: str) -> None:
    """Managers share a database; whoever copies it, or a manager of an earlier release, has it alone, and is told who is there."""
    alone = partial(engine.backend, database_url, claim=True)
    async with engine.open_at(database_url), engine.open_at(database_url):
        with pytest.raises(
            errors.StartError, match=r"a manager uses .*, from 127\.0\.0\.1 since .*: stop all that do first"
        ):
            await anyio.to_thread.run_sync(alone)
        elsewhere = own_server.url(own_server.new())
        (await anyio.to_thread.run_sync(partial(engine.backend, elsewhere, claim=True))).close()
    copying = await anyio.to_thread.run_sync(alone)
    with pytest.raises(errors.StartError, match=r"another program has .* for itself, from 127\.0\.0\.1 since"):
        async with engine.open_at(database_url):
            pass
    copying.close()


async def test_a_manager_that_was_killed_does_not_keep_the_database(database_url: str) -> None:
    """The server frees the lock of a process that is gone."""
    joining = f"""
import asyncio, os, signal
from damocles.manager.db import engine
async def main():
    async with engine.open_at({database_url!r}):
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    assert -signal.SIGKILL == (await anyio.run_process([sys.executable, "-c", joining], check=False)).returncode
    with anyio.fail_after(60):
        while True:
            try:
                (await anyio.to_thread.run_sync(partial(engine.backend, database_url, claim=True))).close()
            except errors.StartError:  # the server has not noticed it yet
                await anyio.sleep(0.05)
            else:
                return


async def test_a_decision_on_what_another_changes_is_taken_again(database_url: str) -> None:
    """Each reads what the other writes (write skew): one of them is run again, on what the other has written."""
    both_have_read = anyio.Event()
    async with engine.open_postgresql(database_url) as one, engine.open_postgresql(database_url) as other:
        tries: list[int] = []

        def decide(tx: Connection, miner: int) -> None:
            """Add a row of this miner if there is none of anybody."""
            seen = tx.execute(select(numbers.c.miner)).all()
            tries.append(miner)
            if len(tries) == 2:
                anyio.from_thread.run_sync(both_have_read.set)
            anyio.from_thread.run(both_have_read.wait)
            if not seen:
                tx.execute(insert(numbers).values(miner=miner, last_number=0))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.write, lambda tx: decide(tx, 1))
            tasks.start_soon(other.write, lambda tx: decide(tx, 2))
        assert 3 == len(tries)
        assert 1 == len(await one.read(lambda tx: tx.execute(select(numbers.c.miner)).all()))


async def test_an_outage_is_told_once_and_over_by_itself(
    own_server: postgres.Server, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """While the server is away each call is refused in words, which is logged once; then all goes on."""
    async with engine.open_postgresql(database_url) as database:
        await database.write(increment)
        own_server.kill()
        for call in (database.write(increment), database.read(last)):
            with pytest.raises(DatabaseAway, match=r"does not answer.*goes on as soon as it does"):
                await call
        assert database.trouble is not None
        own_server.start()
        assert 2 == await database.write(increment)
        assert database.trouble is None
    said = capsys.readouterr().out
    assert 1 == said.count("the database does not answer")
    assert 1 == said.count("the database answers again")


async def test_a_frozen_server_keeps_nobody_for_ever(
    own_server: postgres.Server, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that stops in the middle keeps no time limit of its own: the manager's patience ends the wait."""
    async with engine.open_postgresql(database_url) as database:
        await database.write(increment)
        monkeypatch.setattr(database._backend, "patience_seconds", 1.0)
        frozen = [psutil.Process(own_server.process.pid), *psutil.Process(own_server.process.pid).children()]
        for process in frozen:
            process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(DatabaseAway, match="no answer within 1 seconds"):
                await database.write(increment)
        finally:
            for process in frozen:
                process.send_signal(signal.SIGCONT)
        monkeypatch.setattr(database._backend, "patience_seconds", 60.0)
        assert 2 <= await database.write(increment)


async def test_a_statement_that_lasts_is_cancelled(database_url: str) -> None:
    """The server ends a statement that takes longer than the limit, and the connection is good for the next one."""
    async with engine.open_postgresql(database_url) as database:

        def slow(tx: Connection) -> None:
            tx.execute(text("SET LOCAL statement_timeout = 50"))
            tx.execute(text("SELECT pg_sleep(30)"))

        with pytest.raises(DatabaseAway, match="statement timeout"):
            await database.write(slow)
        assert 1 == await database.write(increment)


async def test_many_that_start_at_once_make_one_schema(database_url: str) -> None:
    """Managers that open an empty database at the same time wait for the first one to make the tables."""

    async def run() -> None:
        async with engine.open_postgresql(database_url) as database:
            await database.write(increment)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(run)
    async with engine.open_postgresql(database_url) as database:
        assert 3 == await database.read(last)


async def test_text_that_the_server_does_not_take_is_the_callers_fault(database_url: str) -> None:
    """PostgreSQL keeps no text with a zero byte: whoever sends one is told, and it is no outage."""
    async with engine.open_postgresql(database_url) as database:
        wrong = insert(tables.workers).values(name="a\0b", info="{}", last_ping=0.0)
        with pytest.raises(errors.ManagerError, match="does not take a value") as told:
            await database.write(lambda tx: tx.execute(wrong))
        assert Code.INVALID_PARAMS == told.value.code
        assert database.trouble is None


def test_a_password_is_nowhere_to_be_read() -> None:
    """What is logged and shown of a URL has no password."""
    assert "postgresql://u:…@h/d" == engine.shown("postgresql://u:p@h/d")
    assert "postgresql://h/d?user=u&password=…&port=1&x=…" == engine.shown(
        "postgresql://h/d?user=u&password=p&port=1&x=1"
    )
