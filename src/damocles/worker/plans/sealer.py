"""What happens in each state: files, calls and stages; one function per handler named in the plans' tables.

A handler returns the event of its success, `Idle` or `Later` if it has to run again, or raises a failure. It may be
killed at any point and then runs again from the start, so each docstring lists what a half-done run leaves behind.
"""

import shutil
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import structlog

from damocles import durable, failpoints, methods
from damocles.rpc import tls
from damocles.sealing import events, failures, planner
from damocles.sealing.states import State
from damocles.stores import layout
from damocles.wire import codec, seal, sectors, tasks
from damocles.worker.plans import local_files, persisting, pieces, submissions
from damocles.worker.plans.job import Job

log = structlog.get_logger(__name__)

Handler = Callable[[Job], Awaitable[events.Event]]


async def allocate_sector(job: Job) -> events.Event:
    """Ask the manager for a sector.

    A kill between its answer and our journal costs nothing: the manager gives the same sector to the same store again.
    (The original's manager cannot know who asks; there the sector stays allocated, and nothing of it exists here.)
    """
    try:
        given = await job.manager.allocate_sector(sector_spec(job), job.store)
    except failures.Failure as failure:
        return no_work(failure)
    return events.Allocate(*given) if given is not None else events.Idle()


def no_work(failure: failures.Failure, what: str = "work from the manager") -> events.Idle:
    """Wait for what the manager did not hand out; if it does not have the method, a person has to fix that."""
    error = failure.text if isinstance(failure, failures.NotServed) else None
    return events.Idle(f"{what} ({failure})", error=error, refused=str(failure))


async def acquire_deals(job: Job) -> events.Event:
    """Ask for deals if they are enabled; without any, seal committed capacity unless that is disabled.

    The manager gives a sector the same deals again. Pieces that do not fit are refused by the next handler.
    """
    options = job.options
    spec = seal.AcquireDealsSpec(options.max_deals, options.min_deal_bytes)
    deals = await job.manager.call(methods.sealer.acquire_deals(job.id, spec)) if options.enable_deals else None
    if deals or not options.disable_cc:
        return events.AcquireDeals(deals or None)
    if not options.enable_deals:
        return events.Idle("deals, which are not enabled (disable_cc)")
    why = await job.manager.why_no_deals(spec, int(job.sector.proof_type.size))
    return events.Idle(f"deals (disable_cc): {why}" if why else "deals (disable_cc)")


async def add_pieces(job: Job) -> events.Event:
    """Write the staged file; a half-written one is replaced."""
    return events.AddPiece(await stage_pieces(job, job.sector.deals or ()))


async def tree_d(job: Job) -> events.Event:
    """Build tree-d, or link the ready-made one of an empty sector; a half-built one is replaced."""
    place, proof = job.place, job.sector.proof_type
    static = None if job.sector.deals else job.static_tree_d.get(proof.size)
    await local_files.in_thread(_prepare_tree_d, place, static)
    if static is None:
        await job.run("tree_d", tasks.TreeD(proof.proof_name, str(place.staged_file), str(place.prepared_dir)))
    return events.BuildTreeD()


async def assign_ticket(job: Job) -> events.Event:
    """Forget an old ticket. PC1 fetches the new one when it has its slot: one that waits for hours with it would expire."""
    return events.AssignTicket(resubmit_pre_commit=State.PCSubmitted in job.sector.visited)


async def pc1(job: Job) -> events.Event:
    """Compute the labels; the cache folder of a half-done run is cleared, and its ticket is not reused."""
    place, sector = job.place, job.sector
    assert sector.pieces is not None
    await local_files.in_thread(_prepare_pc1, job)
    tickets = [] if sector.ticket is None else [sector.ticket]

    async def labels_of() -> tasks.PC1:
        if not tickets:
            tickets.append(await job.manager.call(methods.sealer.assign_ticket(job.id)))
        return tasks.PC1(
            registered_proof=sector.proof_type.proof_name,
            cache_path=str(place.cache_dir),
            in_path=str(place.staged_file),
            out_path=str(place.sealed_file),
            prover_id=prover(job),
            sector_id=job.id.number,
            ticket=codec.Bytes32(tickets[0].ticket),
            piece_infos=sector.pieces or [],
        )

    output = await job.run("pc1", labels_of)
    return events.PC1(tickets[0], output)


async def pc2(job: Job) -> events.Event:
    """Build tree-c and tree-r and encode the replica.

    PC2 encodes the sealed file in place: run twice it would encode the encoded. The marker, written and synced before
    the first start and removed only with the cache folder, means that the sealed file must first be made again.
    """
    place, sector = job.place, job.sector
    assert sector.pc1out is not None
    await local_files.in_thread(_prepare_pc2, job)
    out: tasks.PC2Output = await job.run("pc2", tasks.PC2(sector.pc1out, str(place.cache_dir), str(place.sealed_file)))
    if sector.proof_type.is_synthetic:
        return events.PC2NeedSyntheticProof(out)  # which are checked where they are made
    if job.options.verify_after_pc2:
        # Vanilla proofs for an arbitrary seed: a bad layer or tree is found hours before the chain would tell.
        await job.run("c1", c1_task(job, bytes(32), out))
    return events.PC2(out)


