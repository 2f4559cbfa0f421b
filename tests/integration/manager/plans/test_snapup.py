"""Upgrades of sectors, over HTTP, with a market of two deals."""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import pytest
from sqlalchemy.exc import OperationalError

from damocles.cli import manager as cli
from damocles.manager import errors
from damocles.manager.plans import snapup
from damocles.manager.sectors import deals
from damocles.rpc import errors as rpc_errors
from damocles.wire import commitments, control, exports, fleet, records, seal, wdpost
from damocles.wire.codec import Bytes32, decode
from damocles.wire.sectors import SectorID

from .. import proven
from ..conftest import BLOCK_SECONDS, Clock, Manager, RecordedVerifier, Start
from ..proven import ANY, SECTOR

SPEC = seal.AllocateSnapUpSpec(ANY, seal.AcquireDealsSpec())
NEW = Bytes32(b"\7" * 32)
PROOF = b"update"


@pytest.fixture
def market(tmp_path: Path) -> Path:
    """Return a folder with two deals of half a sector."""
    folder = tmp_path / "market"
    folder.mkdir()
    for number in (1, 2):
        cid = str(commitments.unsealed_cid(bytes([number]) * 32))
        deals.add(folder, deals.Offer(cid=cid, size_bytes=1024, payload_bytes=1000, deal_id=number))
    return folder


async def candidate(manager: Manager) -> None:
    """Have the first sector proven and made a candidate."""
    await proven.prove(manager)
    assert {"Total": 1, "Diff": 1} == await manager.call("SnapUpPreFetch", 10000, None)


async def hand_out(manager: Manager, store: str = "a") -> tuple[seal.AllocatedSnapUpSector, int] | None:
    """Ask for work on behalf of a sealing store."""
    handed = await manager.rpc.call("Damocles.AllocateSanpUpSector", [SPEC, store], returns=control.Handed | None)
    return (decode(handed.given, seal.AllocatedSnapUpSector), handed.attempt) if handed is not None else None


async def submit(manager: Manager, given: seal.AllocatedSnapUpSector, **changes: Any) -> seal.Submitted:
    """Hand in an upgrade of what was given."""
    pieces = given.pieces or []
    sizes = [(piece.piece.size_bytes, commitments.commitment_of(piece.piece.cid)) for piece in pieces]
    content: dict[str, Any] = {
        "comm_r": NEW,
        "comm_d": commitments.comm_d(sizes, 2048),
        "access_instance": "persist",
        "pieces": [piece.piece.cid for piece in pieces],
        "proof": PROOF,
    }
    answer: seal.Submitted = await manager.call(
        "SubmitSnapUpProof", given.sector.id, seal.SnapUpProof(**{**content, **changes}), returns=seal.Submitted
    )
    return answer


async def record(manager: Manager, sector: SectorID = SECTOR) -> records.SectorState:
    """Return the record of a sector, of the first one."""
    found: records.SectorState = await manager.call("FindSectorInAllStates", sector, returns=records.SectorState)
    return found


