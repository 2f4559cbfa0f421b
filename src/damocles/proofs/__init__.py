"""The field's proofs, in our types: tasks of the line protocol in, their outputs out.

With `damocles.bls` the only importer of `damocles_proofs`. Calls take minutes to hours and cannot be interrupted: they belong into child
processes, never into a daemon. What a call needs and leaves behind is said in `damocles_proofs/_native.pyi`.

```
ProofsError         the library refuses or fails; the text is its own, the outermost cause first
├── FileUnusable    a file or folder is missing, unreadable or of the wrong size; nothing has been done
├── FaultySectors   a PoSt meets sectors that it cannot prove
└── ProofsPanic     the library hit an assertion; a damaged file is the usual reason
```
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import damocles_proofs as native
import msgspec

from damocles.wire import codec, sectors, tasks

_AGGREGATED = {
    sectors.SealProof.of(size, sectors.SealFamily.NON_INTERACTIVE).proof_name: size for size in sectors.SectorSize
}


class ProofsError(Exception):
    """The library of proofs refuses or fails; the text is its own."""


class FileUnusable(ProofsError):
    """A file or folder cannot be used. Make `path` right, then run the stage again."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class FaultySectors(ProofsError):
    """Sectors cannot be proved. Check their files, and prove without them meanwhile."""

    def __init__(self, text: str, numbers: Sequence[int]) -> None:
        super().__init__(text)
        self.numbers = tuple(numbers)


class ProofsPanic(ProofsError):
    """The library hit an assertion; `place` is the line of its source.

    Its thread pools do not recover: the process has to be replaced, or a later call may never return.
    """

    spoils_process = True

    def __init__(self, message: str, place: str | None) -> None:
        super().__init__(f"Panic: {message}")
        self.place = place


@contextlib.contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except native.FileError as error:
        raise FileUnusable(error.path, error.problem) from error
    except native.FaultySectorsError as error:
        raise FaultySectors(str(error), error.sectors) from error
    except native.PanicError as error:
        raise ProofsPanic(str(error), error.place) from error
    except (native.ProofsError, ValueError) as error:
        raise ProofsError(str(error)) from error


def _native_pieces(pieces: Sequence[tasks.PieceInfo]) -> list[native.PieceInfo]:
    return [native.PieceInfo(piece.commitment, piece.size) for piece in pieces]


def _our_piece(piece: native.PieceInfo) -> tasks.PieceInfo:
    return tasks.PieceInfo(codec.Bytes32(piece.commitment), piece.size)


def _native_pc2(out: tasks.PC2Output) -> native.Pc2Output:
    return native.Pc2Output(out.registered_proof, out.comm_r, out.comm_d)


# Pieces -----------------------------------------------------------------------------------------------------------


def add_piece(
    registered_proof: str, source_fd: int | None, payload_bytes: int, piece_bytes: int, staged_file: str
) -> tasks.PieceInfo:
    """Append a piece to the staged file: payload from a descriptor, or zeros alone; sizes are unpadded bytes."""
    with _our_errors():
        return _our_piece(native.add_piece(registered_proof, source_fd, payload_bytes, piece_bytes, staged_file))


def piece_commitment(
    registered_proof: str, source_fd: int | None, payload_bytes: int, piece_bytes: int
) -> tasks.PieceInfo:
    """Compute what `add_piece` returns, without writing."""
    with _our_errors():
        return _our_piece(native.generate_piece_commitment(registered_proof, source_fd, payload_bytes, piece_bytes))


def zero_piece(piece_bytes: int) -> tasks.PieceInfo:
    """Return the piece of that many unpadded zeros; reads no data."""
    with _our_errors():
        return _our_piece(native.zero_piece(piece_bytes))


def data_commitment(registered_proof: str, pieces: Sequence[tasks.PieceInfo]) -> codec.Bytes32:
    """Compute CommD of a sector from its pieces; what is missing at the end counts as zeros."""
    with _our_errors():
        return codec.Bytes32(native.compute_comm_d(registered_proof, _native_pieces(pieces)))


# Sealing ----------------------------------------------------------------------------------------------------------


def tree_d(task: tasks.TreeD) -> codec.Bytes32:
    """Build tree-d of the staged file; return CommD."""
    with _our_errors():
        return codec.Bytes32(native.tree_d(task.registered_proof, task.staged_file, task.cache_dir))


def pc1(task: tasks.PC1) -> msgspec.Raw:
    """Label the graph; return PC1's JSON."""
    with _our_errors():
        output = native.pc1(
            task.registered_proof,
            task.cache_path,
            task.in_path,
            task.out_path,
            task.prover_id,
            task.sector_id,
            task.ticket,
            _native_pieces(task.piece_infos),
        )
        return msgspec.Raw(output.to_json())