async def synth_proof(job: Job) -> events.Event:
    """Store synthetic proofs and drop the layers; the stage skips what an earlier run has done."""
    place, sector = job.place, job.sector
    assert sector.pieces is not None
    assert sector.ticket is not None
    assert sector.pc2out is not None
    await local_files.in_thread(local_files.relink, job)
    task = tasks.SynthProof(
        registered_proof=sector.proof_type.proof_name,
        cache_dir=str(place.cache_dir),
        sealed_file=str(place.sealed_file),
        prover_id=prover(job),
        sector_id=job.id.number,
        ticket=codec.Bytes32(sector.ticket.ticket),
        pc2out=sector.pc2out,
        piece_infos=sector.pieces,
    )
    await job.run("synth_proof", task)
    return events.SyntheticPoRep()


async def submit_pre_commit(job: Job) -> events.Event:
    """Hand in the commitments.

    A kill behind the manager's answer hands them in again, which it takes as one. What an earlier attempt has handed in
    otherwise is replaced as long as it has not landed; then an operator chooses between the two copies of the store.
    """
    sector, content = job.sector, _commitments(job)

    async def submit(reset: bool) -> seal.Submitted:
        return await job.manager.call(methods.sealer.submit_pre_commit(job.allocated, content, reset))

    submissions.check("pre-commit", await submissions.submitted(submit, sector, again=sector.resubmit_pre_commit))
    return events.SubmitPC()


async def poll_pre_commit(job: Job) -> events.Event:
    """Wait until the pre-commit is on chain; a message that failed is sent again, anything else needs an operator."""
    answer = await job.manager.call(methods.sealer.poll_pre_commit(job.id))
    return submissions.polled("pre-commit", answer, job, events.CheckPC(), events.ReSubmitPC)


async def persist(job: Job) -> events.Event:
    """Copy the replica and what proving needs to a persist store.

    The manager keeps one reservation per sector and names the same store again; copies are made under another name,
    synced and renamed, so a half-done run leaves nothing that looks whole.
    """
    return await persisting.persist_files(job)


async def submit_persisted(job: Job) -> events.Event:
    """Report to the manager where the files are; it may get the report twice.

    If it does not find them there, an operator has to look: its store may not be mounted. The local files stay until the end.
    """
    return await persisting.submit_files(job, is_upgrade=False)


async def wait_seed(job: Job) -> events.Event:
    """Wait for the interactive randomness; asked again after a kill, the manager returns the same."""
    answer = await job.manager.call(methods.sealer.wait_seed(job.id, job.allocated.proof))
    if answer.seed is not None:
        return events.AssignSeed(answer.seed)
    if not answer.should_wait or answer.delay_seconds == 0:
        raise failures.Temporary("invalid empty wait_seed response")
    return events.Later(answer.delay_seconds, "the seed's epoch")


async def c1(job: Job) -> events.Event:
    """Collect the vanilla proofs; reads files only."""
    sector = job.sector
    assert sector.seed is not None
    assert sector.pc2out is not None
    await local_files.in_thread(local_files.relink, job)
    return events.C1(await job.run("c1", c1_task(job, sector.seed.seed, sector.pc2out)))


async def c2(job: Job) -> events.Event:
    """Make the Groth16 proof; needs no files, only memory and time, and a kill costs that time.

    Proofs are random: the one of another run is as good, and replaces one that was handed in before.
    """
    sector = job.sector
    assert sector.c1out is not None
    task = tasks.C2(sector.c1out, prover(job), job.id.number, job.id.miner)
    output: tasks.C2Output = await job.run("c2", task)
    return events.C2(output.proof)


async def submit_proof(job: Job) -> events.Event:
    """Hand in the proof; after a kill again, which the manager takes as one."""
    sector = job.sector
    assert sector.proof is not None
    proof = seal.Proof(bytes(sector.proof), _commitments(job) if sector.proof_type.is_non_interactive else None)

    async def submit(reset: bool) -> seal.Submitted:
        return await job.manager.call(methods.sealer.submit_proof(job.id, proof, reset))

    submissions.check("proof", await submissions.submitted(submit, sector, again=sector.resubmit_proof))
    return events.SubmitProof()


async def poll_proof(job: Job) -> events.Event:
    """Wait until the proof is on chain; a message that failed is sent again, anything else needs an operator."""
    if job.options.ignore_proof_check:
        return events.Finish()
    return submissions.polled(
        "proof", await job.manager.call(methods.sealer.poll_proof(job.id)), job, events.Finish(), events.ReSubmitProof
    )


