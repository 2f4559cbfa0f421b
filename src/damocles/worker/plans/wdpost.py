"""What happens in each state of a window PoSt: see `handlers`.

Failures are reported to the manager, which has more tries and other workers. So no handler here fails.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio
import structlog

from damocles.sealing import events, failures
from damocles.stages import posts
from damocles.stores.persist import PersistStore
from damocles.text import units
from damocles.wire import sectors, wdpost
from damocles.worker.plans import persisting
from damocles.worker.plans.job import Job
from damocles.worker.plans.sealer import Handler, no_work

log = structlog.get_logger(__name__)

RESEND_SECONDS = 5.0
DEADLINE_SECONDS = 1800.0  # the network's `WPoStChallengeWindow`: 60 epochs of 30 seconds


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
            output = await posts.prove(post.input, _machine(job))
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


def _machine(job: Job) -> posts.Machine:
    def path(name: str) -> Path:
        return _store(job, name).path

    async def look(name: str) -> None:
        await persisting.in_order(job, _store(job, name))

    return posts.Machine(
        name=job.worker, run=job.run, path=path, look=look, sector_seconds=job.options.post_sector_seconds
    )


def _store(job: Job, name: str) -> PersistStore:
    store = job.persist_stores.get(name)
    if store is None:
        raise failures.Critical(f"sectors are in the persist store {name!r}, which is not attached here ([[attached]])")
    return store
