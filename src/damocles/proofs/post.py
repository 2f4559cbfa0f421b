"""Proofs of spacetime: windows and the winning ticket."""

from collections.abc import Mapping, Sequence

import damocles_proofs as native

from damocles.proofs.errors import translated
from damocles.wire import sectors, tasks


def window_post(task: tasks.WindowPoSt) -> bytes:
    """Prove sectors.

    Raises:
        FaultySectors: Some cannot be proved.
    """
    with translated():
        return native.generate_window_post(
            task.proof_type, scalar(task.seed), _replicas(task), sectors.prover_id(task.miner_id)
        )


def window_challenges(
    proof_type: str, seed: bytes, numbers: Sequence[int], miner_id: int
) -> Mapping[int, Sequence[int]]:
    """Return the leaves that a window PoSt over all these sectors proves of each."""
    with translated():
        return native.generate_fallback_sector_challenges(
            proof_type, scalar(seed), sorted(numbers), sectors.prover_id(miner_id)
        )


def check_replica(proof_type: str, replica: tasks.Replica, leaves: Sequence[int]) -> None:
    """Make the vanilla proof of a sector, for its errors alone: one that this refuses fails a window PoSt as well.

    Raises:
        ProofsError: The sector cannot be proved.
    """
    with translated():
        native.generate_single_vanilla_proof(proof_type, _replica(replica), leaves)


def verify_window_post(task: tasks.VerifyWindowPoSt) -> bool:
    """Check a proof of `window_post`."""
    with translated():
        return native.verify_window_post(
            task.proof_type,
            scalar(task.seed),
            task.proof,
            [native.PublicReplica(replica.sector_id, replica.comm_r) for replica in task.replicas],
            sectors.prover_id(task.miner_id),
        )


def winning_post(task: tasks.WindowPoSt) -> tasks.WinningPoStOutput:
    """Prove the challenged sectors."""
    with translated():
        proof = native.generate_winning_post(
            task.proof_type, scalar(task.seed), _replicas(task), sectors.prover_id(task.miner_id)
        )
        return tasks.WinningPoStOutput([proof])


def winning_challenge(proof_type: str, seed: bytes, count: int, miner_id: int) -> Sequence[int]:
    """Return which of so many sectors a winning PoSt has to prove."""
    with translated():
        return native.generate_winning_post_sector_challenge(
            proof_type, scalar(seed), count, sectors.prover_id(miner_id)
        )


def verify_winning_post(task: tasks.VerifyWinningPoSt) -> bool:
    """Check a proof of `winning_post`."""
    with translated():
        return native.verify_winning_post(
            task.proof_type,
            scalar(task.seed),
            task.proof,
            [native.PublicReplica(replica.sector_id, replica.comm_r) for replica in task.replicas],
            sectors.prover_id(task.miner_id),
        )


def scalar(randomness: bytes) -> bytes:
    """Clear the two highest bits of 32 bytes, so that they are an element of the curve's field."""
    return randomness[:31] + bytes([randomness[31] & 0x3F])


def _replicas(task: tasks.WindowPoSt) -> list[native.PrivateReplica]:
    return [_replica(replica) for replica in task.replicas]


def _replica(replica: tasks.Replica) -> native.PrivateReplica:
    return native.PrivateReplica(replica.sector_id, replica.comm_r, replica.cache_dir, replica.sealed_file)
