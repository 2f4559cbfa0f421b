"""What happens in each state: files, calls and stages; one function per handler named in the plans' tables.

A handler returns the event of its success, `Idle` or `Later` when it has to come again, or raises a failure. It may be
killed at any point and is then run again from the start, so each says what a half-done run leaves behind.
"""

import os
import shutil
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio.to_thread
import structlog

from damocles import failpoints
from damocles.rpc import tls
from damocles.sealing import events, failures
from damocles.sealing.sectors import Sector
from damocles.sealing.states import State
from damocles.stages import strangers
from damocles.stores import full, identity, layout
from damocles.stores.durably import sync_dir
from damocles.stores.persist import PersistStore
from damocles.wire import codec, seal, sectors, tasks
from damocles.worker import pieces
from damocles.worker.jobs import Job

log = structlog.get_logger(__name__)

T = TypeVar("T")

Handler = Callable[[Job], Awaitable[events.Event]]

SECTOR_SIZE_OF_SMALL_RESERVATION = sectors.SectorSize.GIB32


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
    """Wait for what the manager did not give; that it does not know the call is for a person to mend."""
    error = failure.text if isinstance(failure, failures.NotServed) else None
    return events.Idle(f"{what} ({failure})", error=error, refused=str(failure))


async def acquire_deals(job: Job) -> events.Event:
    """Ask for deals if they are enabled; without any, seal committed capacity unless that is disabled.

    The manager gives a sector the same deals again. Pieces that do not fit are refused by the next handler.
    """
    options = job.options
    deals = None
    if options.enable_deals:
        deals = await job.manager.acquire_deals(
            job.id, seal.AcquireDealsSpec(options.max_deals, options.min_deal_bytes)
        )
    if not deals and options.disable_cc:
        return events.Idle(
            "deals (disable_cc)" if options.enable_deals else "deals, which are not enabled (disable_cc)"
        )
    return events.AcquireDeals(deals or None)


async def add_pieces(job: Job) -> events.Event:
    """Write the staged file; a half-written one is replaced."""
    return events.AddPiece(await stage_pieces(job, job.sector.deals or ()))


async def tree_d(job: Job) -> events.Event:
    """Build tree-d, or link the ready-made one of an empty sector; a half-built one is replaced."""
    place, proof = job.place, job.sector.proof_type
    static = None if job.sector.deals else job.static_tree_d.get(proof.size)
    await in_thread(_prepare_tree_d, place, static)
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
    await in_thread(_prepare_pc1, job)
    tickets = [] if sector.ticket is None else [sector.ticket]

    async def labels_of() -> tasks.PC1:
        if not tickets:
            tickets.append(await job.manager.assign_ticket(job.id))
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
    the first start and removed only with the cache folder, tells that the sealed file must first be made anew.
    """
    place, sector = job.place, job.sector
    assert sector.pc1out is not None
    await in_thread(_prepare_pc2, job)
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
    await in_thread(relink, job)
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
        return await job.manager.submit_pre_commit(job.allocated, content, reset=reset)

    _check_submitted("pre-commit", await _submitted(submit, sector, again=sector.resubmit_pre_commit))
    return events.SubmitPC()


async def poll_pre_commit(job: Job) -> events.Event:
    """Wait until the pre-commit is on chain; a message that failed is sent anew, for the rest an operator has to look."""
    answer = await job.manager.poll_pre_commit(job.id)
    return _polled("pre-commit", answer, job, events.CheckPC(), events.ReSubmitPC)


async def persist(job: Job) -> events.Event:
    """Copy the replica and what proving needs to a persist store.

    The manager keeps one reservation per sector and names the same store again; copies are made under another name,
    synced and renamed, so a half-done run leaves nothing that looks whole.
    """
    return await persist_files(job)


async def submit_persisted(job: Job) -> events.Event:
    """Tell the manager where the files are; it may be told twice.

    Files that it does not find there are for an operator: its store may not be mounted. Those here stay until the end.
    """
    return await submit_files(job, is_upgrade=False)


async def wait_seed(job: Job) -> events.Event:
    """Wait for the interactive randomness; asked again after a kill, the manager says the same."""
    answer = await job.manager.wait_seed(job.id, job.allocated.proof)
    if answer.seed is not None:
        return events.AssignSeed(answer.seed)
    if not answer.should_wait or answer.delay_seconds == 0:
        msg = "invalid empty wait_seed response"
        raise failures.Temporary(msg)
    return events.Later(answer.delay_seconds, "the seed's epoch")


async def c1(job: Job) -> events.Event:
    """Collect the vanilla proofs; reads files only."""
    sector = job.sector
    assert sector.seed is not None
    assert sector.pc2out is not None
    await in_thread(relink, job)
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
        return await job.manager.submit_proof(job.id, proof, reset=reset)

    _check_submitted("proof", await _submitted(submit, sector, again=sector.resubmit_proof))
    return events.SubmitProof()


async def poll_proof(job: Job) -> events.Event:
    """Wait until the proof is on chain; a message that failed is sent anew, for the rest an operator has to look."""
    if job.options.ignore_proof_check:
        return events.Finish()
    return _polled("proof", await job.manager.poll_proof(job.id), job, events.Finish(), events.ReSubmitProof)


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
    """Return what this thread is willing to work on; for the plan `niporep`, of the proofs its own family alone."""
    proofs = list(job.options.allowed_proofs)
    if job.sector.plan == "niporep":
        family = [int(sectors.SealProof.of(s, sectors.SealFamily.NON_INTERACTIVE)) for s in sectors.SectorSize]
        proofs = [proof for proof in proofs if proof in family] or family
    return seal.AllocateSectorSpec(list(job.options.allowed_miners), proofs)


def check_comm_r(job: Job, found: codec.Bytes32, expected: codec.Bytes32 | None) -> None:
    """Compare a replica's commitment with the one that the chain knows, as far as the manager told it."""
    if expected is None:
        log.warning("the manager does not tell which CommR is right", sector=str(job.id), comm_r=found.hex())
    elif found != expected:
        msg = (
            f"{job.id} has CommR {found.hex()}, the chain knows {expected.hex()}: ticket or pieces are not those that"
            " it was sealed with"
        )
        raise failures.Permanent(msg)


