"""What happens in each state of a window PoSt: see `handlers`.

Failures are reported to the manager, which has more tries and other workers. So no handler here fails.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio
import structlog

from damocles.sealing import events, failures
from damocles.stores.persist import PersistStore
from damocles.text import units
from damocles.wire import sectors, tasks, wdpost
from damocles.worker.plans import persisting
from damocles.worker.plans.job import Job
from damocles.worker.plans.sealer import Handler, no_work

log = structlog.get_logger(__name__)

RESEND_SECONDS = 5.0
DEADLINE_SECONDS = 1800.0  # the network's `WPoStChallengeWindow`: 60 epochs of 30 seconds
_NO_REASON = "its files do not match its commitment"


async def allocate_post(job: Job) -> events.Event:
    """Ask for a job that can be proved here. One whose answer is lost comes back to somebody when its lease is over."""
    allowed = list(dict.fromkeys(sectors.SealProof(number).size for number in job.options.allowed_proofs))
    able, error = await _provable(job, allowed or list(sectors.SectorSize))
    if not able:
        if error != job.sector.last_error:
            log.error("not asking for window PoSts", reason=error)
        return events.Idle("what window PoSts need (see the error)", error=error)
    # Nothing named means any size.
    names = [name for size in able for name in sectors.post_names_of(size)] if allowed or error else []
    spec = wdpost.AllocateSpec(list(job.options.allowed_miners), names)
    try:
        lent = await job.manager.allocate_posts(spec, 1, job.worker)
    except failures.Failure as failure:
        return no_work(failure, "a window PoSt from the manager")
    return events.AllocatePost(lent[0]) if lent else events.Idle("a window PoSt from the manager")


async def generate_post(job: Job) -> events.Event:
    """Prove the sectors that can be read; a killed run leaves nothing.

    The proof itself reads sectors too, and a disk may hang after its check: a proof that takes longer than a deadline is
    ended and reported, so that the job does not wait here until somebody looks.
    """
    post = job.sector.post
    assert post is not None
    try:
        with _within(DEADLINE_SECONDS):
            output = await _prove(job, post)
    except failures.Failure as failure:
        log.error("window PoSt failed", job=post.id, error=failure.text)
        return events.Generate(None, str(failure))
    if output.faults:
        log.warning("window PoSt found faults", job=post.id, faults=output.faults, reasons=output.reasons)
    return events.Generate(output)


async def submit_post(job: Job) -> events.Event:
    """Hand in the result, again and again until the manager has it: it is kept as long as the worker lives."""
    post, error = job.sector.post, job.sector.post_error
    assert post is not None
    try:
        if error is not None:
            known = await job.manager.fail_post(post.id, job.worker, error)
        else:
            known = await job.manager.finish_post(post.id, job.sector.post_output)
    except failures.Failure as failure:
        return events.Later(RESEND_SECONDS, f"the manager to take the window PoSt ({failure})")
    if not known:
        log.warning("the manager no longer expects this window PoSt from us", job=post.id)
    return events.Finish()


HANDLERS: Mapping[str, Handler] = {handler.__name__: handler for handler in (allocate_post, generate_post, submit_post)}


async def _provable(job: Job, sizes: Sequence[sectors.SectorSize]) -> tuple[list[sectors.SectorSize], str | None]:
    """Return those of the sizes whose window PoSts can be made here, and what the first of the others lacks."""
    try:
        with anyio.fail_after(job.options.post_sector_seconds):
            lacking = await job.lacking_for_post(sizes)
    except TimeoutError:
        return [], "the disks with parameters or with sectors do not answer"
    able = [size for size in sizes if lacking[size] is None]
    return able, next((lacking[size] for size in sizes if lacking[size] is not None), None)


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError as error:
        raise failures.Temporary(
            f"no proof within {units.brief_duration(int(seconds))}, the length of a deadline: does a disk hang?"
        ) from error


async def _prove(job: Job, post: wdpost.Job) -> wdpost.Output:
    """Check the sectors, and prove them if there is none to name.

    Raises:
        failures.Failure: This machine, and not a sector, is the trouble.
    """
    work = post.input
    replicas = {sector.number: _replica(job, sector) for sector in work.sectors or ()}
    lost = await _lost(job, work.sectors or ())
    there = [replica for number, replica in replicas.items() if number not in lost]
    checked: list[tasks.Fault] = []
    if there or not lost:
        limit_seconds = job.options.post_sector_seconds
        checked = await job.run(
            "check_replicas", tasks.CheckReplicas(work.miner, work.proof_name, there, work.seed, limit_seconds)
        )
    if checked:
        await _still_there(job, work.sectors or (), lost)
    reasons = lost | {fault.sector_id: fault.reason for fault in checked}
    unread = lost | {fault.sector_id: fault.reason for fault in checked if not fault.was_read}
    if len(unread) == len(replicas) and (lost or len(replicas) > 1):
        # Rather a lost mount than so many lost sectors; naming them all would cost the miner dearly.
        number, reason = next(iter(unread.items()))
        raise failures.Critical(
            f"none of the {len(replicas)} sectors can be read here; the first one, {number}: {reason}"
        )
    if not reasons:
        task = tasks.WindowPoSt(work.miner, work.proof_name, there, work.seed)
        made: tasks.WindowPoStOutput = await job.run("window_post", task)
        if not made.faults:
            return wdpost.Output(made.proofs, [])
        await _still_there(job, work.sectors or (), lost)
        reasons = dict.fromkeys(made.faults, _NO_REASON)
    named = {str(number): reason for number, reason in reasons.items()}
    return wdpost.Output([], sorted(reasons), named, job.worker)


async def _still_there(job: Job, wanted: Sequence[wdpost.Sector], lost: Container[int]) -> None:
    """Return if no disk but those of the `lost` sectors has gone since: what was missed there is no fault of a sector.

    Raises:
        failures.Lacking: One has.
    """
    for reason in (await _lost(job, [sector for sector in wanted if sector.number not in lost])).values():
        raise failures.Lacking(f"a disk went away while its sectors were read: {reason}")


async def _lost(job: Job, wanted: Sequence[wdpost.Sector]) -> dict[int, str]:
    """Return the sectors whose persist store is not there, by number, each with the reason."""
    reasons: dict[str, str] = {}

    async def look(store: PersistStore) -> None:
        try:
            with anyio.fail_after(job.options.post_sector_seconds):
                await persisting.in_order(job, store)
        except failures.Failure as error:
            reasons[store.name] = str(error)
        except TimeoutError:
            reasons[store.name] = f"persist store {store.name}: {store.path} does not answer"

    async with anyio.create_task_group() as group:
        for name in sorted({name for sector in wanted for name in _stores_of(sector)}):
            group.start_soon(look, job.persist_stores[name])
    return {sector.number: reasons[name] for sector in wanted for name in _stores_of(sector) if name in reasons}


def _stores_of(sector: wdpost.Sector) -> tuple[str, str]:
    return sector.accesses.cache_dir, sector.accesses.sealed_file


def _replica(job: Job, sector: wdpost.Sector) -> tasks.Replica:
    """Return where a sector's files are; those of an upgraded one have folders of their own."""
    name = str(sectors.SectorID(_miner(job), sector.number))
    sealed_folder, cache_folder = ("update", "update-cache") if sector.upgraded else ("sealed", "cache")
    return tasks.Replica(
        sector.number,
        sector.comm_r,
        str(_store(job, sector.accesses.cache_dir) / cache_folder / name),
        str(_store(job, sector.accesses.sealed_file) / sealed_folder / name),
    )


def _miner(job: Job) -> int:
    assert job.sector.post is not None
    return job.sector.post.input.miner


def _store(job: Job, name: str) -> Path:
    store = job.persist_stores.get(name)
    if store is None:
        raise failures.Critical(f"sectors are in the persist store {name!r}, which is not attached here ([[attached]])")
    return store.path
