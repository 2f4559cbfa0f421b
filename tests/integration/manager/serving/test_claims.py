"""Attempts at a sector: who may go on with it after a machine has died."""

from collections.abc import Callable
from typing import Any

import pytest

from damocles.manager.db import engine
from damocles.rpc import errors as rpc_errors
from damocles.wire import seal

from .. import proven
from ..conftest import Manager, Start
from ..proven import SECTOR

A, B = ("a", "/store"), ("b", "/moved")
STORE = "identity of the store"


async def claim(manager: Manager, holder: tuple[str, str], last_known: int) -> int:
    """Claim the next attempt for a worker whose journal has the number of an earlier one; return the new one's."""
    number: int = await manager.rpc.call("Damocles.Claim", [SECTOR, *holder, last_known, None, STORE], returns=int)
    return number


async def call_as(manager: Manager, attempt: int) -> None:
    """Make a call under an attempt."""
    await manager.rpc.call("Damocles.As", [SECTOR, attempt, "Venus.FindSectorInAllStates", [SECTOR], STORE])


async def begin(manager: Manager) -> int:
    """Let A have the first sector and work on it; return the attempt that its journal knows."""
    await manager.rpc.call("Damocles.Allocate", [seal.AllocateSectorSpec(), STORE])
    known = await claim(manager, A, 1)
    await call_as(manager, known)
    return known


def writes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the name of each writing transaction from now on."""
    seen: list[str] = []
    write = engine.Database.write

    async def counted(self: engine.Database, transaction: Callable[..., Any], **options: Any) -> Any:
        seen.append(transaction.__qualname__)
        return await write(self, transaction, **options)

    monkeypatch.setattr(engine.Database, "write", counted)
    return seen


@pytest.mark.parametrize("restarts", [1, 2])
async def test_a_moved_store_takes_over_from_claims_that_nothing_was_done_under(start: Start, restarts: int) -> None:
    """A dies before its journal has what it claimed; its store goes on elsewhere, and A cannot interfere any more."""
    async with start() as manager:
        known = await begin(manager)
        for _ in range(restarts):
            unused = await claim(manager, A, known)
        taken = await claim(manager, B, known)
        assert unused + 1 == taken
        await call_as(manager, taken)
        for attempt in (known, unused):
            with pytest.raises(rpc_errors.RpcError, match=f"attempt {attempt} at s-t010000-1 is over"):
                await call_as(manager, attempt)
            with pytest.raises(rpc_errors.RpcError, match=f"attempt {attempt} at s-t010000-1 is over"):
                await claim(manager, A, attempt)


async def test_a_moved_store_is_refused_once_there_was_a_call(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the copy does not know may have been done; only the first call of an attempt is noted."""
    async with start() as manager:
        known = await begin(manager)
        used = await claim(manager, A, known)
        seen = writes(monkeypatch)
        for _ in range(3):
            await call_as(manager, used)
        assert 1 == len(seen)
        with pytest.raises(rpc_errors.RpcError, match=f"attempt {used} belongs to a"):
            await claim(manager, B, known)
        unused = await claim(manager, A, known)
        with pytest.raises(rpc_errors.RpcError, match=f"attempt {unused} belongs to a"):
            await claim(manager, B, known)
        assert unused + 1 == await claim(manager, B, used)


async def test_a_store_that_was_left_behind_takes_nothing_back(start: Start) -> None:
    """Who took a store over keeps it although there was no call yet, also over its own restart."""
    async with start() as manager:
        known = await begin(manager)
        taken = await claim(manager, B, known)
        for _ in range(2):
            with pytest.raises(rpc_errors.RpcError, match=f"attempt {known} at s-t010000-1 is over"):
                await claim(manager, A, known)
            assert taken < await claim(manager, B, taken)


async def test_new_work_on_a_sector_is_nobody_s_from_before(start: Start) -> None:
    """Whoever had the sector for its sealing gets no part in its rebuild, though nothing was done under the last claim."""
    async with start() as manager:
        await proven.prove(manager, finalize=False)
        known: int = await manager.rpc.call("Damocles.Claim", [SECTOR, *A, None, None, STORE], returns=int)
        await claim(manager, A, known)
        await manager.call("ReportFinalized", SECTOR)
        await manager.call("SectorSetForRebuild", SECTOR, seal.RebuildOptions())
        with pytest.raises(rpc_errors.RpcError, match=f"attempt {known} at s-t010000-1 is over"):
            await claim(manager, A, known)