async def stage_pieces(job: Job, deals: Sequence[seal.SectorPiece]) -> list[tasks.PieceInfo]:
    """Write the pieces of deals into a new staged file, zeros if there are none, and check their commitments."""
    staged = job.place.staged_file
    task = await in_thread(pieces.add_pieces, job.id, job.sector.proof_type, deals, job.pieces, staged)
    await in_thread(make_empty_file, staged)
    fetched = any(isinstance(source.piece_file, dict) and "url" in source.piece_file for source in task.pieces)
    with try_again() if fetched else nullcontext():
        infos: list[tasks.PieceInfo] = await job.run("add_pieces", task)
    if deals:
        pieces.check_staged(job.id, deals, infos)
    return infos


async def persist_files(job: Job, *, upgraded: bool = False, is_proven: bool = False) -> events.Event:
    """Copy the files of the sector, or of its upgrade, to the persist store that the manager chooses.

    Files of another replica that lie there stay, unless the chain is known to have the one here (`is_proven`).
    """
    place, size = job.place, job.sector.proof_type.size
    needed_bytes = 2 * size if size < SECTOR_SIZE_OF_SMALL_RESERVATION else size + size // 50
    candidates = await _candidates(job)
    chosen = await job.manager.reserve_space(job.id, needed_bytes, candidates)
    if chosen is None:
        return events.Later(job.options.rpc_polling_seconds, f"space in a persist store ({', '.join(candidates)})")
    store = attached(job, chosen.name, "the manager chose")
    names = layout.persisted_names(job.id, size, upgraded=upgraded)
    replica, cache = names[0], str(Path(names[-1]).parent)
    names.sort(key=lambda name: not name.endswith("/p_aux"))  # which tells whose the others are, so it goes first
    keep = tasks.Keep(str(job.id), str(place.data), str(store.path), replica, cache) if not is_proven else None
    if keep is not None:
        await on_disk(_refuse_strangers, keep)  # here too, for processors that pass over it
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
        msg = "no available local persist store candidate: attach a store that is not readonly ([[attached]])"
        raise failures.Permanent(msg)
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
    """Tell the manager in which store the files of the sector, or of its upgrade, are."""
    instance = job.sector.persist_instance
    assert instance is not None
    if not await job.manager.submit_persisted(job.id, instance, is_upgrade=is_upgrade):
        msg = f"sector files are persisted but unavailable for sealer: the manager does not find {job.id} in {instance}"
        raise failures.Permanent(msg)
    return events.SubmitPersistance()


