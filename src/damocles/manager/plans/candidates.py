"""The sectors that may be upgraded: proven, with no deals, and at no work. Making them such is an operator's act."""

from collections.abc import Collection, Iterator

from sqlalchemy import Connection, delete, insert, select

from damocles.manager.db import tables
from damocles.manager.plans import handouts
from damocles.manager.sectors import ledger
from damocles.wire import records, seal
from damocles.wire.sectors import SectorID

_candidates = tables.snapup_candidates


def fetch(tx: Connection, miner: int, deadline: int) -> seal.SnapUpFetchResult:
    """Make candidates of all sectors of a miner that can be, in this deadline."""
    known = set(tx.execute(select(_candidates.c.number).where(_candidates.c.miner == miner)).scalars())
    good = [
        record.id.number
        for record in ledger.select_all(tx, online=False)
        if record.id.miner == miner and _is_one(tx, record)
    ]
    new = [number for number in good if number not in known]
    for number in new:
        tx.execute(insert(_candidates).values(miner=miner, number=number, deadline=deadline))
    return seal.SnapUpFetchResult(len(good), len(new))


def by_deadline(tx: Connection, miner: int) -> dict[int, list[int]]:
    """Return the numbers of a miner's candidates by deadline."""
    found: dict[int, list[int]] = {}
    for row in tx.execute(select(_candidates).where(_candidates.c.miner == miner)):
        found.setdefault(row.deadline, []).append(row.number)
    return found


def allowed(
    tx: Connection, miners: Collection[ledger.Miner], spec: seal.AllocateSectorSpec
) -> Iterator[records.SectorState]:
    """Yield the candidates that a worker may upgrade; what is none any more is dropped on the way."""
    for row in tx.execute(select(_candidates).order_by(_candidates.c.miner, _candidates.c.number)).all():
        sector = SectorID(row.miner, row.number)
        found = ledger.find(tx, sector)
        if found is None or not _is_one(tx, found):
            drop(tx, sector)
        elif handouts.allows(spec, miners, found):
            yield found


def drop(tx: Connection, sector: SectorID) -> None:
    """Make a sector no candidate any more."""
    tx.execute(delete(_candidates).where(_candidates.c.miner == sector.miner, _candidates.c.number == sector.number))


def _is_one(tx: Connection, record: records.SectorState) -> bool:
    return (
        record.finalized
        and not record.removed
        and not record.abort_reason
        and not record.upgraded
        and not record.pieces
        and not record.deals
        and record.pre_commit is not None
        and record.submitted_proof is not None
        and ledger.files(tx, record.id, upgrade=False) is not None
    )