HANDLERS: Mapping[str, Handler] = {
    handler.__name__: handler
    for handler in (
        allocate_sector,
        acquire_deals,
        add_pieces,
        tree_d,
        assign_ticket,
        pc1,
        pc2,
        synth_proof,
        submit_pre_commit,
        poll_pre_commit,
        persist,
        submit_persisted,
        wait_seed,
        c1,
        c2,
        submit_proof,
        poll_proof,
    )
}


def _commitments(job: Job) -> seal.PreCommit:
    sector = job.sector
    assert sector.pc2out is not None
    assert sector.ticket is not None
    return seal.PreCommit(sector.pc2out.comm_r, sector.pc2out.comm_d, sector.ticket)


def sector_spec(job: Job) -> seal.AllocateSectorSpec:
    """Return what this thread is willing to work on; of the proofs those of the plan's family, if it has one."""
    proofs, own = list(job.options.allowed_proofs), planner.PLANS[job.sector.plan].family
    if own is not None:
        family = [int(sectors.SealProof.of(size, own)) for size in sectors.SectorSize]
        proofs = [proof for proof in proofs if proof in family] or family
    return seal.AllocateSectorSpec(list(job.options.allowed_miners), proofs)


def check_comm_r(job: Job, found: codec.Bytes32, expected: codec.Bytes32 | None) -> None:
    """Compare a replica's commitment with the chain's, as far as the manager reports that."""
    if expected is None:
        log.warning("the manager does not report the right CommR", sector=str(job.id), comm_r=found.hex())
    elif found != expected:
        raise failures.Permanent(
            f"{job.id} has CommR {found.hex()}, the chain knows {expected.hex()}: it was sealed with another"
            " ticket or other pieces"
        )


async def stage_pieces(job: Job, deals: Sequence[seal.SectorPiece]) -> list[tasks.PieceInfo]:
    """Write the pieces of deals into a new staged file, zeros if there are none, and check their commitments."""
    staged = job.place.staged_file
    task = await local_files.in_thread(pieces.add_pieces, job.id, job.sector.proof_type, deals, job.pieces, staged)
    await local_files.in_thread(local_files.make_empty_file, staged)
    fetched = any(isinstance(source.piece_file, dict) and "url" in source.piece_file for source in task.pieces)
    with try_again() if fetched else nullcontext():
        infos: list[tasks.PieceInfo] = await job.run("add_pieces", task)
    if deals:
        pieces.check_staged(job.id, deals, infos)
    return infos


def prover(job: Job) -> codec.Bytes32:
    """Return the prover id of the sector's miner."""
    return codec.Bytes32(sectors.prover_id(job.id.miner))


def c1_task(job: Job, seed: bytes, pc2out: tasks.PC2Output) -> tasks.C1:
    """Return the task of collecting vanilla proofs for a seed."""
    sector, place = job.sector, job.place
    assert sector.pieces is not None
    assert sector.ticket is not None
    return tasks.C1(
        registered_proof=sector.proof_type.proof_name,
        cache_dir=str(place.cache_dir),
        sealed_file=str(place.sealed_file),
        prover_id=prover(job),
        sector_id=job.id.number,
        ticket=codec.Bytes32(sector.ticket.ticket),
        seed=codec.Bytes32(seed),
        pc2out=pc2out,
        piece_infos=sector.pieces,
    )


@contextmanager
def try_again() -> Iterator[None]:
    """Take a failure of a stage that talks to another machine for temporary.

    The other side may be away, or full, for a while; the budget of retries ends it. Its certificate does not become
    trusted by waiting.
    """
    try:
        yield
    except failures.Permanent as error:
        if tls.UNTRUSTED in error.text:
            raise
        raise failures.Temporary(str(error)) from error


def _prepare_tree_d(place: layout.Layout, static: Path | None) -> None:
    place.prepared_dir.mkdir(parents=True, exist_ok=True)
    place.tree_d_file.unlink(missing_ok=True)
    if static is not None:
        local_files.link(place.tree_d_file, static)


def _prepare_pc1(job: Job) -> None:
    place = job.place
    local_files.relink(job)
    if place.cache_dir.exists():
        shutil.rmtree(place.cache_dir)
    place.cache_dir.mkdir(parents=True)
    local_files.make_empty_file(place.sealed_file)
    local_files.link_to_tree_d(place, place.cache_dir)


def _prepare_pc2(job: Job) -> None:
    place, cache = job.place, job.place.cache_dir
    local_files.relink(job)
    for path in [*cache.glob("*tree-c*"), *cache.glob("*tree-r-last*"), cache / "p_aux", cache / "t_aux"]:
        path.unlink(missing_ok=True)
    marker = cache / layout.PC2_STARTED
    if marker.exists():
        failpoints.reach("pc2:copying")
        shutil.copyfile(place.staged_file, place.sealed_file)
        failpoints.reach("pc2:copied")
    else:
        marker.touch()
        durable.sync_entry(cache)
        failpoints.reach("pc2:marked")
