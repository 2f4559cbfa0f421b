"""Bytes that are kept: pieces that are brought, reports, and texts that workers tell."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import httpx2
import msgspec
import pytest
from tests.integration.access.conftest import Daemon, StartManager

from damocles.manager.sectors import intake
from damocles.methods.rules import Scope
from damocles.rpc import errors, limits
from damocles.rpc.admission import tokens
from damocles.wire import commitments, control, seal
from damocles.wire.sectors import SectorID

CID = str(commitments.unsealed_cid(bytes(range(32))))
SECTOR_BYTES = 2048
SECTOR = SectorID(10000, 1)
MIB = 1 << 20


class Usage(NamedTuple):
    """What the system says of a disk."""

    total: int
    used: int
    free: int


@pytest.fixture
async def manager(start_manager: StartManager) -> AsyncIterator[Daemon]:
    """Return a running manager."""
    async with start_manager() as running:
        yield running


@pytest.fixture
async def site(manager: Daemon) -> AsyncIterator[httpx2.AsyncClient]:
    """Return a client with an admin's token."""
    origin = manager.url.removesuffix("/rpc/v0")
    headers = {"Authorization": f"Bearer {manager.token}"}
    async with httpx2.AsyncClient(base_url=f"{origin}/piecestore/", headers=headers) as client:
        yield client


async def test_a_piece_is_no_larger_than_a_sector(site: httpx2.AsyncClient, manager: Daemon) -> None:
    """What says that it is larger is refused unread, what turns out to be larger is cut off; nothing is left of both."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000

    for content in (b"x" * (SECTOR_BYTES + 1), endless()):
        answer = await site.put(CID, content=content)
        assert (413, "put piece data: a piece has at most 2048 bytes, the size of a sector\n") == (
            answer.status_code,
            answer.text,
        )
    assert [] == list((manager.home / "pieces").glob("*"))
    assert 200 == (await site.put(CID, content=b"x" * SECTOR_BYTES)).status_code


async def test_a_piece_leaves_room_for_the_database(
    site: httpx2.AsyncClient, manager: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk has little room a piece is refused, with the numbers, and the manager goes on."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 40, 0, limits.ROOM_KEPT_BYTES + SECTOR_BYTES - 1))
    answer = await site.put(CID, content=b"x" * SECTOR_BYTES)
    assert 507 == answer.status_code
    assert "have to stay so for the manager's database" in answer.text
    await manager.create("still", Scope.READ)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 40, 0, limits.ROOM_KEPT_BYTES + SECTOR_BYTES))
    assert 200 == (await site.put(CID, content=b"x" * SECTOR_BYTES)).status_code


async def test_pieces_on_their_way_count_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces that come side by side share the room: the one that is too much is refused."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 40, 0, limits.ROOM_KEPT_BYTES + 250))
    coming = intake.Intake(tmp_path / "later", 100)
    async with coming.piece(100), coming.piece(100):
        with pytest.raises(intake.Refused, match="bytes are free"):
            async with coming.piece(100):
                pass
        async with coming.piece(50):
            pass


def report_of(text: str) -> seal.ReportStateReq:
    """Return a report of a failure."""
    return seal.ReportStateReq(
        seal.WorkerIdentifier("w1", "/store"),
        seal.StateChange("Empty", "Allocated", "Allocate"),
        seal.FailureReport("Temporary", text),
    )


async def allocated(manager: Daemon) -> None:
    """Hand out a sector."""
    spec = seal.AllocateSectorSpec([], [])
    await manager.call("Venus.AllocateSector", spec)


async def test_reports_are_cut(manager: Daemon) -> None:
    """However much a worker tells of a failure, so much is kept; histories stay readable."""
    await allocated(manager)
    for _ in range(60):
        await manager.call("Venus.ReportState", SECTOR, report_of("x" * 300_000))
    history: control.SectorHistory = await manager.call(
        "Damocles.SectorHistory", str(SECTOR), returns=control.SectorHistory
    )
    kept = "x" * limits.REPORT_CHARACTERS + "…"
    assert [f"temporary: {kept}"] * 60 == [entry.error for entry in history.entries]
    assert len(msgspec.json.encode(history)) < 300_000


async def test_a_sector_has_so_many_reports(manager: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit reports are answered, and no more rows are made."""
    monkeypatch.setattr(limits, "REPORTS_OF_A_SECTOR", 3)
    await allocated(manager)
    for _ in range(5):
        answer = await manager.call("Venus.ReportState", SECTOR, report_of("x"))
        assert answer["Finalized"] is False
    history = await manager.call("Damocles.SectorHistory", str(SECTOR), returns=control.SectorHistory)
    assert 3 == len(history.entries)


async def test_names_in_reports_are_short(manager: Daemon) -> None:
    """A state or a place that no worker has is refused before it becomes a row."""
    await allocated(manager)
    report = msgspec.structs.replace(report_of("x"), state_change=seal.StateChange("x" * 256, "b", "c"))
    with pytest.raises(errors.RpcError, match="length <= 255"):
        await manager.call("Venus.ReportState", SECTOR, report)


async def test_reasons_are_cut(manager: Daemon) -> None:
    """Why a worker gave a sector up is kept as far as a report is."""
    await allocated(manager)
    await manager.call("Venus.ReportAborted", SECTOR, "x" * 500_000)
    found = await manager.call("Venus.FindSectorInAllStates", SECTOR)
    assert "x" * limits.REPORT_CHARACTERS + "…" == found["AbortReason"]


async def test_workers_and_readers_send_little(manager: Daemon) -> None:
    """What is large comes from operators and admins: others are refused above a MiB."""
    worker = tokens.read_file(manager.home / "worker-token")
    with pytest.raises(errors.RpcError, match="larger than 1048576 bytes, which is the limit with its scope"):
        await manager.call("Venus.ReportAborted", SECTOR, "x" * MIB, token=worker)
    with pytest.raises(errors.RpcError, match="sector state not found"):
        await manager.call("Venus.ReportAborted", SECTOR, "x" * MIB)