def pc2(task: tasks.PC2) -> tasks.PC2Output:
    """Build the trees and encode the sealed file in place."""
    with _our_errors():
        output = native.pc2(native.Pc1Output.from_json(bytes(task.pc1out)), task.cache_dir, task.sealed_file)
        return tasks.PC2Output(output.registered_proof, codec.Bytes32(output.comm_r), codec.Bytes32(output.comm_d))


def generate_synthetic(task: tasks.SynthProof) -> None:
    """Write the synthetic proofs into the cache folder, over any that are there; needs the layers."""
    with _our_errors():
        native.generate_synth_proofs(
            task.cache_dir,
            task.sealed_file,
            task.prover_id,
            task.sector_id,
            task.ticket,
            _native_pc2(task.pc2out),
            _native_pieces(task.piece_infos),
        )


def c1(task: tasks.C1) -> msgspec.Raw:
    """Collect the vanilla proofs; return C1's JSON."""
    with _our_errors():
        output = native.c1(
            task.cache_dir,
            task.sealed_file,
            task.prover_id,
            task.sector_id,
            task.ticket,
            task.seed,
            _native_pc2(task.pc2out),
            _native_pieces(task.piece_infos),
        )
        return msgspec.Raw(output.to_json())


def c2(task: tasks.C2) -> bytes:
    """Make the SNARK, 192 bytes per partition; it is verified before it is returned."""
    with _our_errors():
        output = native.C1Output.from_json(bytes(task.c1out))
    _check_aggregation(output.registered_proof)
    with _our_errors():
        return native.c2(output, task.prover_id, task.sector_id)


def _check_aggregation(registered_proof: str) -> None:
    """Refuse at once what the library would refuse only when all circuits are proved, hours later; in its words."""
    if registered_proof not in _AGGREGATED:
        return
    folder = Path(parameter_cache_dir())
    params, *_ = parameter_files("porep", int(_AGGREGATED[registered_proof]))
    srs = folder / native.srs_name()
    if (folder / params).exists() and not srs.exists():
        raise ProofsError(f"No cached srs key found for {registered_proof} [failure finding {srs}]")


def verify_seal(task: tasks.VerifySeal) -> bool:
    """Check a SNARK of `c2`."""
    with _our_errors():
        return native.verify_seal(
            task.registered_proof,
            task.comm_r,
            task.comm_d,
            task.prover_id,
            task.sector_id,
            task.ticket,
            task.seed,
            task.proof,
        )


def unseal(task: tasks.Unseal) -> int:
    """Write a range of a sector's data to a file; return the number of bytes. A wrong ticket gives wrong bytes."""
    with _our_errors():
        return native.unseal_range(
            task.registered_proof,
            task.cache_dir,
            task.sealed_file,
            task.unsealed_output,
            task.prover_id,
            task.sector_id,
            task.comm_d,
            task.ticket,
            task.offset,
            task.num_bytes,
        )


# Upgrades ---------------------------------------------------------------------------------------------------------


def snap_encode(task: tasks.SnapEncode) -> tasks.SnapEncodeOutput:
    """Encode staged data into a sealed sector as a new replica."""
    with _our_errors():
        output = native.update_encode_into(
            task.registered_proof,
            task.new_replica_path,
            task.new_cache_path,
            task.sector_path,
            task.sector_cache_path,
            task.staged_data_path,
            _native_pieces(task.piece_infos),
        )
        return tasks.SnapEncodeOutput(
            comm_r_new=codec.Bytes32(output.comm_r_new),
            comm_r_last_new=codec.Bytes32(output.comm_r_last_new),
            comm_d_new=codec.Bytes32(output.comm_d_new),
        )


def snap_decode(task: tasks.SnapDecode, padded_output: str) -> None:
    """Write the data of an upgraded sector, bits still padded, to a file that exists with the sector's size."""
    with _our_errors():
        native.update_decode_from(
            task.registered_proof,
            padded_output,
            task.replica_path,
            task.sector_path,
            task.sector_cache_path,
            task.comm_d_new,
        )


def snap_vanilla(task: tasks.SnapVanilla) -> list[codec.NumberList]:
    """Collect the vanilla proofs of an upgrade, one for each partition, and check them: a SNARK of wrong ones is dear."""
    with _our_errors():
        proofs = native.update_partition_proofs(
            task.registered_proof,
            task.comm_r_old,
            task.comm_r_new,
            task.comm_d_new,
            task.sector_path,
            task.sector_cache_path,
            task.new_replica_path,
            task.new_cache_path,
        )
        if not native.update_verify_partition_proofs(
            task.registered_proof, proofs, task.comm_r_old, task.comm_r_new, task.comm_d_new
        ):
            raise ProofsError("the vanilla proofs of the upgrade do not verify: its files and its commitments differ")
        return [codec.NumberList(proof) for proof in proofs]


