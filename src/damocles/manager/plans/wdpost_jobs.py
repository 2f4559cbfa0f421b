"""Rows of window PoSt jobs, and the sectors that they are made of. Functions are steps inside a transaction."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET, UnsetType, structs
from sqlalchemy import Connection, delete, exists, insert, select, update

from damocles.manager import errors
from damocles.manager.alerts import posts
from damocles.manager.db import tables
from damocles.manager.plans import wdpost_loans, wdpost_turns
from damocles.manager.sectors import ledger
from damocles.wire import codec, commitments, proving, records, wdpost
from damocles.wire.codec import Bytes32
from damocles.wire.sectors import SectorID, SectorSize

_jobs = tables.wdpost_jobs
_files = tables.sector_files

# Sectors of a partition; the actors' `window_post_partition_sectors`.
_PARTITION_SECTORS = {SectorSize.GIB32: 2349, SectorSize.GIB64: 2300}
_SMALL_PARTITION_SECTORS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """When a deadline opened, which one it is, and its randomness."""

    epoch: int
    deadline: int
    seed: Bytes32


def select_all(tx: Connection) -> list[wdpost.Record]:
    """Return all jobs, the oldest first."""
    return [codec.decode(text, wdpost.Record) for text in _texts(tx)]


def outlines(tx: Connection) -> list[posts.Outline]:
    """Return all jobs without their sectors, the oldest first."""
    return [codec.decode(text, posts.Outline) for text in _texts(tx)]


def _texts(tx: Connection) -> Iterable[str]:
    return tx.execute(select(_jobs.c.record).order_by(_jobs.c.created_at, _jobs.c.partitions, _jobs.c.round)).scalars()


def find(tx: Connection, job_id: str) -> wdpost.Record | None:
    """Return a job."""
    text = tx.execute(select(_jobs.c.record).where(_jobs.c.id == job_id)).scalar()
    return codec.decode(text, wdpost.Record) if text is not None else None


def save(tx: Connection, record: wdpost.Record) -> None:
    """Replace a job."""
    values = {"state": record.state.value, "record": codec.encode(record).decode()}
    tx.execute(update(_jobs).where(_jobs.c.id == record.id).values(values))


def remove(tx: Connection, job_id: str) -> None:
    """Forget a job."""
    tx.execute(delete(_jobs).where(_jobs.c.id == job_id))


def remove_before(tx: Connection, created_at: float) -> None:
    """Forget the jobs that were made before a time."""
    tx.execute(delete(_jobs).where(_jobs.c.created_at < created_at))


def has_before(tx: Connection, created_at: float) -> bool:
    """Return whether there are such jobs."""
    return bool(tx.execute(select(exists().where(_jobs.c.created_at < created_at))).scalar())


def has_of(tx: Connection, challenge: Challenge) -> bool:
    """Return whether jobs were made for a challenge."""
    return bool(tx.execute(select(exists().where(_jobs.c.challenge_epoch == challenge.epoch))).scalar())


def names_of(partitions: Sequence[int]) -> str:
    """Return how partitions are written in a row."""
    return json.dumps(list(partitions))


def seed_of(randomness: bytes) -> Bytes32:
    """Return the seed that follows from the chain's randomness: an element of the field."""
    return Bytes32(randomness[:31] + bytes([randomness[31] & 0x3F]))


def work_of(miner: ledger.Miner, challenge: Challenge, group: list[wdpost.Sector]) -> wdpost.Input:
    """Return what is to be proved of a miner."""
    return wdpost.Input(group, miner.id, miner.proof.window_name, challenge.seed)


def make_of(
    tx: Connection, miner: ledger.Miner, challenge: Challenge, partition: int, group: list[wdpost.Sector], *, now: float
) -> wdpost.Record:
    """Make a job for some sectors of a miner, in a partition."""
    return make(tx, work_of(miner, challenge, group), challenge, [partition], now=now)


def make(
    tx: Connection,
    work: wdpost.Input,
    challenge: Challenge,
    partitions: list[int],
    *,
    now: float,
    turn: int = 0,
    alone_seconds: int | UnsetType = UNSET,
) -> wdpost.Record:
    """Make a job for the sectors of some partitions; `turn` counts how often some of them turned out faulty."""
    record = wdpost.Record(
        id=_job_id(challenge, partitions, work),
        deadline=challenge.deadline,
        partitions=partitions,
        input=work,
        created_at=int(now),
        updated_at=int(now),
        alone_seconds=alone_seconds,
    )
    tx.execute(
        insert(_jobs).values(
            id=record.id,
            miner=work.miner,
            deadline=record.deadline,
            partitions=names_of(partitions),
            challenge_epoch=challenge.epoch,
            round=turn,
            state=record.state.value,
            created_at=now,
            record=codec.encode(record).decode(),
        )
    )
    return record


def sector_of(tx: Connection, miner: int, info: proving.Extended) -> wdpost.Sector:
    """Return a sector to prove, with the store that has its files.

    Raises:
        errors.ManagerError: No store is known, or the chain's CommR is not.
    """
    is_upgrade = info.key_cid is not None
    store = ledger.files(tx, SectorID(miner, info.number), upgrade=is_upgrade)
    if store is None or info.sealed_cid is None:
        what = "its sealed CID is not said" if store is not None else "no store is known to have its files"
        raise errors.ManagerError(f"sector {info.number}: {what}")
    comm_r = commitments.commitment_of(info.sealed_cid)
    return wdpost.Sector(info.number, comm_r, is_upgrade, wdpost.Accesses(store, store))


