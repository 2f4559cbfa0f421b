"""Sealing, from tree-d to the SNARK, and unsealing."""

from collections.abc import Sequence
from pathlib import Path

import damocles_proofs as native
import msgspec

from damocles.proofs import convert, parameters
from damocles.proofs.errors import ProofsError, translated
from damocles.wire import codec, sectors, tasks

_AGGREGATED = {
    sectors.SealProof.of(size, sectors.SealFamily.NON_INTERACTIVE).proof_name: size for size in sectors.SectorSize
}


def tree_d(task: tasks.TreeD) -> codec.Bytes32:
    """Build tree-d of the staged file; return CommD."""
    with translated():
        return codec.Bytes32(native.tree_d(task.registered_proof, task.staged_file, task.cache_dir))


def pc1(task: tasks.PC1) -> msgspec.Raw:
    """Label the graph; return PC1's JSON."""
    with translated():
        output = native.pc1(
            task.registered_proof,
            task.cache_path,
            task.in_path,
            task.out_path,
            task.prover_id,
            task.sector_id,
            task.ticket,
            convert.native_pieces(task.piece_infos),
        )
        return msgspec.Raw(output.to_json())


def pc2(task: tasks.PC2) -> tasks.PC2Output:
    """Build the trees and encode the sealed file in place."""
    with translated():
        output = native.pc2(native.Pc1Output.from_json(bytes(task.pc1out)), task.cache_dir, task.sealed_file)
        return tasks.PC2Output(output.registered_proof, codec.Bytes32(output.comm_r), codec.Bytes32(output.comm_d))


def generate_synthetic(task: tasks.SynthProof) -> None:
    """Write the synthetic proofs into the cache folder, over any that are there; needs the layers."""
    with translated():
        native.generate_synth_proofs(
            task.cache_dir,
            task.sealed_file,
            task.prover_id,
            task.sector_id,
            task.ticket,
            convert.native_pc2(task.pc2out),
            convert.native_pieces(task.piece_infos),
        )


def c1(task: tasks.C1) -> msgspec.Raw:
    """Collect the vanilla proofs; return C1's JSON."""
    with translated():
        output = native.c1(
            task.cache_dir,
            task.sealed_file,
            task.prover_id,
            task.sector_id,
            task.ticket,
            task.seed,
            convert.native_pc2(task.pc2out),
            convert.native_pieces(task.piece_infos),
        )
        return msgspec.Raw(output.to_json())


def c2(task: tasks.C2) -> bytes:
    """Make the SNARK, 192 bytes per partition; it is verified before it is returned."""
    with translated():
        output = native.C1Output.from_json(bytes(task.c1out))
    _check_aggregation(output.registered_proof)
    with translated():
        return native.c2(output, task.prover_id, task.sector_id)


def _check_aggregation(registered_proof: str) -> None:
    """Refuse at once what the library would refuse only when all circuits are proved, hours later; in its words."""
    if registered_proof not in _AGGREGATED:
        return
    folder = Path(parameters.parameter_cache_dir())
    params, *_ = parameters.parameter_files("porep", int(_AGGREGATED[registered_proof]))
    srs = folder / native.srs_name()
    if (folder / params).exists() and not srs.exists():
        raise ProofsError(f"No cached srs key found for {registered_proof} [failure finding {srs}]")


def verify_seal(task: tasks.VerifySeal) -> bool:
    """Check a SNARK of `c2`."""
    with translated():
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


def verify_aggregate(
    registered_proof: str, proof: bytes, members: Sequence[tuple[bytes, bytes, bytes, int, bytes, bytes]]
) -> bool:
    """Check an aggregate of sectors: CommR, CommD, prover id, number, ticket and seed of each, in its order."""
    with translated():
        inputs = [row for member in members for row in native.get_seal_inputs(registered_proof, *member)]
        comm_rs, seeds = [member[0] for member in members], [member[5] for member in members]
        return native.verify_aggregate_seal_proofs(registered_proof, "SnarkPackV2", proof, comm_rs, seeds, inputs)


def aggregate_seals(task: tasks.AggregateSeals) -> bytes:
    """Make one proof of the SNARKs of several sectors; it is as good as they are, which nothing checks here."""
    with translated():
        return native.aggregate_seal_proofs(
            task.registered_proof, task.aggregation, task.comm_rs, task.seeds, task.proofs
        )


def unseal(task: tasks.Unseal) -> int:
    """Write a range of a sector's data to a file; return the number of bytes. A wrong ticket gives wrong bytes."""
    with translated():
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
