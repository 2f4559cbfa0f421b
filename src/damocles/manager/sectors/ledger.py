"""Records of sectors: allocation, state, reports, and the end.

A sector is *online* while a worker seals it and *offline* once it is finished or aborted. The functions here are steps
inside a transaction: each takes the open `Connection` first.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import structlog
from sqlalchemy import Connection, Row, and_, bindparam, delete, func, insert, select, update

from damocles.manager import errors
from damocles.manager.db import tables
from damocles.manager.sectors import deals, numbers
from damocles.rpc import limits
from damocles.text import redaction
from damocles.wire import codec, records, seal
from damocles.wire.sectors import SealProof, SectorID, SectorSize

log = structlog.get_logger(__name__)

_sectors = tables.sectors

# Built once: SQLAlchemy takes longer to build a statement than SQLite to run it.
_IS_SECTOR = and_(_sectors.c.miner == bindparam("of_miner"), _sectors.c.number == bindparam("of_number"))
_SELECT = select(_sectors.c.online, _sectors.c.aborted, _sectors.c.attempt, _sectors.c.record).where(_IS_SECTOR)
_SELECT_ALL = (
    select(_sectors.c.record)
    .where(_sectors.c.online == bindparam("online"))
    .order_by(_sectors.c.miner, _sectors.c.number)
)
_SELECT_UNHEARD = (
    select(_sectors.c.record)
    .where(_sectors.c.allocated_to == bindparam("holder"), _sectors.c.online.is_(True), _sectors.c.worker.is_(None))
    .order_by(_sectors.c.allocated_at)
)
_COUNT_AT_WORK = (
    select(func.count())
    .select_from(_sectors)
    .where(_sectors.c.online.is_(True), _sectors.c.allocated_by == bindparam("receiver"))
)
_SELECT_STORE = select(tables.sector_files.c.sealed_store).where(
    tables.sector_files.c.miner == bindparam("of_miner"),
    tables.sector_files.c.number == bindparam("of_number"),
    tables.sector_files.c.kind == bindparam("of_kind"),
)
_INSERT = insert(_sectors)
_UPDATE = update(_sectors).where(_IS_SECTOR)
_INSERT_EVENT = insert(tables.sector_events)
_COUNT_EVENTS = (
    select(func.count())
    .select_from(tables.sector_events)
    .where(
        tables.sector_events.c.miner == bindparam("of_miner"), tables.sector_events.c.number == bindparam("of_number")
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Miner:
    """A miner that this manager allocates sectors for, with numbers above one, and up to `max_number` if there is one."""

    id: int
    proof: SealProof
    max_number: int | None = None
    above: int = 0
    enabled: bool = True  # for new sectors
    takes_deals: bool = True  # in new sectors

    def info(self) -> records.MinerInfo:
        """Return it as `GetInfo` answers."""
        window_v1_1 = 10 + int(self.proof) % 5
        return records.MinerInfo(self.id, f"f0{self.id}", int(self.proof.size), window_v1_1, int(self.proof))


@dataclass(frozen=True, slots=True)
class Receiver:
    """Whom work is handed out to: an address, or a store (`holders`), and who asks for it, for at most so many at once."""

    to: str
    by: str | None = None
    most: int | None = None


NOBODY = Receiver("")  # it waits to be handed out


def job_of(record: records.SectorState) -> records.Job:
    """Return the job class of a record."""
    if record.need_rebuild:
        return records.Job.REBUILD
    if record.unsealing:
        return records.Job.UNSEAL
    return records.Job.SNAPUP if record.upgraded else records.Job.SEALING


def with_numbers(tx: Connection, miners: Sequence[Miner], receiver: Receiver) -> list[Miner]:
    """Return those of some miners that have a number left, as far as is known without the chain.

    Raises:
        errors.ManagerError: The receiver has too much already.
    """
    if miners:
        _check_most(tx, receiver)
    return [miner for miner in miners if numbers.has_left(tx, miner.id, above=miner.above, most=miner.max_number)]


def allocate(
    tx: Connection, miner: Miner, receiver: Receiver, now: float, *, taken: Container[int] = ()
) -> seal.AllocatedSector | None:
    """Give out the next number of a miner; the first is 1. `None` if there is none.

    `taken` are the numbers that the chain has seen: nobody can seal under them.

    Raises:
        errors.ManagerError: The receiver has too much already.
    """
    _check_most(tx, receiver)
    number = numbers.take(tx, miner.id, above=miner.above, most=miner.max_number, taken=taken)
    if number is None:
        return None
    sector = SectorID(miner.id, number)
    allocation = {"attempt": 1, **_given(receiver, now)}
    columns = _columns(records.SectorState.fresh(sector, int(miner.proof)), now)
    tx.execute(_INSERT, {"miner": miner.id, "number": number, **allocation, **columns})
    return seal.AllocatedSector(sector, int(miner.proof))


def may_allocate(miner: Miner, spec: seal.AllocateSectorSpec) -> bool:
    """Return whether `spec` allows sectors of a miner, which gets new ones."""
    return miner.enabled and allows(spec, miner.id, int(miner.proof))


def allows(spec: seal.AllocateSectorSpec, miner: int, proof: int) -> bool:
    """Return whether a thread that wants a sector takes one of a miner, with this proof."""
    return (not spec.allowed_miners or miner in spec.allowed_miners) and (
        not spec.allowed_proofs or proof in spec.allowed_proofs
    )


def _given(receiver: Receiver, now: float) -> dict[str, object]:
    return {"allocated_to": receiver.to, "allocated_by": receiver.by, "allocated_at": now}


def _check_most(tx: Connection, receiver: Receiver) -> None:
    if receiver.most is None:
        return
    at_work = tx.execute(_COUNT_AT_WORK, {"receiver": receiver.by}).scalar_one()
    if at_work >= receiver.most:
        raise errors.ManagerError(
            f"{at_work} sectors are at work that {receiver.by} was given, and it gets no more: abort those that nobody"
            " works on (util sealer sectors abort)"
        )


def owners(tx: Connection) -> list[tuple[int, SectorSize]]:
    """Return the miners of the sectors that are kept, with the sizes of these."""
    # By the primary key, and one record of each: all of them are a fifth of a gigabyte where there are many sectors.
    firsts = select(_sectors.c.miner, func.min(_sectors.c.number)).group_by(_sectors.c.miner).order_by(_sectors.c.miner)
    found = [find(tx, SectorID(miner, number)) for miner, number in tx.execute(firsts).all()]
    return [(record.id.miner, SealProof(record.proof).size) for record in found if record is not None]


def load(tx: Connection, sector: SectorID) -> records.SectorState:
    """Return the record of a sector that is being worked on.

    Raises:
        errors.SectorNotFound: It is unknown, finished or aborted.
    """
    found = find(tx, sector, online=True)
    if found is None:
        raise errors.SectorNotFound
    return found


def find(tx: Connection, sector: SectorID, *, online: bool | None = None) -> records.SectorState | None:
    """Return a record, if `online` is given only from among the online or the offline ones."""
    row = _row(tx, sector)
    if row is None or online not in {None, row.online}:
        return None
    return _decoded(row.record)


def _decoded(text: str) -> records.SectorState:
    return codec.decode(text, records.SectorState)


def _row(tx: Connection, sector: SectorID) -> Row[bool, bool, int, str] | None:
    return tx.execute(_SELECT, {"of_miner": sector.miner, "of_number": sector.number}).first()


def select_all(tx: Connection, *, online: bool, job: records.Job = records.Job.ALL) -> list[records.SectorState]:
    """Return the online or the offline records of a job class, by miner and number."""
    rows = tx.execute(_SELECT_ALL, {"online": online}).scalars()
    found = [_decoded(text) for text in rows]
    return found if job is records.Job.ALL else [record for record in found if job_of(record) is job]


def save(tx: Connection, record: records.SectorState, now: float) -> None:
    """Replace the record of a sector."""
    tx.execute(_UPDATE, {"of_miner": record.id.miner, "of_number": record.id.number, **_columns(record, now)})


def put(
    tx: Connection, record: records.SectorState, allocation: Mapping[str, object], now: float, *, new: bool
) -> None:
    """Add the record of a sector, or replace it, with these columns of its allocation.

    No number up to its own is given to another sector of its miner afterwards.
    """
    sector, columns = record.id, {**allocation, **_columns(record, now)}
    if new:
        tx.execute(_INSERT, {"miner": sector.miner, "number": sector.number, **columns})
    else:
        tx.execute(_UPDATE, {"of_miner": sector.miner, "of_number": sector.number, **columns})
    numbers.pass_over(tx, sector.miner, sector.number)


def report(
    tx: Connection, sector: SectorID, report: seal.ReportStateReq, now: float, caller: str | None = None
) -> seal.SectorStateResp:
    """Keep a worker's report on a sector, and answer whether the manager has finished with it.

    Raises:
        errors.SectorNotFound: The sector was never allocated.
    """
    row = _row(tx, sector)
    if row is None:
        raise errors.SectorNotFound
    record = _decoded(row.record)
    if reports(tx, sector) < limits.REPORTS_OF_A_SECTOR:
        _append_event(tx, sector, row.attempt, report, now, caller)
    else:
        log.warning("a report is not kept in the sector's history, which has too many", sector=str(sector))
    if row.online:
        record = msgspec.structs.replace(record, latest_state=report)
        save(tx, record, now)
    return seal.SectorStateResp(sector, record.finalized, record.abort_reason)


def reports(tx: Connection, sector: SectorID) -> int:
    """Return how many reports of a sector are kept."""
    return int(tx.execute(_COUNT_EVENTS, {"of_miner": sector.miner, "of_number": sector.number}).scalar_one())


def finalize(tx: Connection, sector: SectorID, now: float) -> None:
    """Move a finished sector offline. Again for the same one does nothing: an answer may have been lost.

    Raises:
        errors.SectorNotFound: It is unknown or was aborted.
    """
    _end(tx, sector, None, now)


def abort(tx: Connection, sector: SectorID, reason: str, now: float) -> None:
    """Move a given-up sector offline. Again for the same one does nothing: the first reason stays.

    Raises:
        errors.SectorNotFound: It is unknown or finished.
    """
    _end(tx, sector, reason or "aborted without a reason", now)


def _end(tx: Connection, sector: SectorID, abort_reason: str | None, now: float) -> None:
    row = _row(tx, sector)
    aborts = abort_reason is not None
    reason = redaction.text(abort_reason or "")
    if row is None or (not row.online and row.aborted != aborts):
        raise errors.SectorNotFound
    if not row.online:
        return
    record = _decoded(row.record)
    job = job_of(record)
    if aborts and job in {records.Job.SEALING, records.Job.SNAPUP}:
        deals.release(tx, sector)
    if job is records.Job.SEALING:
        # A sector that is brought back gets deals anew: these may be another one's by then.
        pieces = None if aborts else record.pieces
        ended = msgspec.structs.replace(record, finalized=True, abort_reason=reason, pieces=pieces)
    elif job is records.Job.SNAPUP and aborts:
        files = tables.sector_files
        is_file = (files.c.miner == sector.miner, files.c.number == sector.number, files.c.kind == "upgrade")
        tx.execute(delete(files).where(*is_file))
        ended = msgspec.structs.replace(
            record,
            finalized=True,
            upgraded=False,
            pieces=None,
            upgrade_public=None,
            upgraded_info=None,
            upgrade_message_id=None,
            upgrade_landed_epoch=None,
        )
    else:
        # Whatever became of it, the sector on the chain is as good as it was.
        ended = msgspec.structs.replace(record, finalized=True, need_rebuild=False, unsealing=False)
    save(tx, ended, now)


def reopen(tx: Connection, record: records.SectorState, receiver: Receiver, now: float) -> int:
    """Bring a finished sector online with this record for more work, handed out; return the attempt's number.

    Raises:
        errors.ManagerError: The receiver has too much already.
    """
    _check_most(tx, receiver)
    fresh = msgspec.structs.replace(record, finalized=False, latest_state=None)
    key = {"of_miner": record.id.miner, "of_number": record.id.number}
    attempt = tx.execute(_SELECT, key).one().attempt + 1
    allocation = {
        "attempt": attempt,
        **_given(receiver, now),
        "holder": None,
        "holder_location": None,
        "last_used": None,
    }
    tx.execute(_UPDATE, {**key, **allocation, **_columns(fresh, now)})
    return int(attempt)


def unheard(tx: Connection, holder: str, job: records.Job) -> list[records.SectorState]:
    """Return the sectors that were handed to `holder` for a job without any report since, the oldest first.

    An empty holder finds what waits to be handed out.
    """
    found = (_decoded(text) for text in tx.execute(_SELECT_UNHEARD, {"holder": holder}).scalars())
    return [record for record in found if job_of(record) is job]


def files(tx: Connection, sector: SectorID, *, upgrade: bool) -> str | None:
    """Return the persist store that has the sector's files."""
    kind = "upgrade" if upgrade else "normal"
    return tx.execute(_SELECT_STORE, {"of_miner": sector.miner, "of_number": sector.number, "of_kind": kind}).scalar()