def attached(job: Job, name: str, why: str) -> PersistStore:
    """Return an attached persist store, or say that it is missing."""
    store = job.persist_stores.get(name)
    if store is None:
        msg = f"{why} the persist store {name!r}, which is not attached here ([[attached]])"
        raise failures.Permanent(msg)
    return store


async def in_order(job: Job, store: PersistStore) -> PersistStore:
    """Return a persist store if it is the one that was attached before, and not the bare mount point of its disk.

    Raises:
        failures.Lacking: It is not; a disk that is mounted later mends that.
    """
    try:
        await on_disk(partial(job.memory.admit, store.path, may_mark=not store.read_only))
    except identity.NotTheStore as error:
        msg = f"persist store {store.name}: {error}"
        raise failures.Lacking(msg) from error
    return store


async def known_store(job: Job, name: str) -> seal.StoreBasicInfo:
    """Return what the manager tells of a persist store."""
    info = await job.manager.store_info(name)
    if info is None:
        msg = f"store basic info of instance {name} not found in damocles-manager: add the store there"
        raise failures.Permanent(msg)
    return info


async def _submitted(
    submit: Callable[[bool], Awaitable[seal.Submitted]], sector: Sector, *, again: bool
) -> seal.Submitted:
    """Submit; what differs from an earlier submission replaces it if the sector is ours by a claim.

    An earlier attempt, or an earlier run of C2, whose proofs are random, may have submitted other content. Without
    claims nobody knows who is right, and an operator has to look.
    """
    answer = await submit(again)
    if answer.res == seal.SubmitResult.MISMATCHED and not again and sector.claim is not None:
        log.info("replacing what was submitted before", sector=str(sector.id), state=sector.state)
        answer = await submit(True)
    return answer


def _check_submitted(what: str, answer: seal.Submitted) -> None:
    """Return if the submission counts as accepted."""
    try:
        result = seal.SubmitResult(answer.res)
    except ValueError:
        result = seal.SubmitResult.UNKNOWN
    reason = answer.desc or result.name.lower()
    match result:
        case seal.SubmitResult.ACCEPTED | seal.SubmitResult.DUPLICATE:
            return
        case seal.SubmitResult.MISMATCHED | seal.SubmitResult.FILES_MISSED:
            msg = f"submit {what}: {reason}"
            raise failures.Permanent(msg)
        case seal.SubmitResult.REJECTED:
            raise rejected(what, reason)
        case _:
            msg = f"submit {what}: the manager answered {answer.res}, which is none of the known results"
            raise failures.Temporary(msg)


def rejected(what: str, reason: str) -> failures.Permanent:
    """Return the failure of a submission that will never be taken.

    The original gives the sector up. But the reason may be a setting of the manager or a proof that can be made again,
    and behind it are hours of work and perhaps deals: that is for a person to end.
    """
    return failures.Permanent(
        f"submit {what}: rejected: {reason}; resume at an earlier state if that mends it, or abort the sector"
    )


def _polled(
    what: str,
    answer: seal.Polled,
    job: Job,
    landed: events.Event,
    again: type[events.ReSubmitPC | events.ReSubmitProof],
) -> events.Event:
    """Turn the state of a message into the next event."""
    reason = answer.desc or "no reason given"
    match answer.state:
        case seal.OnChainState.LANDED:
            return landed
        case seal.OnChainState.PENDING | seal.OnChainState.PACKED:
            return events.Later(job.options.rpc_polling_seconds, f"the {what} on chain")
        case seal.OnChainState.FAILED:
            log.warning("message failed, submitting again", what=what, sector=str(job.id), reason=reason)
            return again(why=f"{what} on chain: failed: {reason}")
        case seal.OnChainState.NOT_FOUND | seal.OnChainState.PERM_FAILED:
            msg = f"{what} on chain: {seal.OnChainState(answer.state).name.lower()}: {reason}"
            raise failures.Permanent(msg)
        case seal.OnChainState.SHOULD_ABORT:
            msg = f"{what} on chain: {reason}"
            raise failures.Abort(msg)
        case _:
            msg = f"{what} on chain: the manager answered {answer.state}, which is none of the known states"
            raise failures.Temporary(msg)


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


async def in_thread(work: Callable[..., T], *args: object) -> T:
    """Do file work off the event loop; what goes wrong with local files is for an operator."""
    return await _done(work, *args, abandon_on_cancel=False)


