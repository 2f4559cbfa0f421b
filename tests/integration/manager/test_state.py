"""What a manager knows survives its end, whichever way it ends."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from damocles.manager import daemon, errors
from damocles.manager.sectors import ledger
from damocles.rpc import address
from damocles.rpc import errors as rpc_errors
from damocles.stores import layout
from damocles.testing import simulated_chain
from damocles.wire import commitments, fleet, seal
from damocles.wire.sectors import SealProof, SectorID, SectorSize

from . import proven
from .conftest import Clock, Manager, RecordedVerifier, Start

SECTOR = SectorID(10000, 1)
REPORT = seal.ReportStateReq(
    seal.WorkerIdentifier("worker-1", "/store1"),
    seal.StateChange("PC1Done", "PC2Done", "PC2"),
    seal.FailureReport("Temporary", "rpc error"),
)
PING = fleet.WorkerInfo("worker-1", "127.0.0.1:17890", "v", fleet.Summary(3, 0, 1, 1, 1, 0))


async def live(manager: Manager) -> list[tuple[str, Any]]:
    """Do one of each thing that changes the state."""
    await manager.call("AllocateSector", {})
    ticket = await manager.call("AssignTicket", SECTOR, returns=seal.Ticket)
    content = seal.PreCommit(
        commitments.commitment_of(commitments.sealed_cid(bytes(32))), commitments.zero_comm_d(SectorSize.KIB2), ticket
    )
    await manager.call("SubmitPreCommit", seal.AllocatedSector(SECTOR, 5), content, False)
    await manager.call("StoreReserveSpace", SECTOR, 4096, ["b", "a"])
    await manager.call("SubmitPersistedEx", SECTOR, "b", False)
    await manager.call("WaitSeed", SECTOR, 5)
    await manager.call("SubmitProof", SECTOR, seal.Proof(b"proof"), False)
    await manager.call("ReportState", SECTOR, REPORT)
    await manager.call("WorkerPing", PING)
    return await ask(manager)


async def ask(manager: Manager) -> list[tuple[str, Any]]:
    """Ask everything that `live` has changed."""
    questions: list[tuple[str, list[Any]]] = [
        ("FindSector", ["online", SECTOR]),
        ("PollPreCommitState", [SECTOR]),
        ("WaitSeed", [SECTOR, 5]),
        ("PollProofState", [SECTOR]),
        ("StoreReserveSpace", [SECTOR, 4096, ["a", "b"]]),
        ("WorkerPingInfoList", []),
        ("AssignTicket", [SECTOR]),
    ]
    return [(method, await manager.call(method, *params)) for method, params in questions]


async def test_a_restarted_manager_goes_on(start: Start) -> None:
    """After a restart every answer is the same, and the next number follows."""
    async with start() as manager:
        before = await live(manager)
    async with start() as manager:
        assert before == await ask(manager)
        assert 2 == (await manager.call("AllocateSector", {}))["ID"]["Number"]


async def test_another_epoch_length_goes_on_from_the_same_head(start: Start, clock: Clock, tmp_path: Path) -> None:
    """A chain restarted with another block delay neither jumps nor goes back."""
    async with start() as manager:
        await manager.call("AllocateSector", {})
        clock.to_epoch(1500)
        assert 600 == (await manager.call("AssignTicket", SECTOR))["Epoch"]
    with sqlite3.connect(tmp_path / "home" / "manager.db") as database:
        database.execute("UPDATE chain SET block_seconds = block_seconds / 2")  # then the head was 2000
    database.close()
    async with start() as manager:
        assert 1100 == (await manager.call("AssignTicket", SECTOR))["Epoch"]


async def test_every_report_is_kept(start: Start, tmp_path: Path) -> None:
    """The events of a sector hold each report, also one that comes after its end, and the failure it told of."""
    async with start() as manager:
        await manager.call("AllocateSector", {})
        await manager.call("ReportState", SECTOR, REPORT)
        await manager.call("ReportAborted", SECTOR, "given up")
        answer = await manager.call("ReportState", SECTOR, REPORT, returns=seal.SectorStateResp)
    assert seal.SectorStateResp(SECTOR, True, "given up") == answer
    with sqlite3.connect(tmp_path / "home" / "manager.db") as database:
        kept = database.execute(
            "SELECT number, worker, location, prev, next, event, failure_level, failure_text FROM sector_events"
        ).fetchall()
    database.close()
    assert 2 * [(1, "worker-1", "/store1", "PC1Done", "PC2Done", "PC2", "Temporary", "rpc error")] == kept


async def test_the_end_releases_the_reservation(start: Start, tmp_path: Path) -> None:
    """A finished or aborted sector holds no space any more."""
    async with start({"store": tmp_path}) as manager:
        for path in layout.persisted_names(SECTOR, SectorSize.KIB2):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        await proven.prove(manager, finalize=False, store="store")
        await manager.call("AllocateSector", {})
        for number, end in ((1, ("ReportFinalized",)), (2, ("ReportAborted", "reason"))):
            sector = SectorID(10000, number)
            await manager.call("StoreReserveSpace", sector, 4096, ["store"])
            assert 4096 == (await manager.call("StoreList"))[0]["Reserved"]
            await manager.call(end[0], sector, *end[1:])
            assert 0 == (await manager.call("StoreList"))[0]["Reserved"]


async def test_a_finished_sector_is_not_aborted(start: Start) -> None:
    """Reports of another end than the first one meet no sector."""
    async with start() as manager:
        await proven.prove(manager)
        with pytest.raises(rpc_errors.RpcError, match="sector state not found"):
            await manager.call("ReportAborted", SECTOR, "reason")


async def test_two_managers_do_not_share_a_home(start: Start, tmp_path: Path) -> None:
    """A second manager on the same home refuses to start and says why."""
    async with start():
        with pytest.raises(errors.StartError, match=r"home .* is in use by another manager \(pid \d+ on"):
            async with start():
                pass


async def test_a_damaged_database_is_refused(start: Start, tmp_path: Path) -> None:
    """A file that is no database is named in one line."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "manager.db").write_bytes(b"no database" * 1000)
    with pytest.raises(errors.StartError, match=r"manager\.db cannot be used: file is not a database; restore it"):
        async with start():
            pass


async def test_a_newer_database_is_refused(start: Start, tmp_path: Path) -> None:
    """A database of a later schema stays untouched."""
    async with start():
        pass
    with sqlite3.connect(tmp_path / "home" / "manager.db") as database:
        database.execute("UPDATE schema_version SET version = 99")
    database.close()
    with pytest.raises(errors.StartError, match=r"manager\.db: the database has schema 99"):
        async with start():
            pass


@pytest.mark.parametrize(("miner", "size"), [(10001, SectorSize.KIB2), (10000, SectorSize.MIB8)])
async def test_a_home_is_for_one_miner(
    start: Start, tmp_path: Path, verifier: RecordedVerifier, miner: int, size: SectorSize
) -> None:
    """A home with sectors is refused to another miner, and to another size; the message says how to start."""
    async with start() as manager:
        await manager.call("AllocateSector", {})
    other = daemon.Settings(
        home=tmp_path / "home",
        chain=simulated_chain.Source(miner=ledger.Miner(id=miner, proof=SealProof.of(size))),
        listen=address.Endpoint("127.0.0.1", 0),
    )
    with pytest.raises(errors.StartError, match=r"home .* start it with --miner 10000 --sector-size 2KiB, or choose"):
        async with daemon.serve(other, verifier):
            pass
