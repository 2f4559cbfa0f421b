"""What is checked before it is handed to a chain, whichever it is."""

from damocles.manager.chain import interface
from damocles.wire import codec, seal, tasks


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
