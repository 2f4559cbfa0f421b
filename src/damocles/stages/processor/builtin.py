"""Our own processors: what each stage does, over `damocles.proofs`.

A stage may be killed at any point and then runs again from its start, after the worker has prepared its files once
more. Each syncs what it wrote before it returns. A function whose leftovers matter to a second run documents them.
"""

import contextlib
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from damocles import durable, proofs
from damocles.stages import job
from damocles.stages.files import fr32, parents, pieces, replicas
from damocles.wire import codec, sectors, tasks

_PROOF_SIZE = re.compile(r"StackedDrg(\d+[KMG]iB)V")
_SYNTHETIC_FILE = "syn-porep-vanilla-proofs.dat"
_SYNTHETIC_DONE = ".synth_proofs_done"
_LAYERS = "sc-02-data-layer-*"
_BLOCK_BYTES = 1 << 20
_SYNTHETIC_CHECKS = 3  # rounds with random seeds, as many as the original makes


def sector_bytes(proof_name: str) -> int:
    """Return the padded size of the sectors of a seal proof, by its name."""
    match = _PROOF_SIZE.match(proof_name)
    if match is None:
        raise ValueError(f"{proof_name!r} is not a seal proof: expected a name like StackedDrg32GiBV1_1")
    return int(sectors.SectorSize.parse(match[1]))


