"""Handlers of the plan `snapup`: deals are encoded into a proven sector."""

import shutil

import structlog

from damocles.sealing import events, failures
from damocles.sealing.states import State
from damocles.stores import layout
from damocles.wire import codec, seal, tasks
from damocles.worker.plans import local_files, persisting, sealer, submissions
from damocles.worker.plans.job import Job

log = structlog.get_logger(__name__)


async def allocate_snapup(job: Job) -> events.Event:
    """Ask the manager for a sector to upgrade.

    The answer is recorded first and checked by the next handler: a sector that cannot be upgraded is aborted, and the
    abort reported. A kill between the answer and our journal costs nothing: the same store gets the same sector again.
    """
    options = job.options
    deals = seal.AcquireDealsSpec(options.max_deals, options.min_deal_bytes)
    spec = seal.AllocateSnapUpSpec(sealer.sector_spec(job), deals)
    try:
        handed = await job.manager.allocate_snapup(spec, job.store)
    except failures.Failure as failure:
        return sealer.no_work(failure)
    if handed is None:
        why = await job.manager.why_no_upgrade(spec)
        return events.Idle(f"a sector to upgrade with deals: {why}") if why else events.Idle()
    given, attempt = handed
    return events.AllocatedSnapUpSector(
        given.sector, given.pieces, given.public, given.private.access_instance, attempt
    )


async def add_deal_pieces(job: Job) -> events.Event:
    """Write the staged file with the new pieces; a half-written one is replaced."""
    sector = job.sector
    if not sector.deals:
        raise failures.Abort(f"deals required, got empty: the manager asks to upgrade {job.id} with nothing")
    if not sector.access_instance:
        raise failures.Abort(f"the manager does not report which persist store has the files of {job.id}")
    return events.AddPiece(await sealer.stage_pieces(job, sector.deals))


async def fetch_and_encode(job: Job) -> events.Event:
    """Link (or copy, if links are not allowed) the sealed sector from its persist store, and encode.

    The sealed sector is only read. A half-done run leaves links or whole copies, which are replaced, and parts of the
    new replica, which is made again.
    """
    place, instance = job.place, job.sector.access_instance or ""
    store = await persisting.in_order(
        job, persisting.attached(job, instance, f"according to the manager, {job.id} is in")
    )
    info = await persisting.known_store(job, instance)
    routes = [
        tasks.Route(
            src={"store_name": store.name, "uri": str(store.path / name)},
            dest={"store_name": None, "uri": str(place.data / name)},
            opt={"is_dir": False, "allow_link": True},
        )
        for name in layout.persisted_names(job.id, place.size)
    ]
    await job.run("transfer", tasks.Transfer({store.name: tasks.StoreInfo(store.name, info.meta)}, routes))
    return events.SnapEncode(await encode(job))


async def snap_prove(job: Job) -> events.Event:
    """Make the proof of the upgrade and verify it; reads files only."""
    vanilla = await vanilla_proofs(job)
    upgrade, proof_name = commitments_of(job), job.sector.proof_type.update_name
    proof: codec.NumberList = await job.run("snap_prove", tasks.SnapProve(proof_name, vanilla, *upgrade))
    if not await job.run("snap_verify", tasks.SnapVerify(proof_name, proof, *upgrade)):
        raise failures.Permanent(f"generated an invalid update proof for {job.id}: resume to make another one")
    return events.SnapProve(proof)


async def persist_update(job: Job) -> events.Event:
    """Copy the new replica and its cache to a persist store, as `persist` does with a sector's first ones."""
    return await persisting.persist_files(job, upgraded=True)


