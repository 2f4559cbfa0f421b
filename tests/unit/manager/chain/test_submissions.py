"""What is handed in, in the database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from damocles.chain.addresses import Address
from damocles.manager.chain import interface, submissions
from damocles.manager.chain.submissions import Kind, State
from damocles.manager.db import engine
from damocles.manager.outbox import orders
from damocles.manager.upkeep.doing import Doing
from damocles.methods import acts
from damocles.wire import seal
from damocles.wire.codec import CID, Bytes32
from damocles.wire.sectors import SectorID

SECTOR = seal.AllocatedSector(SectorID(1000, 1), 5)
FIRST = seal.PreCommit(Bytes32(b"\1" * 32), Bytes32(bytes(32)), seal.Ticket(b"\2" * 32, 100))
OTHER = seal.PreCommit(Bytes32(b"\3" * 32), Bytes32(bytes(32)), seal.Ticket(b"\2" * 32, 100))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[engine.Database]:
    """Yield an empty database."""
    async with engine.open_sqlite(tmp_path / "manager.db") as made:
        yield made


async def _put(database: engine.Database, content: seal.PreCommit) -> CID:
    return await database.write(lambda tx: submissions.put(tx, Kind.PRE_COMMIT, SECTOR, content, (), epoch=1000))


async def _found(database: engine.Database, cid: CID) -> submissions.Submission:
    found = await database.read(lambda tx: submissions.find(tx, cid))
    assert found is not None
    return found


async def test_the_same_again(database: engine.Database) -> None:
    """The same content again is the same submission, whatever has become of it, unless it came to nothing."""
    cid = await _put(database, FIRST)
    assert (cid, SECTOR.id, FIRST) == (await _put(database, FIRST), *_what(await _found(database, cid)))
    for state, then in ((State.LANDED, State.LANDED), (State.FAILED, State.WAITING)):
        one = await _found(database, cid)
        await database.write(lambda tx, one=one, state=state: submissions.end(tx, one, state))  # type: ignore[misc]
        assert (cid, then) == (await _put(database, FIRST), (await _found(database, cid)).state)


def _what(found: submissions.Submission) -> tuple[SectorID, seal.PreCommit]:
    return found.sector, found.content


async def test_other_content(database: engine.Database) -> None:
    """Other content replaces what waits, and nothing that may be on the chain."""
    cid = await _put(database, FIRST)
    other = await _put(database, OTHER)
    assert await database.read(lambda tx: submissions.find(tx, cid)) is None
    one = await _found(database, other)
    await database.write(lambda tx: submissions.order(tx, [one], 1))
    with pytest.raises(interface.Refused, match="on its way"):
        await _put(database, FIRST)
    await database.write(lambda tx: submissions.end(tx, one, State.LANDED, landed_epoch=7))
    with pytest.raises(interface.Refused, match="on chain already"):
        await _put(database, FIRST)
    assert [(SECTOR.id, 7)] == await database.read(submissions.unproven)
    proof = seal.Proof(b"proof")
    sent = await database.write(lambda tx: submissions.put(tx, Kind.PROOF, SECTOR, proof, (), epoch=1))
    one = await _found(database, sent)
    await database.write(lambda tx: submissions.end(tx, one, State.LANDED))
    assert await database.read(submissions.unproven) == []


async def test_what_became_of_a_sector_s_messages_is_told(database: engine.Database) -> None:
    """What is handed in is known by the id of the sector's record, and has its order as soon as there is one."""
    doing = Doing(database, None, lambda: 0.0)
    assert [] == await doing.of_sector(SECTOR.id)
    cid = await _put(database, FIRST)
    waiting = acts.SectorMessage(kind="pre-commit", id=str(cid), state="waiting")
    assert [waiting] == await doing.of_sector(SECTOR.id)
    one = await _found(database, cid)
    wish = orders.Wish(miner=1000, kind="pre-commit", to=Address.of_id(1000), method=28, params=b"")
    number = await database.write(lambda tx: orders.put(tx, wish, 0.0))
    await database.write(lambda tx: submissions.order(tx, [one], number))
    (told,) = await doing.of_sector(SECTOR.id)
    assert told.order is not None
    assert ("ordered", number, None) == (told.state, told.order.id, told.order.cid)
