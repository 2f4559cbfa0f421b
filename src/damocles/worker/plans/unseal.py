"""Handlers of the plan `unseal`: a piece comes out of a sealed sector and goes where it is wanted."""

from pathlib import Path

import structlog

from damocles.sealing import events, failures
from damocles.sealing.sectors import UnsealPiece
from damocles.wire import codec, commitments, records, tasks
from damocles.worker.plans import deliveries, local_files, persisting, sealer
from damocles.worker.plans.job import Job

log = structlog.get_logger(__name__)


async def allocate_unseal(job: Job) -> events.Event:
    """Ask the manager for a piece to get out of a sector.

    A kill between its answer and our journal costs nothing: the same store is given the same again.
    """
    try:
        handed = await job.manager.allocate_unseal(sealer.sector_spec(job), job.store)
        if handed is not None:
            deliveries.checked_cid(handed[0].piece_cid, "the manager wants a piece")
    except failures.Failure as failure:
        return sealer.no_work(failure)
    if handed is None:
        return events.Idle()
    info, attempt = handed
    piece = UnsealPiece(info.piece_cid, info.offset_bytes, info.size_bytes, info.comm_d)
    return events.AllocatedUnsealSector(info.sector, info.ticket, piece, info.private.access_instance, attempt)


async def unseal(job: Job) -> events.Event:
    """Write the piece into the sealing store, from the files in the persist store; a half-written one is replaced.

    The manager's record shows that a sector was upgraded: then its data is in the files of the upgrade, over the earlier
    replica. If that is gone, it is sealed again first, and from the start after a kill.
    """
    place, piece = job.place, job.sector.unseal_piece
    assert piece is not None
    output = place.piece_file(deliveries.checked_cid(piece.cid, f"the piece requested from {job.id}"))
    await local_files.in_thread(local_files.make_empty_file, output)
    known = await job.manager.known(job.id)
    if known is not None and (known.upgraded or known.upgraded_info is not None):
        written = await job.run("snap_decode", await _decoding(job, piece, output, known))
    else:
        written = await job.run("unseal", await _unsealing(job, piece, output))
    if written != piece.size_bytes:
        raise failures.Permanent(
            f"unsealed {written} bytes of piece {piece.cid} of {job.id}, {piece.size_bytes} were requested"
        )
    return events.Unsealed()


async def upload_piece(job: Job) -> events.Event:
    """Bring the piece to the next destination that does not have it, or report to the manager that all have it.

    A kill in an upload repeats only that one. The manager may get the report twice.
    """
    sector = job.sector
    piece = sector.unseal_piece
    assert piece is not None
    for url in await job.manager.unseal_destinations(job.id, piece.cid):
        name = deliveries.name_of(url)
        if name not in sector.uploaded:
            await deliveries.bring(job, piece.cid, url)
            log.info("piece uploaded", sector=str(job.id), piece=piece.cid, to=name)
            return events.Uploaded((*sector.uploaded, name))
    await job.manager.achieve_unseal(job.id, piece.cid)
    return events.UploadPieceDone()


HANDLERS = {handler.__name__: handler for handler in (allocate_unseal, unseal, upload_piece)}


async def _unsealing(job: Job, piece: UnsealPiece, output: Path) -> tasks.Unseal:
    ticket, root = job.sector.ticket, await _source(job, job.sector.access_instance, f"{job.id} is in")
    assert ticket is not None
    return tasks.Unseal(
        registered_proof=job.sector.proof_type.proof_name,
        prover_id=sealer.prover(job),
        sector_id=job.id.number,
        comm_d=piece.comm_d,
        ticket=codec.Bytes32(ticket.ticket),
        cache_dir=str(root / "cache" / str(job.id)),
        sealed_file=str(root / "sealed" / str(job.id)),
        unsealed_output=str(output),
        offset=piece.offset_bytes,
        num_bytes=piece.size_bytes,
    )


async def _source(job: Job, name: str | None, what: str) -> Path:
    """Return the folder of a persist store that the manager names."""
    return (
        await persisting.in_order(job, persisting.attached(job, name or "", f"according to the manager, {what}"))
    ).path


async def _decoding(job: Job, piece: UnsealPiece, output: Path, known: records.KnownSector) -> tasks.SnapDecode:
    upgraded = known.upgraded_info
    if upgraded is None or upgraded.unsealed_cid is None:
        raise failures.Permanent(
            f"the manager's record of the upgraded sector {job.id} lacks its CommD (UpgradedInfo.UnsealedCID)"
        )
    unsealed_cid = deliveries.checked_cid(upgraded.unsealed_cid, f"CommD in the manager's record of {job.id}")
    root = await _source(job, upgraded.access_instance, f"the upgrade of {job.id} is in")
    sealed, cache = await _replica_before(job, known)
    return tasks.SnapDecode(
        registered_proof=job.sector.proof_type.update_name,
        replica_path=str(root / "update" / str(job.id)),
        sector_path=str(sealed),
        sector_cache_path=str(cache),
        comm_d_new=commitments.commitment_of(unsealed_cid),
        unsealed_output=str(output),
        offset=piece.offset_bytes,
        num_bytes=piece.size_bytes,
    )


async def _replica_before(job: Job, known: records.KnownSector) -> tuple[Path, Path]:
    """Return sealed file and cache folder from before the upgrade, made again here if the store no longer has them."""
    source = job.persist_stores.get(job.sector.access_instance or "")
    if source is not None:
        await persisting.in_order(job, source)  # or a sector would be sealed for want of a mount
        sealed, cache = source.path / "sealed" / str(job.id), source.path / "cache" / str(job.id)
        if await local_files.in_thread(lambda: sealed.exists() and (cache / "p_aux").exists()):
            return sealed, cache
    log.info("the replica from before the upgrade is gone: sealing it again", sector=str(job.id))
    place = job.place
    staged = await sealer.stage_pieces(job, ())
    empty = job.having(deals=None, pieces=staged)
    await sealer.tree_d(empty)
    labelled = await sealer.pc1(empty)
    assert isinstance(labelled, events.PC1)
    sealed_anew = await sealer.pc2(empty.having(pc1out=labelled.pc1out))
    assert isinstance(sealed_anew, events.PC2 | events.PC2NeedSyntheticProof)
    sealer.check_comm_r(job, sealed_anew.pc2out.comm_r, known.comm_r_sealed())
    return place.sealed_file, place.cache_dir