def add_pieces(task: tasks.AddPieces, around: job.Job) -> list[tasks.PieceInfo]:
    """Write pieces one after the other into a new file. Without pieces it is a sparse file of zeros."""
    proof, staged = task.seal_proof_type, task.staged_filepath
    size_bytes = sector_bytes(proof)
    infos = []
    with Path(staged).open("wb") as file:
        if not task.pieces:
            file.truncate(size_bytes)
            infos.append(proofs.zero_piece(size_bytes // 128 * 127))
    for piece in task.pieces:
        around.check()
        with pieces.source(piece, around, task.tokens, task.authorities, task.must_know) as descriptor:
            payload_bytes = 0 if descriptor is None else piece.payload_size
            infos.append(proofs.add_piece(proof, descriptor, payload_bytes, piece.piece_size, staged))
    durable.sync(staged)
    return infos


def tree_d(task: tasks.TreeD) -> bool:
    """Build tree-d; it appears under its name when it is whole."""
    proofs.tree_d(task)
    durable.sync(task.cache_dir)
    return True


def pc1(task: tasks.PC1, around: job.Job) -> msgspec.Raw:
    """Compute the layers. Whole layers that are there are kept: the worker clears the folder for a new ticket."""
    parents.mend(parents.of(task.registered_proof), around)
    output = proofs.pc1(task)
    durable.sync(task.cache_path, task.out_path)
    return output


def pc2(task: tasks.PC2) -> tasks.PC2Output:
    """Build the trees and encode the sealed file in place.

    A second run on a file that is already encoded, in part or whole, gives another CommR without any error. The worker
    knows by its marker that a run was started, and makes the sealed file again before the next one.
    """
    output = proofs.pc2(task)
    durable.sync(task.cache_dir, task.sealed_file)
    return output


def c1(task: tasks.C1, around: job.Job) -> msgspec.Raw:
    """Collect the vanilla proofs, which the library checks; only reads files of the sector.

    Layers that were made from a damaged parent cache are found here, so that a refusal has the cache verified.
    """
    _look_at(task.registered_proof, (task.sealed_file, task.cache_dir))
    try:
        return proofs.c1(task)
    except (proofs.FileUnusable, proofs.ProofsPanic):
        raise
    except proofs.ProofsError as error:
        cache = parents.of(task.registered_proof)
        if not parents.doubt(cache, f"C1 of sector {task.sector_id}: {error}", around):
            raise
        msg = f"{error}. If its layers came from a damaged parent cache, the sector has to be sealed again: before the next"
        raise proofs.ProofsError(f"{msg} PC1 here, {cache.path} is verified") from error


def _look_at(proof_name: str, *places: tuple[str, str]) -> None:
    """Look at sealed files and their caches, before the library fails over one without naming it.

    Raises:
        proofs.FileUnusable: A file is missing or cut.
    """
    size = sectors.SectorSize(sector_bytes(proof_name))
    with _named():
        for sealed_file, cache_dir in places:
            replicas.read_replica(tasks.Replica(0, codec.Bytes32(bytes(32)), cache_dir, sealed_file), size, ())


@contextlib.contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise proofs.FileUnusable(str(error.filename), error.strerror or str(error)) from error


def synth_proof(task: tasks.SynthProof, around: job.Job) -> bool:
    """Write synthetic proofs, check them, then drop the layers that they replace.

    The layers cannot be restored, so a marker first records that the proofs are complete, valid and on the disk. With the
    marker, only the dropping is left to do; without it all layers are still there and the proofs are made again.
    """
    cache = Path(task.cache_dir)
    done = cache / _SYNTHETIC_DONE
    if not done.exists():
        _look_at(task.registered_proof, (task.sealed_file, task.cache_dir))
        (cache / _SYNTHETIC_FILE).unlink(missing_ok=True)
        proofs.generate_synthetic(task)
        durable.sync(cache)
        for _ in range(_SYNTHETIC_CHECKS):
            c1(_c1_of(task, os.urandom(32)), around)
        done.touch()
        durable.sync(done)
    for layer in sorted(cache.glob(_LAYERS)):
        layer.unlink()
    durable.sync_entry(cache)
    return True


def _c1_of(task: tasks.SynthProof, seed: bytes) -> tasks.C1:
    return tasks.C1(
        registered_proof=task.registered_proof,
        cache_dir=task.cache_dir,
        sealed_file=task.sealed_file,
        prover_id=task.prover_id,
        sector_id=task.sector_id,
        ticket=task.ticket,
        seed=codec.Bytes32(seed),
        pc2out=task.pc2out,
        piece_infos=task.piece_infos,
    )


def c2(task: tasks.C2) -> tasks.C2Output:
    """Make the SNARK; touches no file of the sector."""
    return tasks.C2Output(codec.NumberList(proofs.c2(task)))


def snap_encode(task: tasks.SnapEncode) -> tasks.SnapEncodeOutput:
    """Encode into the new replica, a fresh file of the worker's; only read the sealed sector."""
    with _named():
        replicas.read_p_aux(Path(task.sector_cache_path))
    output = proofs.snap_encode(task)
    durable.sync(task.new_replica_path, task.new_cache_path)
    return output


def snap_vanilla(task: tasks.SnapVanilla) -> list[codec.NumberList]:
    """Collect the vanilla proofs of an upgrade, and check them; only reads."""
    before, after = (task.sector_path, task.sector_cache_path), (task.new_replica_path, task.new_cache_path)
    _look_at(task.registered_proof, before, after)
    return proofs.snap_vanilla(task)


def unseal(task: tasks.Unseal, around: job.Job) -> int:
    """Write a range of the data to a new file.

    The library trusts layer files in its cache folder, even what a kill has left of one, and the
    sector's own folder may be in a store that others read. So the layers, eleven times the sector, are made in a folder
    beside the output, which is removed before and after.

    It also reads a range as if an element of the padded data began with it: unless it begins at a multiple of 127
    bytes, the bytes are wrong, without an error. So it gets such a range, and what precedes the wanted one is cut off.
    """
    _check_range(task)
    parents.mend(parents.of(task.registered_proof), around)
    excess = task.offset % fr32.GROUP_BYTES
    layers = Path(task.unsealed_output + ".layers")
    shutil.rmtree(layers, ignore_errors=True)
    layers.mkdir()
    try:
        written = proofs.unseal(
            msgspec.structs.replace(
                task, cache_dir=str(layers), offset=task.offset - excess, num_bytes=task.num_bytes + excess
            )
        )
    finally:
        shutil.rmtree(layers, ignore_errors=True)
    _cut_head(Path(task.unsealed_output), excess)
    durable.sync(task.unsealed_output)
    return written - excess


def _check_range(task: tasks.Unseal | tasks.SnapDecode) -> None:
    data_bytes = sector_bytes(task.registered_proof) // 128 * fr32.GROUP_BYTES
    if min(task.offset, task.num_bytes) < 0 or task.offset + task.num_bytes > data_bytes:
        raise ValueError(f"cannot unseal {task.num_bytes} bytes from {task.offset} on: the sector has {data_bytes}")


def _cut_head(path: Path, head_bytes: int) -> None:
    """Remove the first bytes of a file, without room for a second one."""
    if head_bytes == 0:
        return
    done = 0
    with path.open("r+b", buffering=0) as file:
        while block := os.pread(file.fileno(), _BLOCK_BYTES, head_bytes + done):
            done += os.pwrite(file.fileno(), block, done)
        file.truncate(done)


def snap_decode(task: tasks.SnapDecode, around: job.Job) -> int:
    """Write a range of an upgraded sector's data to a new file.

    The whole sector is decoded, into a file beside the output that is removed before and after.
    """
    _check_range(task)
    with _named():
        replicas.read_p_aux(Path(task.sector_cache_path))
    output, whole = Path(task.unsealed_output), Path(task.unsealed_output + ".padded")
    whole.unlink(missing_ok=True)
    try:
        with whole.open("wb") as file:
            file.truncate(sector_bytes(task.registered_proof))
        proofs.snap_decode(task, str(whole))
        with whole.open("rb") as source, output.open("wb") as sink:
            fr32.copy_range(
                source, sink, task.offset, task.num_bytes, lambda done: around.progress(done, task.num_bytes)
            )
    finally:
        whole.unlink(missing_ok=True)
    durable.sync(output)
    return task.num_bytes


def check_replicas(task: tasks.CheckReplicas, around: job.Job) -> list[tasks.Fault]:
    """Read what a window PoSt will need of each sector; only those that hang cost their time.

    With faults there will be no proof, so the others are examined at once: all are named together.
    """
    faults = replicas.check(task, _challenges(task), around)
    return [*faults, *_damaged(task, faults, around)] if faults else []


def _challenges(task: tasks.CheckReplicas) -> replicas.Challenges:
    numbers = [replica.sector_id for replica in task.replicas]
    return proofs.window_challenges(task.proof_type, task.seed, numbers, task.miner_id)


def _damaged(task: tasks.CheckReplicas, known: Sequence[tasks.Fault], around: job.Job) -> list[tasks.Fault]:
    """Return which sectors, beside known faults, cannot be proved; the disks answer, so no read is abandoned."""
    faulty = {fault.sector_id for fault in known}
    rest = [replica for replica in task.replicas if replica.sector_id not in faulty]
    found = replicas.check(
        msgspec.structs.replace(task, replicas=rest, seconds=math.inf),
        _challenges(task),
        around,
        lambda replica, _, leaves: proofs.check_replica(task.proof_type, replica, leaves),
    )
    return [msgspec.structs.replace(fault, was_read=True) for fault in found]


def window_post(task: tasks.WindowPoSt, around: job.Job) -> tasks.WindowPoStOutput:
    """Prove sectors; those that cannot be proved are an output, not a failure.

    The library names sectors whose data is wrong. Over other damage it fails, and may name none.
    """
    if faults := replicas.unusable(task):
        return _faulty(task, faults, around)
    try:
        proof = proofs.window_post(task)
    except proofs.FaultySectors as error:
        around.log(str(error))
        return tasks.WindowPoStOutput([], list(error.numbers))
    except proofs.ProofsPanic:
        raise
    except proofs.ProofsError:
        output = _faulty(task, (), around)
        if not output.faults:
            raise
        return output
    _verify(task, proof, around)
    return tasks.WindowPoStOutput([proof], [])


def _verify(task: tasks.WindowPoSt, proof: bytes, around: job.Job) -> None:
    public = [tasks.PublicReplica(replica.sector_id, replica.comm_r) for replica in task.replicas]
    claim = tasks.VerifyWindowPoSt(task.miner_id, task.proof_type, public, task.seed, proof)
    _refuse_bad(claim, proofs.verify_window_post, "window PoSt", around)


def _refuse_bad(claim: Any, verify: Callable[[Any], bool], what: str, around: job.Job) -> None:
    """Refuse a proof that the chain would refuse; what keeps it from being verified here is no reason to throw it away."""
    try:
        is_good = verify(claim)
    except proofs.ProofsPanic:
        raise
    except proofs.ProofsError as error:
        around.log(f"the {what} is submitted unverified: {error}")
        return
    if not is_good:
        raise proofs.ProofsError(
            f"the {what} does not verify, though no sector is faulty: is this machine's memory healthy?"
        )


def _faulty(task: tasks.WindowPoSt, known: Sequence[tasks.Fault], around: job.Job) -> tasks.WindowPoStOutput:
    for fault in known:
        around.log(f"sector {fault.sector_id}: {fault.reason}")
    check = tasks.CheckReplicas(task.miner_id, task.proof_type, task.replicas, task.seed, math.inf)
    faults = [*known, *_damaged(check, known, around)]
    return tasks.WindowPoStOutput([], sorted(fault.sector_id for fault in faults))


def winning_post(task: tasks.WindowPoSt, around: job.Job) -> tasks.WinningPoStOutput:
    """Prove the challenged sectors; one that cannot be proved is named. The proof is verified, as the chain will."""
    for fault in replicas.unusable(task):
        raise proofs.FaultySectors(f"faulty sector {fault.sector_id}: {fault.reason}", [fault.sector_id])
    output = proofs.winning_post(task)
    public = [tasks.PublicReplica(replica.sector_id, replica.comm_r) for replica in task.replicas]
    for proof in output.proofs:
        claim = tasks.VerifyWinningPoSt(task.miner_id, task.proof_type, public, task.seed, proof)
        _refuse_bad(claim, proofs.verify_winning_post, "winning PoSt", around)
    return output


def _plain(processor: Callable[[Any], Any]) -> Callable[[Any, job.Job], Any]:
    """Fit in what neither reports nor stops on its way."""
    return lambda task, _: processor(task)


PROCESSORS: Mapping[str, Callable[[Any, job.Job], Any]] = {
    "add_pieces": add_pieces,
    "tree_d": _plain(tree_d),
    "pc1": pc1,
    "pc2": _plain(pc2),
    "synth_proof": synth_proof,
    "c1": c1,
    "c2": _plain(c2),
    "snap_encode": _plain(snap_encode),
    "unseal": unseal,
    "snap_decode": snap_decode,
    "window_post": window_post,
    "winning_post": winning_post,
    # These only read files of the sector, or none at all.
    "verify_seal": _plain(proofs.verify_seal),
    "aggregate_seals": _plain(proofs.aggregate_seals),
    "verify_window_post": _plain(proofs.verify_window_post),
    "check_replicas": check_replicas,
    "snap_vanilla": _plain(snap_vanilla),
    "snap_prove": _plain(proofs.snap_prove),
    "snap_verify": _plain(proofs.snap_verify),
}
