"""Pieces that are wanted out of sectors, over HTTP."""

import pytest

from damocles.rpc import errors as rpc_errors
from damocles.wire import commitments, control, records, seal
from damocles.wire.codec import decode

from .. import proven
from ..conftest import Manager, Start
from ..proven import ANY, SECTOR

PIECE = commitments.unsealed_cid(bytes(32))
OTHER = commitments.unsealed_cid(b"\1" * 32)
STORE = "5d3b0a2e"


async def want(
    manager: Manager, dest: str = "file:///out", piece: str = PIECE, span: tuple[int, int] = (0, 127)
) -> None:
    """Ask for a piece of the first sector."""
    await manager.call("UnsealPiece", SECTOR, piece, *span, dest)


async def hand_out(manager: Manager, store: str = STORE) -> tuple[seal.SectorUnsealInfo, int] | None:
    """Ask for work on behalf of a sealing store."""
    handed = await manager.rpc.call("Damocles.AllocateUnsealSector", [ANY, store], returns=control.Handed | None)
    return (decode(handed.given, seal.SectorUnsealInfo), handed.attempt) if handed is not None else None


async def tasks(manager: Manager) -> list[tuple[str, str, list[str]]]:
    """Return state, error and destinations of all tasks."""
    listed = await manager.rpc.call("Damocles.UnsealTasks", [], returns=list[seal.SectorUnsealInfo])
    return [(task.state, task.error, task.dest or []) for task in listed]


async def record(manager: Manager) -> records.SectorState:
    """Return the record of the first sector."""
    found: records.SectorState = await manager.call("FindSectorInAllStates", SECTOR, returns=records.SectorState)
    return found


async def test_a_task_from_its_wish_to_its_end(start: Start) -> None:
    """A worker gets what it needs, its sector is online meanwhile, and the end is that of the original's calls."""
    async with start() as manager:
        ticket = await proven.prove(manager)
        assert await manager.call("AllocateUnsealSector", ANY) is None
        await want(manager, "http://host/x?sign=secret")
        info = await manager.call("AllocateUnsealSector", ANY, returns=seal.SectorUnsealInfo)
        assert (PIECE, 0, 127, ticket, proven.COMM_D, "persist", "unsealing") == (
            *(info.piece_cid, info.offset_bytes, info.size_bytes, info.ticket, info.comm_d),
            *(info.private.access_instance, info.state),
        )
        assert (await record(manager)).unsealing
        assert [SECTOR] == [
            found.id for found in await manager.call("ListSectors", "online", 4, returns=list[records.SectorState])
        ]
        assert ["http://host/x?sign=secret"] == await manager.call("AcquireUnsealDest", SECTOR, PIECE)
        assert [("uploading", "", ["http://host/x"])] == await tasks(manager)
        await manager.call("AchieveUnsealSector", SECTOR, PIECE, "")
        await manager.call("ReportFinalized", SECTOR)
        assert [("finished", "", ["http://host/x"])] == await tasks(manager)
        after = await record(manager)
        assert (True, False, "") == (after.finalized, after.unsealing, after.abort_reason)


async def test_a_lost_answer_is_given_again_to_the_same_store(start: Start) -> None:
    """A store that was never heard of gets its task again under a new attempt; another one gets nothing."""
    async with start() as manager:
        await proven.prove(manager)
        await want(manager)
        first = await hand_out(manager)
        assert first is not None
        assert await hand_out(manager, "another") is None
        again = await hand_out(manager)
        assert again is not None
        assert (first[0], first[1] + 1) == again
        report = seal.ReportStateReq(
            seal.WorkerIdentifier("w", "/store"), seal.StateChange("Empty", "Allocated", "AllocatedUnsealSector")
        )
        await manager.call("ReportState", SECTOR, report)
        assert await hand_out(manager) is None