async def on_disk(work: Callable[..., T], *args: object) -> T:
    """Read from a disk that may hang, off the event loop: whoever is cancelled waits no longer for it."""
    return await _done(work, *args, abandon_on_cancel=True)


async def _done(work: Callable[..., T], *args: object, abandon_on_cancel: bool) -> T:
    try:
        return await anyio.to_thread.run_sync(work, *args, abandon_on_cancel=abandon_on_cancel)
    except OSError as error:
        if full.is_full(error):
            raise failures.Full(str(error.filename or "a store"), error.strerror or "") from error
        msg = f"{error.strerror}: {error.filename}"
        raise failures.Critical(msg) from error


@contextmanager
def no_room_in(store: PersistStore) -> Iterator[None]:
    """Name the store that a stage found full, which is not the thread's own."""
    try:
        yield
    except failures.Full as error:
        raise failures.Full(f"the persist store {store.name} ({store.path})", error.reason) from error


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


def make_empty_file(path: Path) -> None:
    """Make an empty file in place of one that may be there, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        path.unlink()  # what it points to belongs to a persist store
    path.write_bytes(b"")


def link(name: Path, target: Path) -> None:
    """Make a durable link, in place of one that may be there."""
    part = name.with_name(f".{name.name}.part")
    part.unlink(missing_ok=True)
    part.symlink_to(target)
    if failpoints.on:
        failpoints.reach(f"link.before:{name.name}")
    part.replace(name)
    sync_dir(name.parent)
    if failpoints.on:
        failpoints.reach(f"link.after:{name.name}")


def link_to_tree_d(place: layout.Layout, cache: Path) -> None:
    """Link from a cache folder to tree-d by a relative path, which holds wherever the store is moved to."""
    folder = os.path.relpath(place.prepared_dir.resolve(), cache.resolve())
    link(cache / layout.TREE_D, Path(folder, layout.TREE_D))


def relink(job: Job) -> None:
    """Let the links among the sector's files lead to where their targets are now.

    The store may have come from another path, or from a machine where tree-d of an empty sector or the persist store
    has another path. Every link stands at any time, as it was or as it is to be.

    Raises:
        failures.Critical: This machine has no tree-d of an empty sector.
    """
    place = job.place
    for cache in (place.cache_dir, place.update_cache_dir):
        if (cache / layout.TREE_D).is_symlink():
            link_to_tree_d(place, cache)
    targets = {}
    if (static := job.static_tree_d.get(place.size)) is not None:
        targets[place.tree_d_file] = static
    if (source := job.persist_stores.get(job.sector.access_instance or "")) is not None:
        targets |= {place.data / name: source.path / name for name in layout.persisted_names(job.id, place.size)}
    for name, target in targets.items():
        if name.is_symlink() and name.readlink() != target:
            link(name, target)
    if place.tree_d_file.is_symlink() and not place.tree_d_file.exists():
        label = place.size.label
        msg = (
            f"{job.id} was sealed with a ready-made tree-d that is not here: {place.tree_d_file.readlink()}; make it with:"
            f" damocles-worker generator tree-d --sector-size {label} --path FOLDER, name it in the configuration"
            f" (processors.static_tree_d.{label}) and start the worker again"
        )
        raise failures.Critical(msg)


def _prepare_tree_d(place: layout.Layout, static: Path | None) -> None:
    place.prepared_dir.mkdir(parents=True, exist_ok=True)
    place.tree_d_file.unlink(missing_ok=True)
    if static is not None:
        link(place.tree_d_file, static)


def _prepare_pc1(job: Job) -> None:
    place = job.place
    relink(job)
    if place.cache_dir.exists():
        shutil.rmtree(place.cache_dir)
    place.cache_dir.mkdir(parents=True)
    make_empty_file(place.sealed_file)
    link_to_tree_d(place, place.cache_dir)


def _prepare_pc2(job: Job) -> None:
    place, cache = job.place, job.place.cache_dir
    relink(job)
    for path in [*cache.glob("*tree-c*"), *cache.glob("*tree-r-last*"), cache / "p_aux", cache / "t_aux"]:
        path.unlink(missing_ok=True)
    marker = cache / layout.PC2_STARTED
    if marker.exists():
        if failpoints.on:
            failpoints.reach("pc2:copying")
        shutil.copyfile(place.staged_file, place.sealed_file)
        if failpoints.on:
            failpoints.reach("pc2:copied")
    else:
        marker.touch()
        sync_dir(cache)
        if failpoints.on:
            failpoints.reach("pc2:marked")
