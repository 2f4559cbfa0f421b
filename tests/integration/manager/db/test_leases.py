"""Leases of several managers on one PostgreSQL."""

from collections.abc import AsyncIterator, Iterator
from functools import partial

import anyio
import pytest
from sqlalchemy import Connection, insert, select

from damocles.cli import manager as program
from damocles.manager.db import engine, leases, tables
from damocles.testing import postgres

NAME = "nonces of t3a"


@pytest.fixture(scope="module")
def own_server() -> Iterator[postgres.Server]:
    """Return a server of this module."""
    if not postgres.is_installed():
        pytest.skip("PostgreSQL is not installed: run `make setup`")
    with postgres.server() as running:
        yield running


@pytest.fixture
async def two(own_server: postgres.Server) -> AsyncIterator[tuple[engine.Database, engine.Database]]:
    """Return one database as two managers have it open."""
    url = own_server.url(own_server.new())
    async with engine.open_postgresql(url) as one, engine.open_postgresql(url) as other:
        yield one, other


def add(tx: Connection, number: int) -> None:
    """Write something."""
    tx.execute(insert(tables.numbers).values(miner=number, last_number=0))


def added(tx: Connection) -> list[int]:
    """Return what was written."""
    return list(tx.execute(select(tables.numbers.c.miner).order_by(tables.numbers.c.miner)).scalars())


async def test_one_has_it_and_the_other_goes_without(two) -> None:
    """Of two that want a lease one has it, for as long as its block runs; what nobody else has, the other one gets."""
    one, other = two
    async with one.leases.keeping([NAME]) as held, other.leases.keeping([NAME, "blocks of t01"]) as without:
        assert (True, False) == (held.has(NAME), held.has("blocks of t01"))
        assert (False, True) == (without.has(NAME), without.has("blocks of t01"))
        await held.write(partial(add, number=1))
        await without.write(partial(add, number=2))
    async with one.leases.keeping([NAME]) as again:
        assert again.has(NAME)
    assert [1, 2] == await one.read(added)