async def submit_snapup(job: Job) -> events.Event:
    """Submit the proof; the manager follows it on the chain.

    After a lost answer it is submitted again. By then the manager may be done with the sector and have no record of it in
    progress: its closed record shows whether our upgrade is the one it has.
    """
    sector = job.sector
    assert sector.snap_encoded is not None
    assert sector.snap_proof is not None
    assert sector.persist_instance is not None
    content = seal.SnapUpProof(
        comm_r=sector.snap_encoded.comm_r_new,
        comm_d=sector.snap_encoded.comm_d_new,
        access_instance=sector.persist_instance,
        pieces=[deal.piece.cid for deal in sector.deals or ()],
        proof=bytes(sector.snap_proof),
    )
    try:
        answer = await job.manager.submit_snapup(job.id, content)
    except failures.Abort:
        known = await job.manager.known(job.id)
        if known is None or not known.finalized or known.comm_r_upgraded() != content.comm_r:
            raise
        return events.Finish()
    reason = answer.desc or "no reason given"
    match answer.res:
        case seal.SubmitResult.ACCEPTED | seal.SubmitResult.DUPLICATE:
            return events.Finish()
        case seal.SubmitResult.FILES_MISSED if sector.repersisted:
            raise failures.Permanent(
                f"submit upgrade: the manager misses files in {sector.persist_instance} that were copied twice: {reason};"
                f" repair the store where the manager looks and resume, at {State.SnapProved} to copy them again"
            )
        case seal.SubmitResult.FILES_MISSED:
            log.warning("the manager misses files, persisting again", sector=str(job.id), reason=reason)
            return events.RePersist()
        case seal.SubmitResult.MISMATCHED | seal.SubmitResult.REJECTED:
            raise submissions.rejected("upgrade", reason)
        case _:
            raise failures.Temporary(f"submit upgrade: the manager answered {answer.res}, which is not a known result")


HANDLERS = {
    handler.__name__: handler
    for handler in (allocate_snapup, add_deal_pieces, fetch_and_encode, snap_prove, persist_update, submit_snapup)
}


async def encode(job: Job) -> tasks.SnapEncodeOutput:
    """Encode the staged data into the sealed sector as a new replica; one that is there is replaced."""
    place, sector = job.place, job.sector
    assert sector.pieces is not None
    await local_files.in_thread(_prepare_encode, job)
    task = tasks.SnapEncode(
        registered_proof=sector.proof_type.update_name,
        new_replica_path=str(place.update_file),
        new_cache_path=str(place.update_cache_dir),
        sector_path=str(place.sealed_file),
        sector_cache_path=str(place.cache_dir),
        staged_data_path=str(place.staged_file),
        piece_infos=sector.pieces,
    )
    output: tasks.SnapEncodeOutput = await job.run("snap_encode", task)
    return output


async def vanilla_proofs(job: Job) -> list[codec.NumberList]:
    """Collect and check the vanilla proofs of the upgrade; reads files only."""
    place = job.place
    await local_files.in_thread(local_files.relink, job)
    task = tasks.SnapVanilla(
        job.sector.proof_type.update_name,
        *commitments_of(job),
        sector_path=str(place.sealed_file),
        sector_cache_path=str(place.cache_dir),
        new_replica_path=str(place.update_file),
        new_cache_path=str(place.update_cache_dir),
    )
    output: list[codec.NumberList] = await job.run("snap_vanilla", task)
    return output


def commitments_of(job: Job) -> tuple[codec.Bytes32, codec.Bytes32, codec.Bytes32]:
    """Return the old CommR, the new one and the new CommD."""
    sector = job.sector
    assert sector.upgrade_from is not None
    assert sector.snap_encoded is not None
    return sector.upgrade_from.comm_r, sector.snap_encoded.comm_r_new, sector.snap_encoded.comm_d_new


def _prepare_encode(job: Job) -> None:
    place, cache = job.place, job.place.update_cache_dir
    local_files.relink(job)
    if cache.exists():
        shutil.rmtree(cache)
    cache.mkdir(parents=True)
    local_files.link_to_tree_d(place, cache)
    local_files.make_empty_file(place.update_file)
    with place.update_file.open("r+b") as file:
        file.truncate(place.size)
