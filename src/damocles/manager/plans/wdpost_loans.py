"""Who has a window PoSt: the prover that it was lent to last, and slower ones that may still bring a proof. Pure.

A prover may hang and go on sending heartbeats. So a job that one has had for longer than a proof takes is lent to another as well; the first proof
that verifies ends it, whosever that is. The job is the last prover's; if that one fails or falls silent, it is again the one's that had it before.
"""

from collections.abc import Iterable, Sequence

from msgspec import UNSET, UnsetType, structs

from damocles.manager.plans import wdpost_turns
from damocles.wire import wdpost

LEASE_SECONDS = 15.0
ALONE_SECONDS = (
    300.0  # that a prover has a job alone, if nothing else is known: a sixth of a window of the main network
)
_LEAST_ALONE_SECONDS = 30.0
_USUAL_TIMES = 2  # as long as the slowest proof of so many sectors
_HOPE_TIMES = 2  # the time alone: until then a slower prover counts as one that has not failed


def slower(record: wdpost.Record) -> dict[str, wdpost.Loan]:
    """Return the provers that had a job before the one that has it now, and are at work still; the last one last."""
    return {} if isinstance(record.slower, UnsetType) else record.slower


def loans(record: wdpost.Record) -> dict[str, wdpost.Loan]:
    """Return all provers that are at work at a job."""
    if record.state is not wdpost.State.RUNNING:
        return {}
    return slower(record) | {record.worker: wdpost.Loan(record.started_at, record.heartbeat_at)}


def lent(record: wdpost.Record, worker: str, now: float) -> wdpost.Record:
    """Return a job as it is when a worker has just got it; why the last try failed stays."""
    at = int(now)
    return structs.replace(
        record,
        state=wdpost.State.RUNNING,
        worker=worker,
        tries=record.tries + 1,
        started_at=at,
        heartbeat_at=at,
        updated_at=at,
        slower=loans(record) or UNSET,
    )


def heard(record: wdpost.Record, worker: str, now: float) -> wdpost.Record:
    """Return a job after a heartbeat of one that is at work at it."""
    at = int(now)
    if worker == record.worker:
        return structs.replace(record, heartbeat_at=at, updated_at=at)
    beaten = structs.replace(slower(record)[worker], heartbeat_at=at)
    return structs.replace(record, slower=slower(record) | {worker: beaten})


def without(record: wdpost.Record, worker: str, at: float) -> wdpost.Record:
    """Return a job of which a prover is not at work any more; that is no failure."""
    others = {name: loan for name, loan in slower(record).items() if name != worker}
    if worker != record.worker:
        return structs.replace(record, slower=others or UNSET)
    if not others:
        return ready(record, at)
    name, loan = others.popitem()
    return structs.replace(
        record,
        worker=name,
        started_at=loan.started_at,
        heartbeat_at=loan.heartbeat_at,
        updated_at=int(at),
        slower=others or UNSET,
    )


def failed(record: wdpost.Record, worker: str, at: float, reason: str, faults: Sequence[int] = ()) -> wdpost.Record:
    """Return a job as it is when a prover has failed, or fallen silent."""
    noted = wdpost_turns.failed(record, worker, at, reason, faults)
    return structs.replace(without(noted, worker, at), error=reason)


def ready(record: wdpost.Record, now: float) -> wdpost.Record:
    """Return a job as it is when nobody works on it."""
    return structs.replace(
        record,
        state=wdpost.State.READY,
        output=None,
        worker="",
        started_at=0,
        heartbeat_at=0,
        finished_at=0,
        updated_at=int(now),
        slower=UNSET,
    )


def is_silent(loan: wdpost.Loan, since: float, now: float) -> bool:
    """Return whether nothing was heard of a prover for too long, in a process that listens `since` then."""
    return max(float(loan.heartbeat_at), since) + LEASE_SECONDS < now


def without_silent(record: wdpost.Record, since: float, now: float) -> wdpost.Record:
    """Return a job without the provers that have fallen silent, which have failed."""
    for worker, loan in loans(record).items():
        if is_silent(loan, since, now):
            record = failed(record, worker, loan.heartbeat_at, f"heartbeat timeout: {worker} is silent")
    return record


def alone_seconds(record: wdpost.Record, records: Iterable[wdpost.Record]) -> float:
    """Return how long a prover has a job before another may have it, too: what the longest proof of so many sectors took, twice.

    It is never longer than what the job says, a share of its window.
    """
    most = record.alone_seconds if isinstance(record.alone_seconds, int) else ALONE_SECONDS
    took = [
        float(other.finished_at - other.started_at)
        for other in records
        if other.output is not None
        and other.output.proofs
        and other.input.proof_name == record.input.proof_name
        and len(other.input.sectors or ()) >= len(record.input.sectors or ())
    ]
    return min(most, max(_LEAST_ALONE_SECONDS, _USUAL_TIMES * max(took))) if took else most


def free_at(record: wdpost.Record, alone: float, since: float) -> float:
    """Return when the prover that has a job has had it alone for long enough.

    A manager that was away has heard of no proof, and waits for a moment; the prover went on meanwhile.
    """
    return max(record.started_at + alone, since + min(alone, _LEAST_ALONE_SECONDS))


def is_overdue(record: wdpost.Record, alone: float, since: float, now: float) -> bool:
    """Return whether another prover may have a job as well."""
    return record.state is wdpost.State.RUNNING and free_at(record, alone, since) < now


def hopeful(record: wdpost.Record, alone: float, since: float, now: float) -> set[str]:
    """Return the provers that have a job and may still come to an end with it: not only heartbeats are to be expected of them."""
    return {
        name for name, loan in loans(record).items() if max(float(loan.started_at), since) + _HOPE_TIMES * alone >= now
    }
