"""A sector that is proven on the simulated chain, made by calls alone."""

from damocles.wire import commitments, seal
from damocles.wire.codec import Bytes32
from damocles.wire.sectors import SectorID, SectorSize

from .conftest import Manager

COMM_R = Bytes32(bytes(range(32)))
COMM_D = commitments.zero_comm_d(SectorSize.KIB2)
SECTOR = SectorID(10000, 1)
ANY = seal.AllocateSectorSpec()


async def prove(manager: Manager, number: int = 1, *, finalize: bool = True, store: str = "persist") -> seal.Ticket:
    """Bring the next sector onto the chain, its files into a store, and finalize it; return its ticket."""
    sector = SectorID(10000, number)
    allocated = await manager.call("AllocateSector", ANY, returns=seal.AllocatedSector)
    assert sector == allocated.id
    ticket: seal.Ticket = await manager.call("AssignTicket", sector, returns=seal.Ticket)
    await manager.call("SubmitPreCommit", allocated, seal.PreCommit(COMM_R, COMM_D, ticket), False)
    await manager.call("SubmitPersistedEx", sector, store, False)
    await manager.call("WaitSeed", sector, allocated.proof)
    await manager.call("SubmitProof", sector, seal.Proof(b"proof"), False)
    if finalize:
        await manager.call("ReportFinalized", sector)
    return ticket