async def becomes(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds."""
    with anyio.fail_after(20):
        while not await condition():
            await anyio.sleep(0.02)


async def test_an_upgrade_from_candidate_to_the_chain(start: Start, market: Path) -> None:
    """A candidate gets deals and a worker; its proof lands, and with the worker's last word the sector is finished."""
    async with start(deals=market) as manager:
        await candidate(manager)
        assert [1, 1] == (await manager.call("SnapUpCandidates", 10000))[0]
        given = await manager.call("AllocateSanpUpSector", SPEC, returns=seal.AllocatedSnapUpSector)
        assert (SECTOR, 5, "persist", proven.COMM_R) == (
            *(given.sector.id, given.sector.proof, given.private.access_instance, given.public.comm_r),
        )
        assert [1, 2] == [piece.deal.deal_id for piece in given.pieces]
        assert [None] * 48 == await manager.call("SnapUpCandidates", 10000)
        assert seal.Submitted(seal.SubmitResult.ACCEPTED) == await submit(manager, given)
        found = await record(manager)
        assert found.upgraded_info is not None
        assert ("persist", commitments.sealed_cid(NEW), PROOF) == (
            *(found.upgraded_info.access_instance, found.upgraded_info.sealed_cid, found.upgraded_info.proof),
        )
        assert seal.SubmitResult.DUPLICATE == (await submit(manager, given)).res
        assert seal.SubmitResult.MISMATCHED == (await submit(manager, given, comm_r=Bytes32(bytes(32)))).res
        await manager.call("ReportFinalized", SECTOR)

        async def over() -> bool:
            return (await record(manager)).finalized

        await becomes(over)
        after = await record(manager)
        assert (True, 1000, proven.COMM_R) == (
            after.upgraded,
            after.upgrade_landed_epoch,
            after.upgrade_public.comm_r if after.upgrade_public else None,
        )
        assert {"Total": 0, "Diff": 0} == await manager.call("SnapUpPreFetch", 10000, None)


async def test_no_upgrade_begins_of_a_miner_that_cannot_send(start: Start, market: Path) -> None:
    """A thread that waits is told so; once the miner can send again the sector is handed out, and again if that was lost."""
    unfit = {10000}
    async with start(deals=market, unfit=lambda: unfit) as manager:
        unfit.clear()
        await candidate(manager)
        unfit.add(10000)
        assert await hand_out(manager) is None
        assert "nobody can send messages for f010000 now" in await manager.rpc.call(
            "Damocles.WhyNoUpgrade", [SPEC], returns=str
        )
        unfit.clear()
        given = await hand_out(manager)
        assert given is not None
        unfit.add(10000)
        again = await hand_out(manager)
        assert again is not None
        assert given[0].sector == again[0].sector


async def test_the_sector_waits_for_the_chain_and_survives_a_restart(start: Start, market: Path, clock: Clock) -> None:
    """A worker that has finished does not end it before the message has landed, also not over a restart."""
    async with start(deals=market, proof_delay=0) as manager:
        await candidate(manager)
    async with start(deals=market, proof_delay=10) as manager:
        handed = await hand_out(manager)
        assert handed is not None
        await submit(manager, handed[0])
        await manager.call("ReportFinalized", SECTOR)
        assert not (await record(manager)).finalized
    clock.now += 10 * BLOCK_SECONDS
    async with start(deals=market, proof_delay=10) as manager:

        async def over() -> bool:
            return (await record(manager)).finalized

        await becomes(over)
        assert 1010 == (await record(manager)).upgrade_landed_epoch


async def test_the_old_replica_is_proved_until_the_new_one_has_landed(start: Start, market: Path, clock: Clock) -> None:
    """A window PoSt is about what the chain has: the replica from before, until the message of the upgrade has landed."""

    async def to_prove(manager: Manager) -> list[wdpost.Sector] | None:
        made = await manager.rpc.call("Damocles.MockWdPoSt", [], returns=list[wdpost.Brief])
        (job,) = await manager.call("WdPoStAllocateJobs", wdpost.AllocateSpec(), 1, "w", returns=list[wdpost.Job])
        await manager.call("WdPoStRemoveJob", made[0].id)
        found: list[wdpost.Sector] | None = job.input.sectors
        return found

    accesses = wdpost.Accesses("persist", "persist")
    async with start(deals=market) as manager:
        await candidate(manager)
    async with start(deals=market, proof_delay=10) as manager:
        handed = await hand_out(manager)
        assert handed is not None
        await submit(manager, handed[0])
        before = [wdpost.Sector(1, proven.COMM_R, False, accesses)]
        assert before == await to_prove(manager)
        await manager.call("ReportFinalized", SECTOR)
        assert before == await to_prove(manager)
    clock.now += 10 * BLOCK_SECONDS
    async with start(deals=market, proof_delay=10) as manager:

        async def over() -> bool:
            return (await record(manager)).finalized

        await becomes(over)
        assert [wdpost.Sector(1, NEW, True, accesses)] == await to_prove(manager)


async def test_a_message_that_fails_is_sent_again(start: Start, market: Path) -> None:
    """The manager looks after the message of an upgrade by itself."""
    async with start(deals=market) as manager:
        await candidate(manager)
    async with start(deals=market, fail_messages=1) as manager:
        handed = await hand_out(manager)
        assert handed is not None
        await submit(manager, handed[0])

        async def landed() -> bool:
            return (await record(manager)).upgrade_landed_epoch is not None

        await becomes(landed)
        assert not (await record(manager)).finalized  # its worker is not done
        await manager.call("ReportFinalized", SECTOR)
        assert (await record(manager)).finalized


async def test_a_disk_that_fails_for_a_moment_ends_nothing(
    start: Start, market: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be written when a message has landed is written a block later; the manager lives on."""
    failing, real = [OperationalError("COMMIT", None, OSError("Input/output error"))], snapup.land

    def land(*arguments: Any) -> None:
        if failing:
            raise failing.pop()
        real(*arguments)

    monkeypatch.setattr(snapup, "land", land)
    async with start(deals=market) as manager:
        await candidate(manager)
        handed = await hand_out(manager)
        assert handed is not None
        await submit(manager, handed[0])

        async def landed() -> bool:
            return (await record(manager)).upgrade_landed_epoch is not None

        await becomes(landed)
    assert [] == failing


async def test_an_upgrade_that_cannot_be_followed_holds_up_no_other(
    start: Start, market: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What always fails for the first of two sectors leaves the second one to land."""
    real = snapup.land

    def land(tx: Any, sector: SectorID, *arguments: Any) -> None:
        if sector == SECTOR:
            raise ValueError("a record that nobody understands")
        real(tx, sector, *arguments)

    monkeypatch.setattr(snapup, "land", land)
    for number in (3, 4):
        cid = str(commitments.unsealed_cid(bytes([number]) * 32))
        deals.add(market, deals.Offer(cid=cid, size_bytes=1024, payload_bytes=1000, deal_id=number))
    async with start(deals=market) as manager:
        await proven.prove(manager)
        await proven.prove(manager, 2)
        await manager.call("SnapUpPreFetch", 10000, None)
        for store in ("a", "b"):
            handed = await hand_out(manager, store)
            assert handed is not None
            await submit(manager, handed[0])

        async def landed() -> bool:
            return (await record(manager, SectorID(10000, 2))).upgrade_landed_epoch is not None

        await becomes(landed)
        assert (await record(manager)).upgrade_landed_epoch is None


async def test_an_upgrade_whose_commitment_is_cancelled_is_not_followed_until_it_is_handed_in_again(
    start: Start, market: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message cannot be called back; the manager looks at it no more, and takes it up when the proof comes again."""
    real, looks, is_late = snapup.land, [], [True]

    def land(tx: Any, sector: SectorID, *arguments: Any) -> None:
        looks.append(sector)
        if sector == SECTOR and is_late:
            raise ValueError("not yet")
        real(tx, sector, *arguments)

    monkeypatch.setattr(snapup, "land", land)
    for number in (3, 4, 5):
        cid = str(commitments.unsealed_cid(bytes([number]) * 32))
        deals.add(market, deals.Offer(cid=cid, size_bytes=2048, payload_bytes=1000, deal_id=number))
    async with start(deals=market) as manager:
        for number in (1, 2, 3):
            await proven.prove(manager, number)
        await manager.call("SnapUpPreFetch", 10000, None)
        handed = [await hand_out(manager, store) for store in ("a", "b", "c")]
        given = [one[0] for one in handed if one is not None]
        with pytest.raises(rpc_errors.RpcError, match="no upgrade of s-t010000-1 has been submitted"):
            await manager.call("SnapUpCancelCommitment", SECTOR)

        async def has_landed(number: int) -> bool:
            return (await record(manager, SectorID(10000, number))).upgrade_landed_epoch is not None

        await submit(manager, given[0])
        await manager.call("SnapUpCancelCommitment", SECTOR)
        await submit(manager, given[1])
        await becomes(lambda: has_landed(2))  # in a look that began after the cancellation
        before = looks.count(SECTOR)
        await submit(manager, given[2])
        await becomes(lambda: has_landed(3))
        assert (before, False) == (looks.count(SECTOR), await has_landed(1))
        is_late.clear()
        assert seal.SubmitResult.DUPLICATE == (await submit(manager, given[0])).res
        await becomes(lambda: has_landed(1))


async def test_the_last_word_on_the_sealing_does_not_end_the_upgrade(start: Start, market: Path) -> None:
    """A sealing worker that did not hear the answer tells again that it has finished; the upgrade goes on."""
    async with start(deals=market) as manager:
        await candidate(manager)
        handed = await hand_out(manager)
        assert handed is not None
        await manager.call("ReportFinalized", SECTOR)
        assert not (await record(manager)).finalized
        assert seal.SubmitResult.ACCEPTED == (await submit(manager, handed[0])).res
        await manager.call("ReportFinalized", SECTOR)

        async def over() -> bool:
            return (await record(manager)).finalized

        await becomes(over)


async def test_without_deals_a_candidate_stays_one(start: Start, tmp_path: Path) -> None:
    """Too few deals are no work, and the sector is not touched."""
    async with start(deals=tmp_path) as manager:
        await candidate(manager)
        assert await manager.call("AllocateSanpUpSector", SPEC) is None
        assert await manager.rpc.call("Damocles.WhyNoUpgrade", [SPEC], returns=str) == "none is free"
        assert [1, 1] == (await manager.call("SnapUpCandidates", 10000))[0]
        assert (await record(manager)).finalized


async def test_giving_up_frees_deals_and_sector(start: Start, market: Path) -> None:
    """The sector is of committed capacity as before, and deals and sector can be had again."""
    async with start(deals=market) as manager:
        await candidate(manager)
        before = await record(manager)
        assert await hand_out(manager) is not None
        await manager.call("ReportAborted", SECTOR, "deals required, got empty")
        assert before == await record(manager)
        await manager.call("SnapUpPreFetch", 10000, None)
        again = await hand_out(manager)
        assert again is not None
        assert [1, 2] == [piece.deal.deal_id for piece in again[0].pieces or ()]


async def test_an_upgrade_on_its_way_cannot_be_given_up(start: Start, market: Path) -> None:
    """What was handed in lands; a worker that gives up then only ends its own part."""
    async with start(deals=market) as manager:
        await candidate(manager)
        handed = await hand_out(manager)
        assert handed is not None
        await submit(manager, handed[0])
        await manager.call("ReportAborted", SECTOR, "operator")

        async def over() -> bool:
            return (await record(manager)).finalized

        await becomes(over)
        after = await record(manager)
        assert (True, True, "") == (after.upgraded, after.upgraded_info is not None, after.abort_reason)


async def test_an_operator_ends_an_upgrade_whose_message_is_lost(
    start: Start, market: Path, tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sector is as it was before, though its worker lives, and is upgraded again, even by the same message."""

    async def abort(manager: Manager) -> int:
        given = ["util", "sealer", "sectors", "abort", "10000", "1", "--yes", "--listen", manager.url]
        return await anyio.to_thread.run_sync(cli.main, given)

    async with start(deals=market) as manager:
        await candidate(manager)
        before = await record(manager)
    async with start(deals=market, proof_delay=10) as manager:
        first = await hand_out(manager)
        assert first is not None
        report = seal.ReportStateReq(
            seal.WorkerIdentifier("w", "/s"), seal.StateChange("SnapProved", "SnapPersisted", "x")
        )
        await manager.call("ReportState", SECTOR, report)
        await submit(manager, first[0])
        await manager.call("ReportFinalized", SECTOR)
        capsys.readouterr()
        assert 1 == await abort(manager)
        assert "the upgrade of s-t010000-1 is on its way to the chain" in capsys.readouterr().err
        assert (await record(manager)).upgraded_info is not None
    with closing(sqlite3.connect(tmp_path / "home" / "manager.db")) as database, database:
        database.execute("DELETE FROM messages WHERE kind = 'update'")
    capsys.readouterr()
    async with start(deals=market, proof_delay=10) as manager:
        printed: list[str] = []

        async def told() -> bool:
            printed.append(capsys.readouterr().out)
            return "message of an upgrade is lost" in "".join(printed)

        await becomes(told)
        await manager.call("WorkerPing", fleet.WorkerInfo("w", "127.0.0.1:1", "v", fleet.Summary(1, 0, 0, 0, 0, 0)))
        await manager.call("ReportAborted", SECTOR, "a worker does not end it")
        assert (await record(manager)).upgraded_info is not None
        assert 0 == await abort(manager)
        assert before == msgspec.structs.replace(await record(manager), latest_state=None)
        query = exports.Query(state="all", limit=1)
        (kept,) = await manager.rpc.call("Damocles.SectorsExport", [query], returns=list[exports.Kept])
        assert exports.Files(normal="persist") == kept.files
        assert {"Total": 1, "Diff": 1} == await manager.call("SnapUpPreFetch", 10000, None)
        again = await hand_out(manager, "b")
        assert again is not None
        assert first[0] == again[0]
        assert seal.SubmitResult.ACCEPTED == (await submit(manager, again[0])).res
        clock.now += 10 * BLOCK_SECONDS

        async def landed() -> bool:
            return (await record(manager)).upgrade_landed_epoch is not None

        await becomes(landed)
        assert 0 == await abort(manager)
        assert (True, True) == ((after := await record(manager)).finalized, after.upgraded)


async def test_upgrades_that_are_refused(
    start: Start, market: Path, tmp_path: Path, verifier: RecordedVerifier
) -> None:
    """Wrong pieces and proofs have the original's texts; missing files can be brought; no key says nothing of the proof."""
    store = tmp_path / "persist"
    (store / "sealed").mkdir(parents=True)
    (store / "sealed" / str(SECTOR)).touch()
    (store / "cache" / str(SECTOR)).mkdir(parents=True)
    for name in ("p_aux", "t_aux", "sc-02-data-tree-r-last.dat"):
        (store / "cache" / str(SECTOR) / name).touch()
    async with start({"persist": store}, deals=market) as manager:
        await candidate(manager)
        handed = await hand_out(manager)
        assert handed is not None
        given, _ = handed
        cids = [piece.piece.cid for piece in given.pieces or ()]
        for changes, res, text in (
            ({"proof": b""}, 4, "empty proof is invalid"),
            ({"pieces": cids[:1]}, 4, "pieces count not match: 2 != 1"),
            ({"pieces": cids[::-1]}, 4, f"#0 piece cid not match: {cids[0]} != {cids[1]}"),
            ({"comm_d": NEW}, 4, f"CommD is {NEW.hex()}, with its pieces s-t010000-1 has"),
            ({}, 5, "not all files persisted: "),
        ):
            answer = await submit(manager, given, **changes)
            assert (res, True) == (answer.res, (answer.desc or "").startswith(text)), text
        (store / "sealed").rename(store / "update")
        (store / "cache").rename(store / "update-cache")
        verifier.answer = False
        refused = await submit(manager, given)
        assert seal.Submitted(seal.SubmitResult.REJECTED, "invalid update proof (compute error?)") == refused
        verifier.answer = errors.Unverifiable("no key")
        with pytest.raises(Exception, match="no key"):
            await submit(manager, given)
        verifier.answer = True
        assert seal.SubmitResult.ACCEPTED == (await submit(manager, given)).res