async def test_it_goes_on_for_as_long_as_it_is_needed(two, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a block runs that does not write anything, its lease is renewed again and again."""
    monkeypatch.setattr(leases, "_RENEWING_SECONDS", 0.05)
    one, other = two
    async with one.leases.keeping([NAME]) as held:
        ends: set[float] = set()
        with anyio.fail_after(60):
            while len(ends) < 3:
                _, found = await other.read(leases.load)
                ends.add(found[NAME].ends)
                await anyio.sleep(0.02)
        await held.write(partial(add, number=1))
    assert 1 == (await other.read(leases.load))[1][NAME].token


async def test_who_went_without_is_woken_when_it_has_ended(two, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else has to happen, no new head and no message: at each end that it knows of it may ask again, until it has it."""
    monkeypatch.setattr(leases, "SECONDS", 1.0)
    monkeypatch.setattr(leases, "_RENEWING_SECONDS", 0.3)
    one, other = two

    async def hold() -> None:
        async with one.leases.keeping([NAME]):
            held.set()
            await anyio.sleep(2.5)

    async with anyio.create_task_group() as tasks:
        held = anyio.Event()
        tasks.start_soon(hold)
        await held.wait()
        with anyio.fail_after(60):
            while True:
                since = other.leases.free.count
                async with other.leases.keeping([NAME]) as asked:
                    if asked.has(NAME):
                        break
                await other.leases.free.wait(since)


async def test_what_a_frozen_manager_writes_is_refused(two, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that slept, and does not know it, writes nothing once another one has taken over; and is told why."""
    one, other = two
    monkeypatch.setattr(leases, "_RENEWING_SECONDS", 1000.0)

    async def hold() -> None:
        async with one.leases.keeping([NAME]) as held:
            await one.write(lambda tx: tx.execute(leases._LEASES.update().values(ends=0.0)))  # time passes
            async with other.leases.keeping([NAME]) as taken:
                assert taken.has(NAME)
                await taken.write(partial(add, number=2))
                await held.write(partial(add, number=1))

    with pytest.raises(leases.Lost, match=rf"{NAME}: the lease is lost: another manager has taken it"):
        await hold()
    assert [2] == await one.read(added)


async def test_the_block_ends_before_the_lease_when_the_server_is_away(
    two, own_server: postgres.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder that cannot reach the server stops by its own clock, also in the middle of something; later it goes on."""
    monkeypatch.setattr(leases, "_OWN_SECONDS", 2.0)
    monkeypatch.setattr(leases, "_RENEWING_SECONDS", 1.0)
    one, _ = two

    async def hold() -> None:
        async with one.leases.keeping([NAME]):
            own_server.kill()
            try:
                await anyio.sleep_forever()
            finally:
                own_server.start()

    with anyio.fail_after(60), pytest.raises(leases.Lost, match="it could not be renewed in time"):
        await hold()
    monkeypatch.undo()
    async with one.leases.keeping([NAME]) as held:
        assert held.has(NAME)


async def test_a_block_is_ended_when_it_is_seen_that_another_has_taken_over(
    two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next renewal shows it, and ends what still goes on."""
    monkeypatch.setattr(leases, "_RENEWING_SECONDS", 0.05)
    one, other = two

    def take_over(tx: Connection) -> None:
        tx.execute(leases._LEASES.update().values(ends=0.0))  # time passes
        leases.take(tx, [NAME], "other")

    async def hold() -> None:
        async with one.leases.keeping([NAME]):
            await other.write(take_over)
            await anyio.sleep_forever()

    with anyio.fail_after(60), pytest.raises(leases.Lost, match="another manager has taken it"):
        await hold()


async def test_the_blocks_own_errors_come_out_as_they_are(two) -> None:
    """Whoever waits for an error of a node gets it, and in no group."""
    with pytest.raises(ZeroDivisionError):
        async with two[0].leases.keeping([NAME]):
            raise ZeroDivisionError


async def test_who_ends_orderly_gives_them_back(own_server: postgres.Server) -> None:
    """The next one has them at once, under the next token; what the first had lost before is not touched."""
    url = own_server.url(own_server.new())
    async with engine.open_postgresql(url) as other:
        async with engine.open_postgresql(url) as one:
            async with one.leases.keeping([NAME, "blocks of t01"]):
                pass
            await other.write(lambda tx: tx.execute(leases._LEASES.update().values(ends=0.0)))  # time passes
            async with other.leases.keeping(["blocks of t01"]):
                pass
            async with one.leases.keeping([NAME]):
                pass
        now, found = await other.read(leases.load)
        assert found[NAME].ends < now < found["blocks of t01"].ends
        async with other.leases.keeping([NAME]) as held:
            assert held.has(NAME)
        assert found[NAME].token + 1 == (await other.read(leases.load))[1][NAME].token


def test_they_are_listed(own_server: postgres.Server, capsys: pytest.CaptureFixture[str]) -> None:
    """With who has each, under which token, and for how long."""
    url = own_server.url(own_server.new())

    async def make() -> None:
        async with engine.open_postgresql(url) as database, database.leases.keeping([NAME]):
            pass

    anyio.run(make)
    assert 0 == program.main(["db", "leases", url])
    header, line = capsys.readouterr().out.splitlines()
    assert ["Name", "Who", "Token", "Ends"] == header.split()
    assert line.startswith(NAME)
    assert 0 == program.main(["db", "leases", url, "--json"])
    assert '"token": 1' in capsys.readouterr().out


@pytest.mark.parametrize("words", ["leases", "managers"])
def test_a_database_without_managers_is_told_in_a_line(
    own_server: postgres.Server, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    """One that is empty, or another program's, has no tables of ours; one that is not there is told by the server."""
    url = own_server.url(own_server.new())
    assert 1 == program.main(["db", words, url])
    told = f"error: {url} is no database of several managers: none has been started on it\n"
    assert told == capsys.readouterr().err
    assert 1 == program.main(["db", words, own_server.url("nosuch")])
    (line,) = capsys.readouterr().err.splitlines()
    assert 'database "nosuch" does not exist' in line
