"""Records of rounds that were won, one for each miner and epoch. Functions are steps inside a transaction.

The columns beside the record are what the database itself keeps unique: miner and epoch, and miner and parents.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from damocles.chain.blocks.header import BlockMessage, ElectionProof, Template
from damocles.manager.db import mined
from damocles.manager.mining.mind import OPEN, Stage
from damocles.wire import codec
from damocles.wire.codec import CID

_BLOCKS = mined.mined_blocks
KEPT_EPOCHS = 30 * 2880
with_ = msgspec.structs.replace


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A round that was won. Powers are quality-adjusted, in bytes.

    `seconds` is how long each step took, `handed_in` when after the beginning of the epoch the block was. `template` is what is, or was, to be
    signed, `block` what was signed; both are dropped once the chain has decided.
    """

    miner: int
    epoch: int
    won_at: float
    wins: int
    election: ElectionProof
    power: int
    network_power: int
    sectors: list[int]
    stage: Stage = Stage.WON
    base_epoch: int | None = None
    template: Template | None = None
    block: BlockMessage | None = None
    cid: CID | None = None
    seconds: dict[str, float] = {}
    handed_in: float | None = None
    why: str = ""


class Fault(Exception):
    """A block may not be signed, since with another one it would be a consensus fault; the text says which."""


def find(tx: Connection, miner: int, epoch: int) -> Record | None:
    """Return the record of a round."""
    query = select(_BLOCKS.c.record).where(_BLOCKS.c.miner == miner, _BLOCKS.c.epoch == epoch)
    text = tx.execute(query).scalar()
    return None if text is None else codec.decode(text, Record)


def latest(tx: Connection, miner: int | None, count: int) -> list[Record]:
    """Return the last rounds that were won, of a miner or of all, the newest first."""
    query = select(_BLOCKS.c.record).order_by(_BLOCKS.c.epoch.desc(), _BLOCKS.c.miner).limit(count)
    query = query if miner is None else query.where(_BLOCKS.c.miner == miner)
    return [codec.decode(text, Record) for text in tx.execute(query).scalars()]


def undecided(tx: Connection, miner: int, before: int) -> list[Record]:
    """Return rounds before an epoch that the chain has not decided about, the oldest first."""
    stages = (*OPEN, Stage.SUBMITTED)
    query = select(_BLOCKS.c.record).where(_BLOCKS.c.miner == miner, _BLOCKS.c.epoch < before)
    query = query.where(_BLOCKS.c.stage.in_(stages)).order_by(_BLOCKS.c.epoch)
    return [codec.decode(text, Record) for text in tx.execute(query).scalars()]


def lost_since(tx: Connection, at: float) -> list[Record]:
    """Return rounds that were won since a time and lost, the oldest first."""
    query = select(_BLOCKS.c.record).where(_BLOCKS.c.stage == Stage.LOST).order_by(_BLOCKS.c.epoch)
    found = (codec.decode(text, Record) for text in tx.execute(query).scalars())
    return [one for one in found if one.won_at >= at]


def record_won(tx: Connection, record: Record) -> bool:
    """Record a round that was won; false if it is recorded already."""
    if find(tx, record.miner, record.epoch) is not None:
        return False
    tx.execute(insert(_BLOCKS).values(miner=record.miner, epoch=record.epoch, **_values(record)))
    return True


def step(before: Record, after: Record) -> Callable[[Connection], bool]:
    """Return the transaction that takes a round to a stage; its name has the stage, for tests that kill the process there."""

    def transaction(tx: Connection) -> bool:
        return save(tx, before, after)

    transaction.__qualname__ = f"record_{after.stage}"
    return transaction


def save(tx: Connection, before: Record, after: Record) -> bool:
    """Put a record in the place of what was known; false if that has changed meanwhile, and nothing is written."""
    same = (_BLOCKS.c.miner == before.miner) & (_BLOCKS.c.epoch == before.epoch) & (_BLOCKS.c.record == _text(before))
    return tx.execute(update(_BLOCKS).where(same).values(**_values(after))).rowcount == 1


def record_signing(tx: Connection, before: Record, after: Record, template: Template, base_epoch: int) -> bool:
    """Record what the block of a round is made of, before it is signed; false if the record has changed meanwhile.

    Raises:
        Fault: With another block of the miner it would be a consensus fault.
    """
    parents = _parents(template)
    query = select(_BLOCKS.c.epoch).where(_BLOCKS.c.miner == before.miner, _BLOCKS.c.parents == parents)
    if (other := tx.execute(query).scalar()) is not None:
        raise Fault(f"the block of epoch {other} has the same parents (time-offset mining)")
    own = find(tx, before.miner, base_epoch)
    if own is not None and own.base_epoch is not None and own.cid is None:
        raise Fault(f"a block of epoch {base_epoch} may have been signed, and is unknown (parent grinding)")
    if own is not None and own.cid is not None and own.cid not in template.parents:
        raise Fault(f"the chain has left out the miner's own block of epoch {base_epoch} (parent grinding)")
    return save(tx, before, with_(after, stage=Stage.SIGNING, template=template, base_epoch=base_epoch))


def forget(tx: Connection, miner: int, before: int) -> None:
    """Forget the rounds of a miner before an epoch, for which nobody signs any more."""
    tx.execute(delete(_BLOCKS).where(_BLOCKS.c.miner == miner, _BLOCKS.c.epoch < before))


def _parents(template: Template | None) -> str | None:
    return None if template is None else ",".join(template.parents)


def _values(record: Record) -> dict[str, Any]:
    values = {"stage": record.stage.value, "cid": record.cid, "record": _text(record)}
    # Kept when the template is dropped.
    return values | ({"parents": parents} if (parents := _parents(record.template)) is not None else {})


def _text(record: Record) -> str:
    return codec.encode(record).decode()
