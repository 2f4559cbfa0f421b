"""Records of blocks: the database itself allows one a height and one on the same parents, and none beside the own last one."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, create_engine, insert
from sqlalchemy import exc as sql_errors
from sqlalchemy.pool import StaticPool

from damocles.chain.addresses import Address
from damocles.chain.blocks.header import ElectionProof, Template, Ticket
from damocles.manager.db import mined, schema
from damocles.manager.mining import blocks
from damocles.manager.mining.mind import Stage
from damocles.wire.codec import CID, Blob, Rows

MINER = 1000


@pytest.fixture
def tx() -> Iterator[Connection]:
    """Yield a transaction on a new database in memory."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    schema.upgrade(engine.begin)
    with engine.begin() as opened:
        yield opened
    engine.dispose()


def won(tx: Connection, epoch: int) -> blocks.Record:
    """Record a round as won."""
    record = blocks.Record(
        miner=MINER,
        epoch=epoch,
        won_at=1.0,
        wins=1,
        election=ElectionProof(1, Blob(b"e")),
        power=1,
        network_power=1,
        sectors=[1],
    )
    assert blocks.record_won(tx, record)
    return record


def template(epoch: int, *parents: str) -> Template:
    """Return what a block is made of."""
    return Template(
        miner=Address.of_id(MINER),
        parents=Rows(CID(one) for one in parents),
        ticket=Ticket(Blob(b"t")),
        election=None,
        beacon=Rows(),
        messages=(),
        epoch=epoch,
        timestamp=epoch,
        winning_post=Rows(),
    )


def signing(tx: Connection, record: blocks.Record, base: int, *parents: str) -> blocks.Record:
    """Record what the block of a round is made of; return the record."""
    made = template(record.epoch, *parents)
    assert blocks.record_signing(tx, record, record, made, base)
    found = blocks.find(tx, MINER, record.epoch)
    assert found is not None
    return found


def signed(tx: Connection, record: blocks.Record, cid: str) -> blocks.Record:
    """Record a block as signed."""
    after = blocks.with_(record, stage=Stage.SIGNED, cid=CID(cid), template=None)
    assert blocks.save(tx, record, after)
    return after


def test_a_round_has_one_record(tx: Connection) -> None:
    """A second one is not taken, and the database refuses it by itself."""
    record = won(tx, 7)
    assert not blocks.record_won(tx, record)
    with pytest.raises(sql_errors.IntegrityError):
        tx.execute(insert(mined.mined_blocks).values(miner=MINER, epoch=7, stage="won", record="{}"))


def test_what_a_block_is_made_of_is_recorded_once(tx: Connection) -> None:
    """Whoever decided by an older record writes nothing."""
    record = won(tx, 7)
    signing(tx, record, 6, "a")
    assert not blocks.record_signing(tx, record, record, template(7, "b"), 6)
    found = blocks.find(tx, MINER, 7)
    assert found is not None
    assert found.template is not None
    assert found.template.parents == ("a",)


def test_the_same_parents_serve_one_block(tx: Connection) -> None:
    """Also when what was recorded of it is reduced, and the database refuses a second one by itself."""
    first = signed(tx, signing(tx, won(tx, 7), 6, "a", "b"), "own")
    blocks.save(tx, first, blocks.with_(first, stage=Stage.LOST))
    record = won(tx, 8)

    with pytest.raises(blocks.Fault, match="epoch 7 has the same parents"):
        blocks.record_signing(tx, record, record, template(8, "a", "b"), 6)
    with pytest.raises(sql_errors.IntegrityError):
        tx.execute(insert(mined.mined_blocks).values(miner=MINER, epoch=9, stage="won", parents="a,b", record="{}"))


def test_a_block_builds_on_its_miners_last_one(tx: Connection) -> None:
    """If there is one at the base's height: on other blocks alone it would be parent grinding."""
    signed(tx, signing(tx, won(tx, 7), 6, "a"), "own")
    record = won(tx, 8)

    with pytest.raises(blocks.Fault, match="left out the miner's own block"):
        blocks.record_signing(tx, record, record, template(8, "others"), 7)
    assert blocks.record_signing(tx, record, record, template(8, "own", "others"), 7)


def test_nothing_is_built_beside_a_block_that_may_have_been_signed(tx: Connection) -> None:
    """Its id is unknown where the process ended before the answer, also once it is given up."""
    unknown = signing(tx, won(tx, 7), 6, "a")
    blocks.save(tx, unknown, blocks.with_(unknown, stage=Stage.LOST, template=None))
    record = won(tx, 8)

    with pytest.raises(blocks.Fault, match="may have been signed"):
        blocks.record_signing(tx, record, record, template(8, "others"), 7)


def test_a_step_is_taken_once(tx: Connection) -> None:
    """From the record that it was decided by."""
    record = won(tx, 7)
    after = blocks.with_(record, stage=Stage.LOST, why="for a test")
    assert blocks.step(record, after)(tx)
    assert not blocks.step(record, blocks.with_(record, stage=Stage.SIGNED))(tx)
    assert blocks.latest(tx, MINER, 9) == [after]
    assert blocks.lost_since(tx, 0.5) == [after]
    assert blocks.lost_since(tx, 1.5) == []
