"""Which prover gets which window PoSt, and what its report makes of it. Methods are steps inside a transaction."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from msgspec import structs
from sqlalchemy import Connection

from damocles.manager.plans import wdpost_jobs, wdpost_loans, wdpost_turns
from damocles.manager.plans.wdpost_askers import Askers
from damocles.manager.plans.wdpost_turns import Turn
from damocles.wire import wdpost


@dataclass(slots=True)
class Lending:
    """Lends jobs out. Nobody could be heard of before `since`."""

    since: float
    askers: Askers

    def turns(
        self, tx: Connection, spec: wdpost.AllocateSpec, worker: str, now: float, *, is_spare: bool
    ) -> Iterator[tuple[wdpost.Record, Turn]]:
        """Yield the jobs for a worker, and whether it is its turn: those first that nobody works on, then those that others are slow at."""
        records = wdpost_jobs.select_all(tx)
        busy = self._busy(records, now)
        overdue: list[tuple[wdpost.Record, float]] = []
        for found in records:
            record = wdpost_loans.without_silent(found, self.since, now)
            if not wdpost_turns.fits(spec, record.input) or worker in wdpost_loans.loans(record):
                continue
            if record.state is wdpost.State.READY:
                others = self.askers.of(record, busy, now)
                if not (is_spare and wdpost_turns.is_for_others(record, record.updated_at, others - {worker}, now)):
                    yield record, wdpost_turns.turn(wdpost_turns.failures_of(record), worker, others, now)
            elif record.state is wdpost.State.RUNNING:
                alone = wdpost_loans.alone_seconds(record, records)
                if wdpost_loans.is_overdue(record, alone, self.since, now):
                    overdue.append((record, alone))
        for record, alone in overdue:
            others = self.askers.of(record, busy, now) - wdpost_loans.loans(record).keys() - {worker}
            free_at = wdpost_loans.free_at(record, alone, self.since)
            if not (is_spare and wdpost_turns.is_for_others(record, free_at, others, now)):
                may = wdpost_turns.may_join(wdpost_turns.failures_of(record), worker, now)
                yield record, Turn.GIVE if may else Turn.LATER

    def _busy(self, records: Sequence[wdpost.Record], now: float) -> list[wdpost.Record]:
        """Return the jobs whose provers may still come to an end with them, and could take others then."""
        return [
            record
            for record in records
            if record.state is wdpost.State.RUNNING
            and record.worker
            in wdpost_loans.hopeful(record, wdpost_loans.alone_seconds(record, records), self.since, now)
        ]

    def _others(self, record: wdpost.Record, records: Sequence[wdpost.Record], now: float) -> set[str]:
        """Return who could take a job, or may still come to an end with it."""
        askers = self.askers.of(record, self._busy(records, now), now)
        alone = wdpost_loans.alone_seconds(record, records)
        return askers - wdpost_loans.loans(record).keys() | wdpost_loans.hopeful(record, alone, self.since, now)

    def fail(self, tx: Connection, job_id: str, worker: str | None, reason: str, now: float) -> None:
        """Note a failure of a worker that has a job; one of anybody else says nothing about it."""
        record = wdpost_jobs.find(tx, job_id)
        if record is None or worker is None or worker not in wdpost_loans.loans(record):
            return
        after = wdpost_loans.failed(record, worker, now, reason)
        if after.state is wdpost.State.READY:
            workers = {worker, *self._others(record, wdpost_jobs.select_all(tx), now)}
            if wdpost_turns.is_over(wdpost_turns.failures_of(after), workers):
                failures = after.failures
                after = wdpost_jobs.finished(structs.replace(record, failures=failures), now, None, error=reason)
        wdpost_jobs.save(tx, after)

    def succeed(
        self, tx: Connection, job_id: str, worker: str | None, output: wdpost.Output, now: float
    ) -> wdpost.Record | None:
        """Keep an output if it counts; return the job as it is then. Faults lead to a new job."""
        record = wdpost_jobs.find(tx, job_id)
        if record is None:
            return None
        is_at_work = worker in wdpost_loans.loans(record)
        if not wdpost_turns.is_news(record, output, is_at_work=is_at_work):
            return None
        if output.faults:
            assert worker is not None
            others = self._others(record, wdpost_jobs.select_all(tx), now)
            if wdpost_turns.wants_another_opinion(record, worker, output.faults, others):
                doubt = wdpost_turns.doubt(worker, output)
                waiting = wdpost_loans.failed(record, worker, now, doubt, output.faults)
                wdpost_jobs.save(tx, waiting)
                return waiting
            output = wdpost_turns.confirmed(record, worker, output)
        named = worker if is_at_work and worker is not None else record.worker
        ended = wdpost_jobs.finished(structs.replace(record, worker=named), now, output, error="")
        wdpost_jobs.save(tx, ended)
        if not output.faults:
            wdpost_jobs.drop_followers(tx, record)
        elif left := [sector for sector in record.input.sectors or () if sector.number not in output.faults]:
            wdpost_jobs.follow(tx, record, left, now)
        return ended


def beat(tx: Connection, ids: Iterable[str], worker: str, now: float) -> list[str]:
    """Prolong the leases of a worker; return the jobs that it does not have."""
    lost = []
    for job_id in ids:
        record = wdpost_jobs.find(tx, job_id)
        if record is None or worker not in wdpost_loans.loans(record):
            lost.append(job_id)
        else:
            wdpost_jobs.save(tx, wdpost_loans.heard(record, worker, now))
    return lost
