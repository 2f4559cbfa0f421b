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


def failed(record: wdpost.Record, at: float, reason: str, faults: Sequence[int] = ()) -> wdpost.Record:
    """Return a job with one more failure of the worker that has it."""
    failure = wdpost.Failure(record.worker, int(at), reason, list(faults))
    return structs.replace(record, failures=[*failures_of(record), failure])


def wants_another_opinion(record: wdpost.Record, faults: Collection[int], others: Collection[str]) -> bool:
    """Return whether another worker has to check the faults that the present one reports.

    A sector that is declared faulty costs the miner, and a mount that one machine has lost looks the same. Where two reports
    name different sectors, a third worker is asked. If nobody else can look, the last report counts.
    """
    untried = set(others) - {record.worker} - {failure.worker for failure in failures_of(record)}
    return bool(untried) and not _named_before(record, faults)


def doubt(worker: str, output: wdpost.Output) -> str:
    """Return why a job with faults that one worker reports is not over, for people."""
    numbers = output.faults or []
    reason = output.reasons.get(str(numbers[0]), "it does not say why")
    return f"{worker} reports {len(numbers)} as faulty, {numbers[0]} first: {reason}; another worker is asked"


def confirmed(record: wdpost.Record, output: wdpost.Output) -> wdpost.Output:
    """Return a report of those faults alone that an earlier one names too; the whole one if it shares none."""
    shared = _named_before(record, output.faults or [])
    reasons = {number: reason for number, reason in output.reasons.items() if int(number) in shared}
    return structs.replace(output, faults=shared, reasons=reasons) if shared else output


def _named_before(record: wdpost.Record, faults: Collection[int]) -> list[int]:
    named = {number for failure in failures_of(record) for number in failure.faults}
    return sorted(named & set(faults))


def is_news(record: wdpost.Record, output: wdpost.Output) -> bool:
    """Return whether an output counts: a proof until there is one, faults only from the worker that has the job."""
    if output.faults:
        return record.state is wdpost.State.RUNNING and output.worker in {"", record.worker}
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


def is_for_others(record: wdpost.Record, others: Collection[str], now: float) -> bool:
    """Return whether a machine that only helps out leaves a job to workers: one of them will come for it, and has not failed."""
    untried = set(others) - {failure.worker for failure in failures_of(record)}
    return bool(untried) and record.updated_at + SPARE_SECONDS > now


def _allows(allowed: Collection[object] | None, value: object) -> bool:
    return not allowed or value in allowed
