"""Sectors that have to be made again, over HTTP."""

import pytest

from damocles.rpc import errors as rpc_errors
from damocles.wire import control, records, seal
from damocles.wire.codec import decode

from .. import proven
from ..conftest import Manager, Start
from ..proven import ANY, SECTOR

NO_OPTIONS = seal.RebuildOptions()


async def hand_out(manager: Manager, store: str) -> tuple[seal.SectorRebuildInfo, int] | None:
    """Ask for work on behalf of a sealing store."""
    handed = await manager.rpc.call("Damocles.AllocateRebuildSector", [ANY, store], returns=control.Handed | None)
    return (decode(handed.given, seal.SectorRebuildInfo), handed.attempt) if handed is not None else None


async def record(manager: Manager) -> records.SectorState:
    """Return the record of the first sector."""
    found: records.SectorState = await manager.call("FindSectorInAllStates", SECTOR, returns=records.SectorState)
    return found


async def test_a_rebuild_from_its_wish_to_its_end(start: Start) -> None:
    """The worker gets the ticket of the chain; the sector is online until it is finished, and as it was afterwards."""
    async with start() as manager:
        ticket = await proven.prove(manager)
        before = await record(manager)
        assert await manager.call("AllocateRebuildSector", ANY) is None
        assert await manager.call("SectorSetForRebuild", SECTOR, NO_OPTIONS) is True
        assert (await record(manager)).need_rebuild
        info = await manager.call("AllocateRebuildSector", ANY, returns=seal.SectorRebuildInfo)
        assert seal.SectorRebuildInfo(seal.AllocatedSector(SECTOR, 5), ticket) == info
        assert await manager.call("AllocateRebuildSector", ANY) is None
        assert await manager.call("SubmitPersistedEx", SECTOR, "elsewhere", False) is True
        await manager.call("ReportFinalized", SECTOR)
        assert before == await record(manager)
        assert await manager.call("AllocateRebuildSector", ANY) is None


async def test_what_is_handed_out_and_never_heard_of_comes_again(start: Start) -> None:
    """The same store gets it again; anybody does when it is asked for once more."""
    async with start() as manager:
        await proven.prove(manager)
        await manager.call("SectorSetForRebuild", SECTOR, NO_OPTIONS)
        first, again = await hand_out(manager, "a"), await hand_out(manager, "a")
        assert first is not None
        assert again is not None
        assert (first[0], first[1] + 1) == again
        assert await hand_out(manager, "b") is None
        await manager.call("SectorSetForRebuild", SECTOR, NO_OPTIONS)
        assert await hand_out(manager, "b") is not None


async def test_a_rebuild_that_is_given_up_leaves_the_sector_good(start: Start) -> None:
    """An abort ends the rebuild and not the sector; it can be asked for again."""
    async with start() as manager:
        await proven.prove(manager)
        before = await record(manager)
        await manager.call("SectorSetForRebuild", SECTOR, NO_OPTIONS)
        await hand_out(manager, "a")
        await manager.call("ReportAborted", SECTOR, "no space")
        assert before == await record(manager)
        await manager.call("SectorSetForRebuild", SECTOR, NO_OPTIONS)


async def test_workers_get_what_they_allow(start: Start) -> None:
    """A worker for other miners or proofs gets nothing."""
    async with start() as manager:
        await proven.prove(manager)
        await manager.call("SectorSetForRebuild", SECTOR, NO_OPTIONS)
        for spec in (seal.AllocateSectorSpec([1], None), seal.AllocateSectorSpec(None, [8])):
            assert await manager.call("AllocateRebuildSector", spec) is None
        assert await manager.call("AllocateRebuildSector", seal.AllocateSectorSpec([10000], [5])) is not None


async def test_sectors_that_cannot_be_rebuilt(start: Start) -> None:
    """Sectors that are not on the chain, or that a worker has, are refused."""
    async with start() as manager:
        with pytest.raises(rpc_errors.RpcError, match="s-t010000-1 cannot be rebuilt: it is not on the chain"):
            await manager.call("SectorSetForRebuild", SECTOR, NO_OPTIONS)
        await proven.prove(manager, finalize=False)
        with pytest.raises(rpc_errors.RpcError, match="it is being worked on"):
            await manager.call("SectorSetForRebuild", SECTOR, NO_OPTIONS)
