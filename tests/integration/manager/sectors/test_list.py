"""`damocles-manager util sealer sectors list` against a running manager."""

import json

import anyio.to_thread
import msgspec
import pytest

from damocles.cli import manager as cli
from damocles.wire import commitments, control, records, seal
from damocles.wire.sectors import SectorID, SectorSize

from ..conftest import BLOCK_SECONDS, Clock, Manager, Start

COMM_D = commitments.zero_comm_d(SectorSize.KIB2)


async def fill(manager: Manager, clock: Clock | None = None) -> None:
    """Make one sector of each fate: proven, at work since a moment, aborted, and one that nobody reported."""
    for _ in range(4):
        await manager.call("AllocateSector", {})
    worker = seal.WorkerIdentifier("worker-1", "/store1")
    for number, state in ((1, "Finished"), (2, "PCSubmitted"), (3, "PC1Done")):
        sector = SectorID(10000, number)
        failure = seal.FailureReport("Permanent", "disk full") if number == 2 else None
        report = seal.ReportStateReq(worker, seal.StateChange("", state, ""), failure)
        await manager.call("ReportState", sector, report)
        if number < 3:
            ticket = await manager.call("AssignTicket", sector, returns=seal.Ticket)
            content = seal.PreCommit(COMM_D, COMM_D, ticket)
            await manager.call("SubmitPreCommit", seal.AllocatedSector(sector, 5), content, False)
        if number == 1:
            if clock is not None:
                clock.now += 10 * BLOCK_SECONDS
            await manager.call("WaitSeed", sector, 5)
            await manager.call("SubmitProof", sector, seal.Proof(b"proof"), False)
    await manager.call("ReportFinalized", SectorID(10000, 1))
    await manager.call("ReportAborted", SectorID(10000, 3), "by hand")


async def run(*arguments: str) -> int:
    """Run the command line beside the manager."""
    return await anyio.to_thread.run_sync(cli.main, ["util", "sealer", "sectors", *arguments])


async def test_the_table_shows_each_sector(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """Each sector has a line with its state, worker, store, messages, end and last error."""
    async with start() as manager:
        await fill(manager)
        assert 0 == await run("list", "--listen", manager.url)
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("s-t0")]
    assert [
        ["s-t010000-1", "Finished", "worker-1", "/store1", "landed", "verified", "finalized", "-"],
        ["s-t010000-2", "PCSubmitted", "worker-1", "/store1", "landed", "-", "-", "permanent:", "disk", "full"],
        ["s-t010000-3", "PC1Done", "worker-1", "/store1", "-", "-", "aborted:", "by", "hand", "-"],
        ["s-t010000-4", "-", "-", "-", "-", "-", "-", "-"],
    ] == lines


async def test_json_has_the_same(start: Start, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json the rows come as objects."""
    async with start(pre_commit_delay=5) as manager:
        await fill(manager, clock)
        capsys.readouterr()
        assert 0 == await run("list", "--json", "--listen", manager.url)
        shown = capsys.readouterr().out
    rows = json.loads(shown)
    assert ["s-t010000-1", "s-t010000-2", "s-t010000-3", "s-t010000-4"] == [row["sector"] for row in rows]
    assert ["landed", "pending", "", ""] == [row["pre_commit"] for row in rows]
    assert [True, False, False, False] == [row["finalized"] for row in rows]
    assert "by hand" == rows[2]["abort_reason"]


@pytest.mark.parametrize("most", [2, 3, 4])
async def test_ages_of_many_sectors_come_in_parts(
    start: Start, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """A manager tells the ages of some sectors at a time, and the list has those of all."""
    monkeypatch.setattr(control, "TIMES_AT_ONCE", most)
    async with start() as manager:
        await fill(manager)
        assert most == len(await manager.rpc.call("Damocles.SectorTimes", [], returns=list[control.SectorTimes]))
        capsys.readouterr()
        assert 0 == await run("list", "--json", "--listen", manager.url)
    rows = json.loads(capsys.readouterr().out)
    assert [True] * 4 == [row["since"] is not None for row in rows]


async def test_since_when_and_with_which_deals(start: Start, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """A report that changes nothing does not begin a state; without any it is the hand-out; an import tells no time."""
    moved, failed = seal.StateChange("Allocated", "DealsAcquired", "Deals"), seal.StateChange("PC1Done", "PC1Done", "x")
    worker, began = seal.WorkerIdentifier("worker-1", "/store1"), clock.now
    piece = seal.SectorPiece(seal.Piece(1024, commitments.unsealed_cid(COMM_D)), seal.DealInfo(deal_id=7))
    taken = records.SectorState.fresh(SectorID(10000, 9), 5)
    report = seal.ReportStateReq(worker, seal.StateChange("C1Done", "C2Done", "C2"), None)
    async with start() as manager:
        await manager.call("AllocateSector", {})
        await manager.call("AllocateSector", {})
        clock.now = began + 10
        await manager.call("ReportState", SectorID(10000, 1), seal.ReportStateReq(worker, moved, None))
        clock.now = began + 20
        await manager.call("ReportState", SectorID(10000, 1), seal.ReportStateReq(worker, failed, None))
        taken = msgspec.structs.replace(taken, latest_state=report, pieces=[piece])
        await manager.call("ImportSector", "online", taken, False)
        capsys.readouterr()
        assert 0 == await run("list", "--json", "--listen", manager.url)
        rows = json.loads(capsys.readouterr().out)
    assert [began + 10, began, None] == [row["since"] for row in rows]
    deal = {"deal_id": 7, "piece": str(piece.piece.cid), "size_bytes": 1024}
    assert [[], [], [deal]] == [row["deals"] for row in rows]


async def test_a_state_that_there_is_not_is_refused(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """With what was probably meant; one that no sector is in is an answer, and so is one that a worker has made up."""
    async with start() as manager:
        await fill(manager)
        report = seal.ReportStateReq(
            seal.WorkerIdentifier("worker-1", "/store1"), seal.StateChange("", "Polished", ""), None
        )
        await manager.call("ReportState", SectorID(10000, 4), report)
        capsys.readouterr()
        at = ("--listen", manager.url)
        assert 3 == await run("list", "--state", "PC1Don", *at)
        assert ("", 'error: there is no state PC1Don; did you mean "PC1Done"?\n') == capsys.readouterr()
        assert 0 == await run("list", "--state", "C2Done", "--json", *at)
        assert [] == json.loads(capsys.readouterr().out)
        assert 0 == await run("list", "--state", "Polished", "--json", *at)
        assert ["s-t010000-4"] == [row["sector"] for row in json.loads(capsys.readouterr().out)]


async def test_the_original_place_of_listen_works(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """`util --listen ADDRESS sealer sectors list` is understood as well."""
    async with start() as manager:
        capsys.readouterr()
        done = await anyio.to_thread.run_sync(
            cli.main, ["util", "--listen", manager.url, "sealer", "sectors", "list", "--json"]
        )
        shown = capsys.readouterr().out
    assert (0, []) == (done, json.loads(shown))


def test_no_manager_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a manager there the command says so and fails."""
    assert 4 == cli.main(["util", "sealer", "sectors", "list", "--listen", "127.0.0.1:1"])
    assert capsys.readouterr().err.startswith("error: manager: http://127.0.0.1:1/rpc/v0 cannot be reached")
