"""Who may have a try at a window PoSt, and when a job has failed: pure.

A worker that cannot prove fails within a second, and would have used up a job's tries long before a healthy one asks. So
each worker has its own tries: one that has failed lets those go first that have not, waits a little before it tries
again, and a job is over only when nobody who could take it has a try left.
"""

import enum
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from msgspec import UnsetType, structs

from damocles.wire import wdpost

MAX_TRIES = 2  # of each worker
PAUSE_SECONDS = 30.0  # before the same worker tries again
# A worker that has asked for jobs since then could take one; workers ask once a minute unless told otherwise.
ASKING_SECONDS = 150.0
# Longer than an idle worker takes to ask: the manager's own machine may have what has waited for so long.
SPARE_SECONDS = 75.0


class Turn(enum.Enum):
    """What a worker that asks for a job is answered."""

    GIVE = enum.auto()
    LATER = enum.auto()
    OVER = enum.auto()  # neither it nor anybody else has a try left


@dataclass(slots=True)
class Askers:
    """Who has asked for which jobs, and when; forgotten with the process, since workers ask again soon."""

    _last: dict[str, tuple[wdpost.AllocateSpec, float]] = field(default_factory=dict)

    def heard(self, worker: str, spec: wdpost.AllocateSpec, now: float) -> None:
        """Take note that a worker asks."""
        self._last = {name: said for name, said in self._last.items() if said[1] + ASKING_SECONDS >= now}
        self._last[worker] = (spec, now)

    def of(self, record: wdpost.Record, at_work: Iterable[wdpost.Record], now: float) -> set[str]:
        """Return who could take a job: workers that asked for such jobs recently, or have another one."""
        asking = {
            name for name, (spec, at) in self._last.items() if at + ASKING_SECONDS >= now and fits(spec, record.input)
        }
        return asking | {
            other.worker for other in at_work if other.state is wdpost.State.RUNNING and other.id != record.id
        }


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


def confirmed(record: wdpost.Record, output: wdpost.Output) -> wdpost.Output:
    """Return a report of those faults alone that an earlier one names too; the whole one if it shares none."""
    shared = _named_before(record, output.faults or [])
    reasons = {number: reason for number, reason in output.reasons.items() if int(number) in shared}
    return structs.replace(output, faults=shared, reasons=reasons) if shared else output


def _named_before(record: wdpost.Record, faults: Collection[int]) -> list[int]:
    named = {number for failure in failures_of(record) for number in failure.faults}
    return sorted(named & set(faults))


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