def snap_prove(task: tasks.SnapProve) -> codec.NumberList:
    """Make the SNARK of an upgrade."""
    with _our_errors():
        proof = native.update_prove_with_vanilla(
            task.registered_proof, task.vannilla_proofs, task.comm_r_old, task.comm_r_new, task.comm_d_new
        )
        return codec.NumberList(proof)


def snap_verify(task: tasks.SnapVerify) -> bool:
    """Check a SNARK of `snap_prove`."""
    with _our_errors():
        return native.update_verify(
            task.registered_proof, task.proof, task.comm_r_old, task.comm_r_new, task.comm_d_new
        )


# Proofs of spacetime ----------------------------------------------------------------------------------------------


def window_post(task: tasks.WindowPoSt) -> bytes:
    """Prove sectors.

    Raises:
        FaultySectors: Some cannot be proved.
    """
    with _our_errors():
        return native.generate_window_post(
            task.proof_type, scalar(task.seed), _replicas(task), sectors.prover_id(task.miner_id)
        )


def window_challenges(
    proof_type: str, seed: bytes, numbers: Sequence[int], miner_id: int
) -> Mapping[int, Sequence[int]]:
    """Return the leaves that a window PoSt over all these sectors proves of each."""
    with _our_errors():
        return native.generate_fallback_sector_challenges(
            proof_type, scalar(seed), sorted(numbers), sectors.prover_id(miner_id)
        )


def check_replica(proof_type: str, replica: tasks.Replica, leaves: Sequence[int]) -> None:
    """Make the vanilla proof of a sector, for its errors alone: one that this refuses fails a window PoSt as well.

    Raises:
        ProofsError: The sector cannot be proved.
    """
    with _our_errors():
        native.generate_single_vanilla_proof(proof_type, _replica(replica), leaves)


def verify_window_post(task: tasks.VerifyWindowPoSt) -> bool:
    """Check a proof of `window_post`."""
    with _our_errors():
        return native.verify_window_post(
            task.proof_type,
            scalar(task.seed),
            task.proof,
            [native.PublicReplica(replica.sector_id, replica.comm_r) for replica in task.replicas],
            sectors.prover_id(task.miner_id),
        )


def winning_post(task: tasks.WindowPoSt) -> tasks.WinningPoStOutput:
    """Prove the challenged sectors."""
    with _our_errors():
        proof = native.generate_winning_post(
            task.proof_type, scalar(task.seed), _replicas(task), sectors.prover_id(task.miner_id)
        )
        return tasks.WinningPoStOutput([proof])


def scalar(randomness: bytes) -> bytes:
    """Clear the two highest bits of 32 bytes, so that they are an element of the curve's field."""
    return randomness[:31] + bytes([randomness[31] & 0x3F])


def _replicas(task: tasks.WindowPoSt) -> list[native.PrivateReplica]:
    return [_replica(replica) for replica in task.replicas]


def _replica(replica: tasks.Replica) -> native.PrivateReplica:
    return native.PrivateReplica(replica.sector_id, replica.comm_r, replica.cache_dir, replica.sealed_file)


# Parameters -------------------------------------------------------------------------------------------------------


def parameters_manifest() -> dict[str, dict[str, object]]:
    """Return what is published: file name to `{"cid", "digest", "sector_size"}`."""
    manifest: dict[str, dict[str, object]] = msgspec.json.decode(native.parameters_manifest())
    return manifest


def srs_manifest() -> dict[str, dict[str, object]]:
    """Return the same for the file that aggregation needs."""
    manifest: dict[str, dict[str, object]] = msgspec.json.decode(native.srs_manifest())
    return manifest


def parameter_cache_dir() -> str:
    """Return the folder of the parameters: `FIL_PROOFS_PARAMETER_CACHE` or its default."""
    return native.parameter_cache_dir()


def parameter_files(kind: str, sector_bytes: int) -> tuple[str, str, str]:
    """Name the parameters, the verifying key and the metadata of a circuit: `porep`, `wdpost`, `winning`, `update`."""
    with _our_errors():
        files = native.params_for(kind, sector_bytes)
        return files.params, files.vk, files.meta


def generate_parameters(kind: str, sector_bytes: int) -> tuple[str, str, str]:
    """Make these files for a test network, if they are not there. They prove nothing on a real one."""
    with _our_errors():
        files = native.generate_params(kind, sector_bytes)
        return files.params, files.vk, files.meta


def generate_aggregation() -> str:
    """Make the file that aggregation needs for a test network, if it is not there; return its name."""
    with _our_errors():
        return native.generate_srs()
