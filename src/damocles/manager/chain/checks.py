"""What is checked before it is handed to a chain, whichever it is."""

from damocles.manager.chain import interface
from damocles.wire import codec, seal, tasks
from damocles.wire.sectors import SealProof, prover_id

_NO_SEED = codec.Bytes32(bytes([1]) * 32)  # what the actors put where a seed is expected


async def check_seal(verifier: interface.Verifier, claim: tasks.VerifySeal) -> None:
    """Verify the proof of a sector's sealing; raises as `interface.Chain.check_proof`."""
    if not await verifier.verify(claim):
        raise interface.Refused("invalid proof (compute error?)")


async def check_non_interactive(
    verifier: interface.Verifier, allocated: seal.AllocatedSector, content: seal.Proof, ticket: bytes
) -> None:
    """Verify a proof for the commitments that came with it, with the chain's ticket; raises as `interface.Chain.check_proof`.

    There is no seed: its challenges follow from the commitments.
    """
    pre_commit, sector = content.pre_commit, allocated.id
    assert pre_commit is not None
    claim = tasks.VerifySeal(
        registered_proof=SealProof(allocated.proof).proof_name,
        comm_r=pre_commit.comm_r,
        comm_d=pre_commit.comm_d,
        prover_id=codec.Bytes32(prover_id(sector.miner)),
        sector_id=sector.number,
        ticket=codec.Bytes32(ticket),
        seed=_NO_SEED,
        proof=content.proof,
    )
    await check_seal(verifier, claim)


async def check_update(
    verifier: interface.Verifier, found: interface.OnChain | None, comm_r_old: bytes, content: seal.SnapUpProof
) -> None:
    """Verify the proof of an upgrade of what was found on the chain; raises as `interface.Chain.check_update`."""
    if found is None or not found.proven:
        raise interface.Refused("only a proven sector can be upgraded")
    if found.comm_r != comm_r_old:
        raise interface.Refused(f"the chain has CommR {found.comm_r.hex()}, the upgrade is from {comm_r_old.hex()}")
    claim = tasks.SnapVerify(
        registered_proof=found.proof_type.update_name,
        proof=codec.NumberList(content.proof),
        comm_r_old=codec.Bytes32(found.comm_r),
        comm_r_new=content.comm_r,
        comm_d_new=content.comm_d,
    )
    if not await verifier.verify_update(claim):
        raise interface.Refused("invalid update proof (compute error?)")
