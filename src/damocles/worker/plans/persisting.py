"""Bring the files of a sector to a persist store, and find the stores that are attached."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from damocles import methods
from damocles.sealing import events, failures
from damocles.stages.files import strangers
from damocles.stores import identity, layout
from damocles.stores.persist import PersistStore
from damocles.wire import seal, sectors, tasks
from damocles.worker.plans import local_files
from damocles.worker.plans.job import Job

SECTOR_SIZE_OF_SMALL_RESERVATION = sectors.SectorSize.GIB32


async def persist_files(job: Job, *, upgraded: bool = False, is_proven: bool = False) -> events.Event:
    """Copy the files of the sector, or of its upgrade, to the persist store that the manager chooses.

    Files of another replica that lie there stay, unless the chain is known to have the one here (`is_proven`).
    """
    place, size = job.place, job.sector.proof_type.size
    needed_bytes = 2 * size if size < SECTOR_SIZE_OF_SMALL_RESERVATION else size + size // 50
    candidates = await _candidates(job)
    chosen = await job.manager.call(methods.sealer.reserve_space(job.id, needed_bytes, candidates))
    if chosen is None:
        return events.Later(job.options.rpc_polling_seconds, f"space in a persist store ({', '.join(candidates)})")
    store = attached(job, chosen.name, "the manager chose")
    names = layout.persisted_names(job.id, size, upgraded=upgraded)
    replica, cache = names[0], str(Path(names[-1]).parent)
    names.sort(key=lambda name: not name.endswith("/p_aux"))  # which tells whose the others are, so it goes first
    keep = tasks.Keep(str(job.id), str(place.data), str(store.path), replica, cache) if not is_proven else None
    if keep is not None:
        await local_files.on_disk(_refuse_strangers, keep)  # here too, for processors that pass over it
    routes = [
        tasks.Route(
            src={"store_name": None, "uri": str(place.data / name)},
            dest={"store_name": store.name, "uri": str(store.path / name)},
        )
        for name in names
    ]
    known = {store.name: tasks.StoreInfo(store.name, chosen.meta)}
    # The manager of the original gives no attempts: there the last rename stays.
    attempt = job.sector.claim
    fence = tasks.Fence(str(store.path / layout.FENCES / str(job.id)), attempt) if attempt is not None else None
    with no_room_in(store):
        await job.run("transfer", tasks.Transfer(known, routes, fence, keep))
    await in_order(job, store)  # still, or the files are below the mount point
    return events.Persist(store.name)


async def _candidates(job: Job) -> list[str]:
    """Return the names of the stores to which files may go: those in order, whatever is the matter with others."""
    writable = [store for store in job.persist_stores.values() if not store.read_only]
    if not writable:
        raise failures.Permanent(
            "no available local persist store candidate: attach a store that is not readonly ([[attached]])"
        )
    names, missing = [], []
    for store in writable:
        try:
            names.append((await in_order(job, store)).name)
        except failures.Lacking as error:
            missing.append(error)
    if not names:
        raise missing[0]
    return sorted(names)


def _refuse_strangers(keep: tasks.Keep) -> None:
    try:
        strangers.check(keep)
    except strangers.Stranger as error:
        raise failures.Permanent(str(error)) from error


async def submit_files(job: Job, *, is_upgrade: bool) -> events.Event:
    """Report to the manager which store has the files of the sector, or of its upgrade."""
    instance = job.sector.persist_instance
    assert instance is not None
    if not await job.manager.call(methods.sealer.submit_persisted_ex(job.id, instance, is_upgrade)):
        raise failures.Permanent(
            f"sector files are persisted but unavailable for sealer: the manager does not find {job.id} in {instance}"
        )
    return events.SubmitPersistance()


def attached(job: Job, name: str, why: str) -> PersistStore:
    """Return an attached persist store; raise if it is not attached."""
    store = job.persist_stores.get(name)
    if store is None:
        raise failures.Permanent(f"{why} the persist store {name!r}, which is not attached here ([[attached]])")
    return store


async def in_order(job: Job, store: PersistStore) -> PersistStore:
    """Return a persist store if it is the one that was attached before, and not the bare mount point of its disk.

    Raises:
        failures.Lacking: It is not; it may be once its disk is mounted.
    """
    try:
        await local_files.on_disk(partial(job.memory.admit, store.path, may_mark=not store.read_only))
    except identity.NotTheStore as error:
        raise failures.Lacking(f"persist store {store.name}: {error}") from error
    return store


async def known_store(job: Job, name: str) -> seal.StoreBasicInfo:
    """Return what the manager reports about a persist store."""
    info = await job.manager.call(methods.sealer.store_info(name))
    if info is None:
        raise failures.Permanent(
            f"store basic info of instance {name} not found in damocles-manager: add the store there"
        )
    return info


@contextmanager
def no_room_in(store: PersistStore) -> Iterator[None]:
    """Name the store that a stage found full, which is not the thread's own."""
    try:
        yield
    except failures.Full as error:
        raise failures.Full(f"the persist store {store.name} ({store.path})", error.reason) from error