def place_files(tx: Connection, sector: SectorID, store: str, *, upgrade: bool) -> None:
    """Remember which persist store has the sector's files."""
    files = tables.sector_files
    kind = "upgrade" if upgrade else "normal"
    where = (files.c.miner == sector.miner, files.c.number == sector.number, files.c.kind == kind)
    stores = {"sealed_store": store, "cache_store": store}
    if tx.execute(update(files).where(*where).values(stores)).rowcount == 0:
        tx.execute(insert(files).values(miner=sector.miner, number=sector.number, kind=kind, **stores))


def _columns(record: records.SectorState, now: float) -> dict[str, object]:
    worker = record.latest_state.worker if record.latest_state else None
    return {
        "online": not record.finalized,
        "aborted": bool(record.abort_reason),
        "worker": worker.instance if worker else None,
        "location": worker.location if worker else None,
        "updated_at": now,
        "record": codec.encode(record).decode(),
    }


def _append_event(  # noqa: PLR0917 (one for each column)
    tx: Connection, sector: SectorID, attempt: int, report: seal.ReportStateReq, now: float, caller: str | None
) -> None:
    change, failure = report.state_change, report.failure
    columns = {
        "miner": sector.miner,
        "number": sector.number,
        "attempt": attempt,
        "at": now,
        "worker": report.worker.instance,
        "location": report.worker.location,
        "prev": change.prev,
        "next": change.next,
        "event": change.event,
        "failure_level": failure.level if failure else None,
        "failure_text": failure.desc if failure else None,
        "caller": caller,
    }
    tx.execute(_INSERT_EVENT, columns)
