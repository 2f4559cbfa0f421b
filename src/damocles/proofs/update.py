"""Upgrades of sealed sectors: encoding, decoding, proving."""

import damocles_proofs as native

from damocles.proofs import convert
from damocles.proofs.errors import ProofsError, translated
from damocles.wire import codec, tasks


def snap_encode(task: tasks.SnapEncode) -> tasks.SnapEncodeOutput:
    """Encode staged data into a sealed sector as a new replica."""
    with translated():
        output = native.update_encode_into(
            task.registered_proof,
            task.new_replica_path,
            task.new_cache_path,
            task.sector_path,
            task.sector_cache_path,
            task.staged_data_path,
            convert.native_pieces(task.piece_infos),
        )
        return tasks.SnapEncodeOutput(
            comm_r_new=codec.Bytes32(output.comm_r_new),
            comm_r_last_new=codec.Bytes32(output.comm_r_last_new),
            comm_d_new=codec.Bytes32(output.comm_d_new),
        )


def snap_decode(task: tasks.SnapDecode, padded_output: str) -> None:
    """Write the data of an upgraded sector, bits still padded, to a file that exists with the sector's size."""
    with translated():
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
    with translated():
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
    with translated():
        proof = native.update_prove_with_vanilla(
            task.registered_proof, task.vannilla_proofs, task.comm_r_old, task.comm_r_new, task.comm_d_new
        )
        return codec.NumberList(proof)


def snap_verify(task: tasks.SnapVerify) -> bool:
    """Check a SNARK of `snap_prove`."""
    with translated():
        return native.update_verify(
            task.registered_proof, task.proof, task.comm_r_old, task.comm_r_new, task.comm_d_new
        )