def follow(tx: Connection, record: wdpost.Record, left: list[wdpost.Sector], now: float) -> wdpost.Record:
    """Make the job that follows one with faults, for the sectors that are left.

    One that followed when the job had been tried before its reset is forgotten: it was for other sectors, or an old look.
    """
    _drop_followers(tx, record, finished=True)
    row = tx.execute(select(_jobs.c.challenge_epoch, _jobs.c.round).where(_jobs.c.id == record.id)).one()
    challenge = Challenge(epoch=row.challenge_epoch, deadline=record.deadline, seed=record.input.seed)
    work = structs.replace(record.input, sectors=left)
    turn, alone = row.round + 1, record.alone_seconds
    return make(tx, work, challenge, record.partitions, now=now, turn=turn, alone_seconds=alone)


def drop_followers(tx: Connection, record: wdpost.Record) -> None:
    """Forget the unfinished jobs that follow from faults in a job, whose sectors are proved all the same."""
    _drop_followers(tx, record, finished=False)


def _drop_followers(tx: Connection, record: wdpost.Record, *, finished: bool) -> None:
    row = tx.execute(select(_jobs).where(_jobs.c.id == record.id)).one()
    followers = delete(_jobs).where(
        _jobs.c.miner == row.miner,
        _jobs.c.deadline == row.deadline,
        _jobs.c.partitions == row.partitions,
        _jobs.c.challenge_epoch == row.challenge_epoch,
        _jobs.c.round > row.round,
    )
    tx.execute(followers if finished else followers.where(_jobs.c.state != wdpost.State.FINISHED.value))


def find_open(tx: Connection, miner: ledger.Miner, challenge: Challenge, partition: int) -> wdpost.Record | None:
    """Return the job of a partition that is not finished yet, or was made for the same challenge."""
    key = (
        _jobs.c.miner == miner.id,
        _jobs.c.deadline == challenge.deadline,
        _jobs.c.partitions == names_of([partition]),
    )
    newest = select(_jobs).where(*key).order_by(_jobs.c.challenge_epoch.desc(), _jobs.c.round.desc())
    row = tx.execute(newest).first()
    if row is None or (row.state == wdpost.State.FINISHED and row.challenge_epoch != challenge.epoch):
        return None
    return codec.decode(row.record, wdpost.Record)


def reset(record: wdpost.Record, now: float) -> wdpost.Record:
    """Return a job as if nobody had tried it yet."""
    return structs.replace(wdpost_loans.ready(record, now), error="", tries=0, failures=UNSET)


def take_back(tx: Connection, worker: str, now: float) -> None:
    """Let others have the jobs of a worker that has none any more."""
    for record in select_all(tx):
        if worker in wdpost_loans.loans(record):
            save(tx, wdpost_loans.without(record, worker, now))


def finished(record: wdpost.Record, now: float, output: wdpost.Output | None, *, error: str) -> wdpost.Record:
    """Return a job as it is when it is over."""
    at = int(now)
    state = wdpost.State.FINISHED
    return structs.replace(record, state=state, output=output, error=error, finished_at=at, updated_at=at, slower=UNSET)


def given_up(record: wdpost.Record, now: float) -> wdpost.Record:
    """Return a failed job as it is when nobody has a try left; it shows who failed last."""
    last = wdpost_turns.failures_of(record)[-1]
    return finished(structs.replace(record, worker=last.worker), now, None, error=last.reason)


def brief(record: wdpost.Record) -> wdpost.Brief:
    """Return a job as lists have it."""
    fields: dict[str, Any] = structs.asdict(record)
    faults = (record.output.faults if record.output else None) or ()
    fields["input"] = wdpost.Input(None, record.input.miner, "", Bytes32(bytes(32)))
    fields["output"] = wdpost.Output(None, None, record.output.reasons if record.output else {})
    return wdpost.Brief(**fields, sectors=len(record.input.sectors or ()), faults=len(faults))


def partitions_of(tx: Connection, miner: ledger.Miner) -> list[list[wdpost.Sector]]:
    """Return the sectors whose files are in persist stores, by number, in groups as large as a partition."""
    rows = tx.execute(select(_files).where(_files.c.miner == miner.id))
    stores = {(row.number, row.kind): wdpost.Accesses(row.sealed_store, row.cache_store) for row in rows}
    found = [
        sector
        for number in sorted({number for number, _ in stores})
        if (sector := _sector(ledger.find(tx, SectorID(miner.id, number)), stores)) is not None
    ]
    step = _PARTITION_SECTORS.get(miner.proof.size, _SMALL_PARTITION_SECTORS)
    return [found[start : start + step] for start in range(0, len(found), step)]


def _sector(record: records.SectorState | None, stores: dict[tuple[int, str], wdpost.Accesses]) -> wdpost.Sector | None:
    if record is None or record.abort_reason or record.removed:
        return None
    number, info = record.id.number, record.upgraded_info
    # The chain has the replica from before until the message of the upgrade has landed.
    landed = record.upgraded and record.upgrade_landed_epoch is not None
    if landed and info is not None and info.sealed_cid is not None and (number, "upgrade") in stores:
        return wdpost.Sector(number, commitments.commitment_of(info.sealed_cid), True, stores[number, "upgrade"])
    if record.pre_commit is not None and (number, "normal") in stores:
        return wdpost.Sector(
            number, commitments.commitment_of(record.pre_commit.comm_r), False, stores[number, "normal"]
        )
    return None


def _job_id(challenge: Challenge, partitions: Sequence[int], work: wdpost.Input) -> str:
    """Return an id that follows from what is to be proved, so that the same job is never there twice."""
    named = codec.encode([challenge.epoch, challenge.deadline, partitions, work])
    return hashlib.blake2b(named, digest_size=8).hexdigest()
