"""Who may have a try at a window PoSt, and when a job has failed: pure.

A worker that cannot prove fails within a second, and would have used up a job's tries long before a healthy one asks. So
each worker has its own tries: one that has failed lets those go first that have not, waits a little before it tries
again, and a job is over only when nobody who could take it has a try left.
"""

import enum
from collections import Counter
from collections.abc import Collection, Sequence

from msgspec import UnsetType, structs

from damocles.wire import wdpost

MAX_TRIES = 2  # of each worker
PAUSE_SECONDS = 30.0  # before the same worker tries again
MANAGERS_MACHINE = "the manager's machine"  # what helps out; one of several managers adds which it is
# Longer than an idle worker takes to ask: the manager's own machine may have what has waited for so long.
SPARE_SECONDS = 75.0


class Turn(enum.Enum):
    """What a worker that asks for a job is answered."""

    GIVE = enum.auto()
    LATER = enum.auto()
    OVER = enum.auto()  # neither it nor anybody else has a try left


def fits(spec: wdpost.AllocateSpec, work: wdpost.Input) -> bool:
    """Return whether a worker is willing to prove this."""
    return _allows(spec.allowed_miners, work.miner) and _allows(spec.allowed_proofs, work.proof_name)


def failures_of(record: wdpost.Record) -> list[wdpost.Failure]:
    """Return the tries that came to nothing, the oldest first."""
    return [] if isinstance(record.failures, UnsetType) else record.failures


def failed(record: wdpost.Record, worker: str, at: float, reason: str, faults: Sequence[int] = ()) -> wdpost.Record:
    """Return a job with one more failure of a worker."""
    failure = wdpost.Failure(worker, int(at), reason, list(faults))
    return structs.replace(record, failures=[*failures_of(record), failure])


def wants_another_opinion(record: wdpost.Record, worker: str, faults: Collection[int], others: Collection[str]) -> bool:
    """Return whether another worker has to check the faults that one reports.

    A sector that is declared faulty costs the miner, and a mount that one machine has lost looks the same. Where two reports
    name different sectors, a third worker is asked. If nobody else can look, the last report counts.
    """
    untried = set(others) - {worker} - {failure.worker for failure in failures_of(record)}
    return bool(untried) and not _named_before(record, worker, faults)


def doubt(worker: str, output: wdpost.Output) -> str:
    """Return why a job with faults that one worker reports is not over, for people."""
    numbers = output.faults or []
    reason = output.reasons.get(str(numbers[0]), "it does not say why")
    return f"{worker} reports {len(numbers)} as faulty, {numbers[0]} first: {reason}; another worker is asked"


def confirmed(record: wdpost.Record, worker: str, output: wdpost.Output) -> wdpost.Output:
    """Return a report of those faults alone that an earlier one of another worker names too; the whole one if it shares none."""
    shared = _named_before(record, worker, output.faults or [])
    reasons = {number: reason for number, reason in output.reasons.items() if int(number) in shared}
    return structs.replace(output, faults=shared, reasons=reasons) if shared else output


def _named_before(record: wdpost.Record, worker: str, faults: Collection[int]) -> list[int]:
    named = {number for failure in failures_of(record) if failure.worker != worker for number in failure.faults}
    return sorted(named & set(faults))


def is_news(record: wdpost.Record, output: wdpost.Output, *, is_at_work: bool) -> bool:
    """Return whether an output counts: a proof until there is one, faults only from a worker that has the job."""
    if output.faults:
        return is_at_work
    return record.state is not wdpost.State.FINISHED or record.output is None or bool(record.output.faults)


def is_over(failures: Sequence[wdpost.Failure], workers: Collection[str]) -> bool:
    """Return whether none of these workers has a try left."""
    tries = Counter(failure.worker for failure in failures)
    return all(tries[worker] >= MAX_TRIES for worker in workers)


def turn(failures: Sequence[wdpost.Failure], worker: str, others: Collection[str], now: float) -> Turn:
    """Decide whether a worker may have a job that nobody works on, while `others` could take it too."""
    ours = [failure for failure in failures if failure.worker == worker]
    if not ours:
        return Turn.GIVE
    if is_over(failures, {worker, *others}):
        return Turn.OVER
    untried = set(others) - {failure.worker for failure in failures}
    rests = max(failure.at for failure in ours) + PAUSE_SECONDS > now
    return Turn.LATER if untried or rests or len(ours) >= MAX_TRIES else Turn.GIVE


def may_join(failures: Sequence[wdpost.Failure], worker: str, now: float) -> bool:
    """Return whether a worker may have a job that another one is slow at: unless it has just failed at it."""
    return not any(failure.worker == worker and failure.at + PAUSE_SECONDS > now for failure in failures)


def is_for_others(record: wdpost.Record, free_since: float, others: Collection[str], now: float) -> bool:
    """Return whether a machine that only helps out leaves a job to workers: one of them will come for it, and has not failed.

    Another manager's machine would wait for this one in turn. Where windows are short there may not be so much time: no worker is waited for
    longer than one may have the job alone.
    """
    workers = {one for one in others if not one.startswith(MANAGERS_MACHINE)}
    untried = workers - {failure.worker for failure in failures_of(record)}
    alone = record.alone_seconds
    seconds = SPARE_SECONDS if isinstance(alone, UnsetType) else min(SPARE_SECONDS, alone)
    return bool(untried) and free_since + seconds > now


def _allows(allowed: Collection[object] | None, value: object) -> bool:
    return not allowed or value in allowed
