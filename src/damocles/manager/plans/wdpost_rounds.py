"""What came of a window PoSt over all its jobs: the first one, and those that followed without faulty sectors.

The first job of partitions and a challenge has round 0; each that follows from faults has one more. Functions are steps inside a
transaction.
"""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, delete, select

from damocles.manager.db import tables
from damocles.manager.plans import wdpost_jobs
from damocles.wire import codec, wdpost

_jobs = tables.wdpost_jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A proof that verifies, of all sectors but the faulty ones, which have reasons; or why there is none."""

    proof: bytes = b""
    faults: dict[int, str]
    worker: str
    error: str = ""


def remove(tx: Connection, miner: int, challenge: wdpost_jobs.Challenge, partitions: list[int]) -> None:
    """Forget all jobs of partitions at a challenge. Who proves one of them is told at the next heartbeat."""
    tx.execute(delete(_jobs).where(_which(miner, challenge, partitions)))


def outcome(tx: Connection, miner: int, challenge: wdpost_jobs.Challenge, partitions: list[int]) -> Outcome | None:
    """Return what came of the jobs of partitions at a challenge, `None` while a prover may still bring a proof."""
    faults: dict[int, str] = {}
    rounds = _rounds(tx, miner, challenge, partitions)
    if not rounds:
        return Outcome(faults={}, worker="", error="its job was removed")
    for record in rounds:
        output = record.output
        if record.state is not wdpost.State.FINISHED:
            return None
        if output is None or record.error:
            return Outcome(faults=faults, worker=record.worker, error=record.error or "there is no proof")
        if not output.faults:
            return Outcome(proof=b"".join(output.proofs or ()), faults=faults, worker=record.worker)
        faults |= {number: output.reasons.get(str(number), "it cannot be proved") for number in output.faults}
    named = ", ".join(f"{number}: {reason}" for number, reason in list(faults.items())[:3])
    return Outcome(faults=faults, worker=rounds[-1].worker, error=f"no sector can be proved: {named}")


def _rounds(tx: Connection, miner: int, challenge: wdpost_jobs.Challenge, partitions: list[int]) -> list[wdpost.Record]:
    query = select(_jobs.c.record).where(_which(miner, challenge, partitions)).order_by(_jobs.c.round)
    return [codec.decode(text, wdpost.Record) for text in tx.execute(query).scalars()]


def _which(miner: int, challenge: wdpost_jobs.Challenge, partitions: list[int]) -> ColumnElement[bool]:
    return and_(
        _jobs.c.miner == miner,
        _jobs.c.deadline == challenge.deadline,
        _jobs.c.partitions == wdpost_jobs.names_of(partitions),
        _jobs.c.challenge_epoch == challenge.epoch,
    )
