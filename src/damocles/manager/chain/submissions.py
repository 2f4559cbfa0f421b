"""Records of what is handed in for a chain, a sector each, from the hand-in to what came of it.

    waiting  for others to share a message with, for a lower base fee, for money
    ordered  in an order of the outbox (`order_id`)
    landed   it is on the chain, and deep enough
    failed   it may be handed in again: `reason`
    refused  it never will land: `reason`

It has an id of its own from the beginning, in the form of a CID, since the message that will carry it is not known yet.
It follows from the content, so that the same content again is the same submission.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from sqlalchemy import Connection, delete, exists, insert, select, update

from damocles.manager.chain import interface
from damocles.manager.db import tables
from damocles.wire import codec, seal
from damocles.wire.codec import CID
from damocles.wire.sectors import SealProof, SectorID

_ROWS = tables.submissions
# Version 1, raw, blake2b-512: the form of the ids by which the original's messages are known.
_PREFIX = bytes.fromhex("0155c0e40240")

Content: TypeAlias = seal.PreCommit | seal.Proof | seal.SnapUpProof


class Kind(StrEnum):
    """What is handed in."""

    PRE_COMMIT = "pre-commit"
    PROOF = "proof"
    NON_INTERACTIVE = "non-interactive proof"
    UPDATE = "update"


_CONTENT: dict[Kind, Any] = {
    Kind.PRE_COMMIT: seal.PreCommit,
    Kind.PROOF: seal.Proof,
    Kind.NON_INTERACTIVE: seal.Proof,
    Kind.UPDATE: seal.SnapUpProof,
}


class State(StrEnum):
    """How far a submission has come."""

    WAITING = "waiting"
    ORDERED = "ordered"
    LANDED = "landed"
    FAILED = "failed"
    REFUSED = "refused"


OPEN = (State.WAITING, State.ORDERED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A submission as it is recorded; epochs are those of the head at the hand-in, and the last that will do."""

    id: int
    cid: CID
    kind: Kind
    sector: SectorID
    proof_type: SealProof
    content: Any  # a `Content`
    pieces: Sequence[seal.SectorPiece]
    since_epoch: int
    last_epoch: int | None
    state: State
    order_id: int | None
    reason: str
    landed_epoch: int | None


def put(
    tx: Connection,
    kind: Kind,
    allocated: seal.AllocatedSector,
    content: Content,
    pieces: Sequence[seal.SectorPiece],
    *,
    epoch: int,
    last_epoch: int | None = None,
) -> CID:
    """Record a submission; return its id.

    Raises:
        interface.Refused: Another one of the sector has landed, or may.
    """
    sector, text = allocated.id, codec.encode(content)
    cid = _cid(kind, sector, text)
    for row in tx.execute(select(_ROWS).where(*_of(sector), _ROWS.c.kind == kind)).all():
        if row.cid == cid and row.state in {State.LANDED, *OPEN}:
            return cid
        if row.state == State.LANDED:
            raise interface.Refused(f"the {kind} of {sector} is on chain already, with other content")
        if row.state == State.ORDERED:
            raise interface.Refused(f"the {kind} of {sector} is on its way with other content: wait what becomes of it")
        tx.execute(delete(_ROWS).where(_ROWS.c.id == row.id))
    values = {
        "cid": cid,
        "kind": kind,
        "miner": sector.miner,
        "number": sector.number,
        "proof_type": int(allocated.proof),
        "content": text.decode(),
        "pieces": codec.encode(list(pieces)).decode(),
        "since_epoch": epoch,
        "last_epoch": last_epoch,
        "state": State.WAITING,
        "reason": "",
    }
    tx.execute(insert(_ROWS).values(values))
    return cid


def find(tx: Connection, cid: CID) -> Submission | None:
    """Return a submission by its id."""
    row = tx.execute(select(_ROWS).where(_ROWS.c.cid == cid)).first()
    return None if row is None else _read(row)


def unfinished(tx: Connection) -> list[Submission]:
    """Return those that are not over, the oldest first."""
    rows = tx.execute(select(_ROWS).where(_ROWS.c.state.in_(OPEN)).order_by(_ROWS.c.id)).all()
    return [_read(row) for row in rows]


def of_sector(tx: Connection, sector: SectorID, kind: Kind) -> Submission | None:
    """Return the submission of a kind of a sector."""
    row = tx.execute(select(_ROWS).where(*_of(sector), _ROWS.c.kind == kind).order_by(_ROWS.c.id.desc())).first()
    return None if row is None else _read(row)


def unproven(tx: Connection) -> list[tuple[SectorID, int]]:
    """Return the sectors whose pre-commit has landed here and whose proof has not, with the epoch of the former."""
    proof = _ROWS.alias()
    is_proven = exists().where(
        proof.c.miner == _ROWS.c.miner,
        proof.c.number == _ROWS.c.number,
        proof.c.kind == Kind.PROOF,
        proof.c.state == State.LANDED,
    )
    rows = tx.execute(
        select(_ROWS.c.miner, _ROWS.c.number, _ROWS.c.landed_epoch).where(
            _ROWS.c.kind == Kind.PRE_COMMIT,
            _ROWS.c.state == State.LANDED,
            _ROWS.c.landed_epoch.is_not(None),
            ~is_proven,
        )
    )
    return [(SectorID(row.miner, row.number), row.landed_epoch) for row in rows]


def due_by(tx: Connection, submission: Submission, last_epoch: int) -> None:
    """Note the last epoch that will do."""
    _set(tx, [submission], last_epoch=last_epoch)


def order(tx: Connection, those: Sequence[Submission], order_id: int) -> None:
    """Note that they share a message."""
    _set(tx, those, state=State.ORDERED, order_id=order_id, reason="")


def wait_again(tx: Connection, those: Sequence[Submission]) -> None:
    """Take them back from an order that came to nothing as a whole."""
    _set(tx, those, state=State.WAITING, order_id=None)


def end(
    tx: Connection, submission: Submission, state: State, *, reason: str = "", landed_epoch: int | None = None
) -> None:
    """Note what came of one."""
    _set(tx, [submission], state=state, reason=reason, landed_epoch=landed_epoch)


def _set(tx: Connection, those: Sequence[Submission], **values: Any) -> None:
    tx.execute(update(_ROWS).where(_ROWS.c.id.in_([one.id for one in those])).values(values))


def _of(sector: SectorID) -> tuple[Any, Any]:
    return (_ROWS.c.miner == sector.miner, _ROWS.c.number == sector.number)


def _read(row: Any) -> Submission:
    kind = Kind(row.kind)
    return Submission(
        id=row.id,
        cid=CID(row.cid),
        kind=kind,
        sector=SectorID(row.miner, row.number),
        proof_type=SealProof(row.proof_type),
        content=codec.decode(row.content, _CONTENT[kind]),
        pieces=codec.decode(row.pieces, list[seal.SectorPiece]),
        since_epoch=row.since_epoch,
        last_epoch=row.last_epoch,
        state=State(row.state),
        order_id=row.order_id,
        reason=row.reason,
        landed_epoch=row.landed_epoch,
    )


def _cid(kind: Kind, sector: SectorID, content: bytes) -> CID:
    digest = hashlib.blake2b(b"%s %s " % (kind.encode(), str(sector).encode()) + content).digest()
    return CID("b" + base64.b32encode(_PREFIX + digest).decode().lower().rstrip("="))