async def test_an_old_attempt_changes_nothing(start: Start) -> None:
    """After the task was handed out anew, a call under the older attempt is refused."""
    async with start() as manager:
        await proven.prove(manager)
        await want(manager)
        for _ in range(2):
            handed = await hand_out(manager)
        assert handed is not None
        _, attempt = handed
        ask = ["Venus.AcquireUnsealDest", [SECTOR, PIECE]]
        with pytest.raises(rpc_errors.RpcError, match=f"attempt {attempt - 1} at s-t010000-1 is over"):
            await manager.rpc.call("Damocles.As", [SECTOR, attempt - 1, *ask, STORE], returns=list[str])
        assert ["file:///out"] == await manager.rpc.call(
            "Damocles.As", [SECTOR, attempt, *ask, STORE], returns=list[str]
        )


async def test_destinations_are_added_while_a_task_waits(start: Start) -> None:
    """The same piece for another destination is one task; once it is worked on, it is refused until that is done."""
    async with start() as manager:
        await proven.prove(manager)
        await want(manager)
        await want(manager)
        await want(manager, "")
        assert [("set_up", "", ["file:///out", f"store:///{PIECE}"])] == await tasks(manager)
        with pytest.raises(rpc_errors.RpcError, match="waits with another range: 127 bytes from 0"):
            await want(manager, span=(127, 127))
        await hand_out(manager)
        with pytest.raises(rpc_errors.RpcError, match="is unsealing for other destinations"):
            await want(manager, "file:///other")
        await want(manager, piece=OTHER)  # waits for the sector
        assert await hand_out(manager, "another") is None
        await manager.call("AchieveUnsealSector", SECTOR, PIECE, "disk full")
        await manager.call("ReportFinalized", SECTOR)
        await want(manager, "file:///other")
        assert [("set_up", "", ["file:///out"]), ("set_up", "", ["file:///other"])] == await tasks(manager)


@pytest.mark.parametrize(
    ("method", "reason"), [("ReportAborted", "no space"), ("ReportFinalized", "without reporting the piece")]
)
async def test_a_worker_that_ends_without_a_word_fails_the_task(start: Start, method: str, reason: str) -> None:
    """The sector is as good as before, also after an abort, and the task says what happened."""
    async with start() as manager:
        await proven.prove(manager)
        await want(manager)
        await hand_out(manager)
        await manager.call(method, SECTOR, *(["no space"] if method == "ReportAborted" else []))
        ((state, error, _),) = await tasks(manager)
        assert ("failed", True) == (state, reason in error)
        after = await record(manager)
        assert (True, False, "") == (after.finalized, after.unsealing, after.abort_reason)


@pytest.mark.parametrize(
    ("span", "dest", "text"),
    [
        ((0, 2033), "file:///x", "has 2032 unpadded bytes, there are no 2033 from 0"),
        ((-127, 127), "file:///x", "there are no 127 from -127"),
        ((0, 0), "file:///x", "there are no 0 from 0"),
        ((0, 127), "ftp://u:p@h/x?token=t", "invalid dest url: ftp://h/x .unsupported scheme ftp"),
        ((0, 127), "/srv/x", "invalid dest url: /srv/x .a path is written file:///srv/x, use "),
    ],
)
async def test_impossible_wishes(start: Start, span: tuple[int, int], dest: str, text: str) -> None:
    """A range outside the sector and a scheme that no worker knows are refused when they are asked for."""
    async with start() as manager:
        await proven.prove(manager)
        with pytest.raises(rpc_errors.RpcError, match=text):
            await want(manager, dest, span=span)


async def test_sectors_that_cannot_be_unsealed(start: Start) -> None:
    """Unknown, unsealed and given-up sectors are refused, and unknown tasks have the original's texts."""
    async with start() as manager:
        with pytest.raises(rpc_errors.RpcError, match="the manager has no such sector"):
            await want(manager)
        await manager.call("AllocateSector", ANY)
        with pytest.raises(rpc_errors.RpcError, match="it is not sealed"):
            await want(manager)
        await manager.call("ReportAborted", SECTOR, "lost")
        with pytest.raises(rpc_errors.RpcError, match="or it was aborted"):
            await want(manager)
        with pytest.raises(rpc_errors.RpcError, match=f"unseal info.10000-1-{PIECE}.: task not found"):
            await manager.call("AchieveUnsealSector", SECTOR, PIECE, "")
        with pytest.raises(rpc_errors.RpcError, match="task not found"):
            await manager.call("AcquireUnsealDest", SECTOR, PIECE)
