"""Handlers of the plan `rebuild`: make the files of a proven sector again, and compare them with the chain.

Upgraded sectors were sealed with zeros first. The manager hands out that CommR with the work, everything else is in its
record of the sector; if it has none, the results are only checked against each other.
"""

from damocles.sealing import events, failures
from damocles.worker.plans import local_files, persisting, sealer, snapup
from damocles.worker.plans.job import Job


async def allocate_rebuild(job: Job) -> events.Event:
    """Ask the manager for a sector to rebuild.

    A kill between its answer and our journal costs nothing: the same store is given the same again.
    """
    try:
        handed = await job.manager.allocate_rebuild(sealer.sector_spec(job), job.store)
    except failures.Failure as failure:
        return sealer.no_work(failure)
    if handed is None:
        return events.Idle()
    given, attempt = handed
    return events.AllocatedRebuildSector(given.sector, given.all_pieces(), given.ticket, given.upgrade_public, attempt)


async def add_original_pieces(job: Job) -> events.Event:
    """Write the staged file as it was sealed first; a half-written one is replaced."""
    is_upgraded = job.sector.upgrade_from is not None
    return events.AddPiece(await sealer.stage_pieces(job, () if is_upgraded else job.sector.deals or ()))


async def check_sealed(job: Job) -> events.Event:
    """Compare the replica with the chain, and try that it can be proven; reads files only."""
    sector = job.sector
    assert sector.ticket is not None
    assert sector.pc2out is not None
    expected = sector.upgrade_from.comm_r if sector.upgrade_from is not None else None
    if expected is None:
        known = await job.manager.known(job.id)
        expected = known.comm_r_sealed() if known is not None else None
    sealer.check_comm_r(job, sector.pc2out.comm_r, expected)
    await local_files.in_thread(local_files.relink, job)
    await job.run("c1", sealer.c1_task(job, sector.ticket.ticket, sector.pc2out))
    return events.CheckSealed()


async def prepare_for_snapup(job: Job) -> events.Event:
    """Stage the pieces of an upgrade over what the sector was sealed with; a half-written file is replaced."""
    if job.sector.upgrade_from is None:
        return events.SkipSnap()
    if not job.sector.deals:
        raise failures.Permanent(f"{job.id} was upgraded, but the manager lists no pieces for it")
    return events.AddPiece(await sealer.stage_pieces(job, job.sector.deals))


async def encode_rebuilt(job: Job) -> events.Event:
    """Encode the pieces into the replica made here; a new replica that is there is replaced."""
    return events.SnapEncode(await snapup.encode(job))


async def check_snapped(job: Job) -> events.Event:
    """Compare the upgrade with the chain, and check that it can be proved; only read files.

    The original makes the whole proof here, and sends it nowhere. Equal commitments and vanilla proofs that verify prove
    more, and need no SNARK.
    """
    assert job.sector.snap_encoded is not None
    known = await job.manager.known(job.id)
    sealer.check_comm_r(job, job.sector.snap_encoded.comm_r_new, known.comm_r_upgraded() if known is not None else None)
    await snapup.vanilla_proofs(job)
    return events.SnapProve(None)


async def persist_rebuilt(job: Job) -> events.Event:
    """Copy what was lost to a persist store: of an upgraded sector the upgrade's files, as `persist` does.

    They may have to replace damaged ones: they do if the manager knows the sector by the CommR that was made here.
    """
    sector = job.sector
    known = await job.manager.known(job.id)
    if sector.upgrade_from is not None:
        assert sector.snap_encoded is not None
        made, expected = sector.snap_encoded.comm_r_new, known.comm_r_upgraded() if known is not None else None
    else:
        assert sector.pc2out is not None
        made, expected = sector.pc2out.comm_r, known.comm_r_sealed() if known is not None else None
    return await persisting.persist_files(job, upgraded=sector.upgrade_from is not None, is_proven=made == expected)


async def submit_rebuilt(job: Job) -> events.Event:
    """Report to the manager where the files are now; it may get the report twice."""
    return await persisting.submit_files(job, is_upgrade=job.sector.upgrade_from is not None)


HANDLERS = {
    handler.__name__: handler
    for handler in (
        allocate_rebuild,
        add_original_pieces,
        check_sealed,
        prepare_for_snapup,
        encode_rebuilt,
        check_snapped,
        persist_rebuilt,
        submit_rebuilt,
    )
}
