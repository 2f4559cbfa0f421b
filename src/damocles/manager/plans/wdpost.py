"""Window PoSt jobs: made for sectors that are persisted, lent to workers, and finished by proofs that verify.

A job is lent by a lease: its worker has to send a heartbeat every 15 seconds, or another one may take the job; and if one is slow, another
may take it as well (`wdpost_loans`). Each worker has two tries (`wdpost_turns`); when nobody has one left, a person has to look
and `reset` it. A proof that verifies is taken from whoever sends it, and the first one stays. Faults are taken from the worker that has the job (one of the original does not name itself). If another
worker could look too, it is asked first; then those that both name end the job, and one without them follows, in which what only
one of them names is looked at anew. A proof of all sectors that comes yet outweighs them.

Nothing runs by itself: what is due, expired or too old is handled when a worker asks for jobs, somebody lists them, or
the alerts look.
"""

from collections.abc import Callable, Collection

import structlog
from sqlalchemy import Connection

from damocles import methods, pulse
from damocles.chain.addresses import Address
from damocles.manager import errors
from damocles.manager.alerts import posts
from damocles.manager.callers import holders, names
from damocles.manager.chain import interface
from damocles.manager.db.engine import Database
from damocles.manager.plans import wdpost_askers, wdpost_jobs, wdpost_lending, wdpost_loans, wdpost_turns
from damocles.manager.plans.wdpost_askers import Askers
from damocles.manager.plans.wdpost_turns import Turn
from damocles.manager.sectors import ledger
from damocles.rpc import core
from damocles.wire import proving, tasks, wdpost
from damocles.wire.codec import Bytes32

log = structlog.get_logger(__name__)

DEADLINES = 48  # of a proving period
_KEPT_SECONDS = 25 * 3600.0


