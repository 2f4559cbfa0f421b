"""New sectors are given out on a real database; of the chain there is only what is asked of it."""

from collections.abc import AsyncIterator, Container
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from damocles.manager import errors, roster
from damocles.manager.db import engine
from damocles.manager.sectors import commitments, giving, ledger
from damocles.wire import seal
from damocles.wire.sectors import SealProof

ANY = seal.AllocateSectorSpec()


class Chain:
    """Notes of which miners the numbers are asked for; those in `away` are not to be had."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.away: set[int] = set()

    async def allocated(self, miner: int) -> Container[int]:
        """Return that number 1 is taken."""
        self.asked.append(miner)
        if miner in self.away:
            raise errors.ManagerError("the node is away")
        return {1}


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[engine.Database]:
    """Yield an empty database."""
    async with engine.open_sqlite(tmp_path / "manager.db") as made:
        yield made


def new(database: engine.Database, chain: Any, *miners: ledger.Miner) -> giving.Giving:
    """Return what gives out sectors of miners."""
    return of(database, chain, roster.Roster(miners))


def of(database: engine.Database, chain: Any, miners: roster.Roster[ledger.Miner]) -> giving.Giving:
    """Return the same, for miners that may be replaced."""
    return giving.Giving(database, miners, commitments.Commitments(database, chain, lambda: 0.0), lambda: 0.0)


def miner(number: int, most: int | None = None) -> ledger.Miner:
    """Return a miner whose last sector has the number `most`."""
    return ledger.Miner(id=number, proof=SealProof(5), max_number=most)


def named(given: Any) -> tuple[int, int]:
    """Return miner and number of what was given out."""
    assert isinstance(given, seal.AllocatedSector)
    return given.id.miner, given.id.number


async def test_the_chain_is_asked_only_when_a_number_is_given_out(database: engine.Database) -> None:
    """Not for a miner whose numbers are used up, nor for who has too much, nor where there is something to be had before."""
    chain = Chain()
    two = new(database, chain, miner(1000, 2), miner(1001, 3))
    assert [(1000, 2), (1001, 2), (1001, 3)] == [named(await two.give(ANY, ledger.NOBODY)) for _ in range(3)]
    assert [1000, 1001, 1001] == chain.asked
    for _ in range(3):
        assert await two.give(ANY, ledger.NOBODY) is None
    busy = ledger.Receiver("store", by="worker", most=1)
    one = new(database, chain, miner(1002))
    assert (1002, 2) == named(await one.give(ANY, busy))
    with pytest.raises(errors.ManagerError, match="1 sectors are at work"):
        await one.give(ANY, busy)
    assert "found" == await one.give(ANY, busy, lambda _: "found")
    assert [1000, 1001, 1001, 1002] == chain.asked


async def test_a_miner_whose_node_is_away_keeps_none_from_another(database: engine.Database) -> None:
    """The next one's turn has come; where there is no other the reason is told."""
    chain = Chain()
    chain.away = {1000}
    both = new(database, chain, miner(1000), miner(1001, 2))
    assert (1001, 2) == named(await both.give(ANY, ledger.NOBODY))
    with pytest.raises(errors.ManagerError, match="the node is away"):
        await both.give(ANY, ledger.NOBODY)
    chain.away = set()
    assert (1000, 2) == named(await both.give(ANY, ledger.NOBODY))


async def test_what_turns_up_meanwhile_goes_before_a_new_sector(database: engine.Database) -> None:
    """Of two calls at once the one finds what the other was given: it is looked for again in the transaction that gives."""
    looks: list[int] = []

    def first(_: Connection) -> str | None:
        looks.append(len(looks))
        return "another call's" if len(looks) > 1 else None

    assert "another call's" == await new(database, Chain(), miner(1000)).give(ANY, ledger.NOBODY, first)
    assert [0, 1] == looks
    assert (1000, 2) == named(await new(database, Chain(), miner(1000)).give(ANY, ledger.NOBODY))


async def test_miners_are_those_of_the_moment(database: engine.Database) -> None:
    """One that is new gets its turn at once; one that goes and comes back never gets a number for the second time."""
    chain, miners = Chain(), roster.Roster([miner(1000)])
    made = of(database, chain, miners)
    assert (1000, 2) == named(await made.give(ANY, ledger.NOBODY))
    miners.replace([miner(1000), miner(1001)])
    assert [(1001, 2), (1000, 3)] == [named(await made.give(ANY, ledger.NOBODY)) for _ in range(2)]
    miners.replace([miner(1001)])
    assert [(1001, 3), (1001, 4)] == [named(await made.give(ANY, ledger.NOBODY)) for _ in range(2)]
    miners.replace([miner(1000), miner(1001)])
    assert (1000, 4) == named(await made.give(seal.AllocateSectorSpec([1000]), ledger.NOBODY))


async def test_a_miner_that_goes_while_the_chain_is_asked_gets_no_sector(database: engine.Database) -> None:
    """Nor does one that gets no new ones any more; a last number that has changed meanwhile holds."""
    miners = roster.Roster([miner(1000)])

    class Slow(Chain):
        after: tuple[ledger.Miner, ...] = ()

        async def allocated(self, miner: int) -> Container[int]:
            miners.replace(self.after)
            return await super().allocated(miner)

    chain = Slow()
    made = of(database, chain, miners)
    for after in ((), (ledger.Miner(id=1000, proof=SealProof(5), enabled=False),), (miner(1000, 1),)):
        miners.replace([miner(1000)])
        chain.after = after
        assert await made.give(ANY, ledger.NOBODY) is None
    assert [1000] * 3 == chain.asked