class WdPoSt:
    """Handlers of `Venus.WdPoSt*`, as of a manager with `--worker-prover`, and of `Damocles.MockWdPoSt`.

    `every_seconds` is the length of a deadline; without it jobs are only made when somebody asks.
    """

    def __init__(
        self,
        database: Database,
        chain: interface.Chain,
        verifier: interface.Verifier,
        miners: Collection[ledger.Miner],
        clock: Callable[[], float],
        *,
        every_seconds: float | None = None,
        naming: names.Names | None = None,
    ) -> None:
        self._database = database
        self._chain = chain
        self._verifier = verifier
        self._miners = miners
        self._clock = clock
        self._every_epochs = max(1, round(every_seconds / chain.network.block_seconds)) if every_seconds else None
        since = clock()  # nobody could be heard of before
        self._lending = wdpost_lending.Lending(since, Askers(database, since))
        self._borrowers = holders.Borrowers(naming or names.Names())
        self.changed = pulse.Pulse()  # beats when something has come of a job, or there is a new one

    def register(self, service: core.Service) -> None:
        """Serve the methods."""
        service.add(methods.wdpost.allocate_jobs, self.allocate_jobs)
        service.add(methods.wdpost.heartbeat_jobs, self.heartbeat_jobs)
        service.add(methods.wdpost.finish_job, self.finish_job)
        service.add(methods.wdpost.reset_job, self.reset_job)
        service.add(methods.wdpost.remove_job, self.remove_job)
        service.add(methods.wdpost.all_jobs, self.all_jobs)
        service.add(methods.wdpost.make_jobs, self.make)
        service.add(methods.wdpost.simulate, self.simulate)

    # For workers ----------------------------------------------------------------------------------------------------

    async def allocate_jobs(
        self, call: core.Call, spec: wdpost.AllocateSpec, count: int, worker: str
    ) -> list[wdpost.Job]:
        """Lend up to `count` jobs, the oldest first."""
        lent = await self.lend(spec, count, worker)
        for job in lent:
            self._borrowers.lent(job.id, worker, call)
        return lent

    async def lend(
        self, spec: wdpost.AllocateSpec, count: int, worker: str, *, is_spare: bool = False
    ) -> list[wdpost.Job]:
        """Lend up to `count` jobs to a prover, the oldest first; to one `is_spare` what others do not come for."""
        await self._make_due()
        now = self._clock()
        await self._lending.askers.restore(now)
        if self._lending.askers.heard(worker, spec, now):
            await self._database.write(lambda tx: wdpost_askers.keep(tx, worker, spec, now), durable=False)

        def turns(tx: Connection) -> list[tuple[wdpost.Record, Turn]]:
            found = self._lending.turns(tx, spec, worker, now, is_spare=is_spare)
            return [turn for turn in found if turn[1] is not Turn.LATER]

        if not await self._database.read(turns):
            return []  # without a turn at writing: idle workers ask all the time

        def lend(tx: Connection) -> list[wdpost.Job]:
            lent: list[wdpost.Job] = []
            for record, turn in turns(tx):
                if turn is Turn.OVER:
                    wdpost_jobs.save(tx, wdpost_jobs.given_up(record, now))
                elif len(lent) < count:
                    wdpost_jobs.save(tx, wdpost_loans.lent(record, worker, now))
                    lent.append(wdpost.Job(record.id, record.input))
            return lent

        lent = await self._database.write(lend)
        for job in lent:
            log.info("window PoSt lent", job=job.id, worker=worker, sectors=len(job.input.sectors or ()))
        return lent

    async def heartbeat_jobs(self, call: core.Call, ids: list[str], worker: str) -> None:
        """Prolong leases: all that can be, whatever is wrong with others.

        Raises:
            errors.ManagerError: The worker does not have one of the jobs (any more).
        """
        await self.prolong(ids, worker, lambda job_id: self._borrowers.may_end(job_id, worker, call))

    async def prolong(self, ids: list[str], worker: str, may: Callable[[str], bool] = lambda _job: True) -> None:
        """Prolong the leases of a prover; raises as `heartbeat_jobs`."""
        now = self._clock()
        theirs = [job_id for job_id in ids if may(job_id)]

        def beat(tx: Connection) -> list[str]:
            return wdpost_lending.beat(tx, theirs, worker, now)

        lost = await self._database.write(beat, durable=False) if theirs else []
        if lost := [*lost, *(job_id for job_id in ids if job_id not in theirs)]:
            log.info("heartbeat for jobs that are not the worker's", worker=worker, jobs=lost)
            raise errors.ManagerError("key not found")

    async def finish_job(self, call: core.Call, job_id: str, output: wdpost.Output | None, error: str) -> None:
        """Take a proof from anybody; faults, or the reason why there is neither, from the machine that the job was lent to.

        Raises:
            errors.ManagerError: There is no such job, or it was lent to another machine.
            errors.Unverifiable: The proof cannot be checked now; the worker may send it again.
        """
        record = await self.find(job_id)
        if record is None:
            raise errors.ManagerError("key not found")
        by = self._reporter(record, output, call)
        if (error or output is None or output.faults) and by is None:
            log.warning("report on a window PoSt from another machine", job=job_id, worker=record.worker)
            raise errors.ManagerError("key not found")  # in the words for a job that is not the caller's
        await self.end(record, output, error, by)

    def _reporter(self, record: wdpost.Record, output: wdpost.Output | None, call: core.Call) -> str | None:
        """Return which of those that have a job the caller is, `None` if it is none of them. Failures come without a name."""
        having = [record.worker, *reversed(wdpost_loans.slower(record))]
        if output is not None and output.worker in having:
            having = [output.worker]
        return self._borrowers.which(record.id, having, call)

    async def end(self, record: wdpost.Record, output: wdpost.Output | None, error: str, by: str | None) -> None:
        """Take what came of a job; `by` is which of those that have it says so, `None` if it is somebody else.

        Raises:
            errors.Unverifiable: As `finish_job`.
        """
        job_id, now = record.id, self._clock()
        await self._lending.askers.restore(now)
        if failure := error or await self._flaw(record, output):
            await self._database.write(lambda tx: self._lending.fail(tx, job_id, by, failure, now))
            self.changed.beat()
            log.warning("window PoSt failed", job=job_id, worker=by, reason=failure)
            return
        assert output is not None
        if output.faults and output.worker not in {"", by}:
            by = None
        outcome = await self._database.write(lambda tx: self._lending.succeed(tx, job_id, by, output, now))
        self.changed.beat()
        if outcome is None:
            log.info("window PoSt reported too late", job=job_id, faults=output.faults, worker=output.worker)
        elif outcome.state is not wdpost.State.FINISHED:
            log.warning("window PoSt found faults, asking another worker", job=job_id, reason=outcome.error)
        elif output.faults:
            log.warning("window PoSt found faults", job=job_id, faults=output.faults, reasons=output.reasons)
        else:
            log.info("window PoSt proved", job=job_id, worker=outcome.worker, sectors=len(record.input.sectors or ()))

    async def find(self, job_id: str) -> wdpost.Record | None:
        """Return a job."""
        return await self._database.read(lambda tx: wdpost_jobs.find(tx, job_id))

    async def take_back(self, worker: str) -> None:
        """Let others have the jobs of a prover that has none any more; that is no failure."""
        await self._database.write(lambda tx: wdpost_jobs.take_back(tx, worker, self._clock()))

    # For people -----------------------------------------------------------------------------------------------------

    async def reset_job(self, job_id: str) -> None:
        """Let a job be tried again from the beginning."""

        def reset(tx: Connection) -> None:
            record = wdpost_jobs.find(tx, job_id)
            if record is None:
                raise errors.ManagerError(f"job '{job_id}' does not exist")
            wdpost_jobs.save(tx, wdpost_jobs.reset(record, self._clock()))

        await self._database.write(reset)

    async def remove_job(self, job_id: str) -> None:
        """Forget a job; an unknown one is no error."""
        await self._database.write(lambda tx: wdpost_jobs.remove(tx, job_id))

    async def all_jobs(self) -> wdpost.Listed:
        """Return all jobs, the oldest first."""
        await self._make_due()
        found = await self._database.read(wdpost_jobs.select_all)
        return wdpost.Listed([wdpost_jobs.brief(record) for record in found], wdpost_turns.MAX_TRIES)

    async def outlines(self) -> list[posts.Outline]:
        """Return all jobs without their sectors, for alerts; what is due by now is made, though nobody asks for it."""
        await self._make_due()
        return await self._database.read(wdpost_jobs.outlines)

    async def make(self, deadline: int = 0, partitions: list[int] | None = None) -> list[wdpost.Brief]:
        """Make jobs for the sectors that are persisted, one for each partition, and return them.

        Sectors are in partitions by number. As long as the job for a partition is not finished, there is no other.
        """
        miner, now = self._first, self._clock()
        challenge = await self._challenge(await self._chain.head(), deadline)

        def make(tx: Connection) -> list[wdpost.Record]:
            return [
                wdpost_jobs.find_open(tx, miner, challenge, partition)
                or wdpost_jobs.make_of(tx, miner, challenge, partition, group, now=now)
                for partition, group in enumerate(wdpost_jobs.partitions_of(tx, miner))
                if partitions is None or partition in partitions
            ]

        made = await self._database.write(make)
        if not made:
            raise errors.ManagerError("there is no persisted sector to prove (in these partitions)")
        return [wdpost_jobs.brief(record) for record in made]

    async def simulate(  # noqa: PLR0917, of the wire
        self,
        deadline: int,
        partition: int,
        miner: Address,
        post_proof: int,
        sectors: list[proving.Extended] | None,
        randomness: bytes,
    ) -> None:
        """Make a job for sectors on trial; each call makes one of its own, before the first epoch.

        Raises:
            errors.ManagerError: It is another miner's, or no randomness; or no store is known of a sector.
        """
        of = next((one for one in self._miners if Address.of_id(one.id) == miner), None)
        if of is None:
            ours = ", ".join(f"f0{one.id}" for one in self._miners)
            raise errors.ManagerError(f"{miner} is no miner whose window PoSts are proved here: {ours}")
        if len(randomness) != 32 or not sectors:
            raise errors.ManagerError("expected sectors, and 32 bytes of randomness")
        now = self._clock()
        challenge = wdpost_jobs.Challenge(epoch=-int(now), deadline=deadline, seed=wdpost_jobs.seed_of(randomness))

        def make(tx: Connection) -> wdpost.Record:
            group = [wdpost_jobs.sector_of(tx, of.id, one) for one in sectors]
            return wdpost_jobs.make_of(tx, of, challenge, partition, group, now=now)

        record = await self._database.write(make)
        log.warning("window PoSt on trial, no message follows", job=record.id, sectors=len(sectors), proof=post_proof)

    # What is due ----------------------------------------------------------------------------------------------------

    async def _make_due(self) -> None:
        """Make the jobs of the deadline that is open now, and forget those that are too old."""
        now = self._clock()
        oldest = now - _KEPT_SECONDS
        if await self._database.read(lambda tx: wdpost_jobs.has_before(tx, oldest)):
            await self._database.write(lambda tx: wdpost_jobs.remove_before(tx, oldest))
        if self._every_epochs is None:
            return
        head = await self._chain.head()
        challenge = await self._challenge(head - head % self._every_epochs, head // self._every_epochs % DEADLINES)

        def due(tx: Connection) -> list[list[wdpost.Sector]]:
            return [] if wdpost_jobs.has_of(tx, challenge) else wdpost_jobs.partitions_of(tx, self._first)

        def make(tx: Connection) -> int:
            groups = due(tx)
            for partition, group in enumerate(groups):
                wdpost_jobs.make_of(tx, self._first, challenge, partition, group, now=now)
            return len(groups)

        if await self._database.read(due) and (count := await self._database.write(make)):
            log.info("deadline opened", deadline=challenge.deadline, epoch=challenge.epoch, jobs=count)

    @property
    def _first(self) -> ledger.Miner:
        """The miner of jobs that no chain asks for."""
        return next(iter(self._miners))

    async def _challenge(self, epoch: int, deadline: int) -> wdpost_jobs.Challenge:
        seed = Bytes32(await self._chain.window_challenge(self._first.id, epoch))
        return wdpost_jobs.Challenge(epoch=epoch, deadline=deadline, seed=seed)

    # Results ----------------------------------------------------------------------------------------------------

    async def _flaw(self, record: wdpost.Record, output: wdpost.Output | None) -> str:
        """Return what is wrong with an output; empty if it can be accepted."""
        proved = record.input.sectors or []
        if output is not None and output.faults:
            unknown = set(output.faults) - {sector.number for sector in proved}
            return f"sectors {sorted(unknown)} are reported as faulty, but are not in the job" if unknown else ""
        if output is None or not output.proofs:
            return "the worker sent neither a proof nor faults"
        claim = tasks.VerifyWindowPoSt(
            miner_id=record.input.miner,
            proof_type=record.input.proof_name,
            replicas=[tasks.PublicReplica(sector.number, sector.comm_r) for sector in proved],
            seed=record.input.seed,
            proof=b"".join(output.proofs),
        )
        try:
            valid = await self._verifier.verify_window_post(claim)
        except interface.Refused as error:
            return str(error)
        return "" if valid else "the proof does not verify"
