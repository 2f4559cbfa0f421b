"""What the original's command line asks and does: the methods of its Go client, with their parameters and zero values."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from damocles.rpc import errors
from damocles.rpc.admission import access
from damocles.stores import layout
from damocles.wire import codec, control, proving, records, seal
from damocles.wire.sectors import SectorID, SectorSize

from .. import proven
from ..conftest import Clock, Manager, Start
from ..proven import SECTOR

STORE = "persist"
PIECE = codec.CID("baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq")
OTHER = SectorID(10000, 2)

# All methods of the Go client v0.13 that are not of the workers' API.
GO_CLIENT = frozenset({
    "CheckProvable", "FinalizeSector", "FindSector", "FindSectorInAllStates", "FindSectorWithPiece", "FindSectorsWithDeal",
    "GetInfo", "GetMinerConfig", "GetSeed", "GetTicket", "GetWindowPoStChanlleengeRand", "GetWindowPoStCommitRand",
    "ImportSector", "ListSectors", "PollTerminateSectorState", "ProvingSectorInfo", "RemoveSector", "RestoreSector",
    "SectorIndexerFind", "SectorSetForRebuild", "SimulateWdPoSt", "SnapUpCancelCommitment", "SnapUpCandidates",
    "SnapUpPreFetch", "StoreList", "StoreReleaseReserved", "TerminateSector", "UnsealPiece", "Version", "WorkerGetPingInfo",
    "WorkerPingInfoList", "WorkerPingInfoRemove",
})  # fmt: skip


async def refused(manager: Manager, method: str, *params: Any) -> str:
    """Return the text with which a method refuses."""
    with pytest.raises(errors.RpcError) as raised:
        await manager.call(method, *params)
    assert errors.Code.FAILED == raised.value.code
    return raised.value.message


def make_files(root: Path, sector: SectorID = SECTOR) -> None:
    """Let a sector's files be in a store."""
    for name in layout.persisted_names(sector, SectorSize.KIB2):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_every_method_of_the_go_client_has_a_rule() -> None:
    """Nothing that the original's command line calls is unknown here."""
    assert set() == {f"Venus.{name}" for name in GO_CLIENT} - set(access.RULES)


async def test_every_method_of_the_go_client_is_served(start: Start) -> None:
    """Each has an answer of its own, if only that this manager cannot do it."""
    async with start() as manager:
        for name in sorted(GO_CLIENT):
            with pytest.raises(errors.RpcError) as raised:
                await manager.rpc.call(f"Venus.{name}", [0] * 7)
            assert f"method 'Venus.{name}' not found" not in raised.value.message, name


async def test_a_mock_chain_terminates_nothing(start: Start) -> None:
    """That is said, and what would do it."""
    async with start() as manager:
        text = await refused(manager, "TerminateSector", SECTOR)
        assert "not supported by this manager: its chain is simulated, and nothing is sent" == text
        with pytest.raises(errors.RpcError, match=r"method 'VenusWorker\.WorkerPause' not found"):
            await manager.rpc.call("VenusWorker.WorkerPause", [0])


async def test_the_configuration_of_a_miner_is_what_the_manager_does(start: Start, tmp_path: Path) -> None:
    """It has the sections and keys of the original's; what the simulated chain has not is zero or absent."""
    async with start(deals=tmp_path) as manager:
        told = await manager.call("GetMinerConfig", 10000)
        assert "config for miner actor 10001 not found" == await refused(manager, "GetMinerConfig", 10001)
    assert ["Actor", "Sector", "SnapUp", "Commitment", "PoSt", "Proof", "Sealing"] == list(told)
    assert (10000, True, None) == (told["Actor"], told["Sector"]["EnableDeals"], told["Sector"]["MaxNumber"])
    for sends in (told["SnapUp"], told["PoSt"], *(told["Commitment"][kind] for kind in ("Pre", "Prove", "Terminate"))):
        assert ("<empty>", None, None) == (sends["Sender"], sends["Senders"], sends["GasFeeCap"])
    assert "4s" == told["SnapUp"]["Retry"]["PollInterval"], "a block of the simulated chain"
    assert not told["Sealing"]["UseSyntheticPoRep"]
    async with start() as manager:
        assert not (await manager.call("GetMinerConfig", 10000))["Sector"]["EnableDeals"]


async def test_randomness_is_that_of_the_chain(start: Start, clock: Clock) -> None:
    """A ticket is the one that a worker is given, a seed likewise; the epoch asked for is echoed, a future one refused."""
    async with start(challenge_delay=10) as manager:
        await manager.call("AllocateSector", {})
        given = await manager.call("AssignTicket", SECTOR)
        tipset = [{"/": "bafy2bzaceaa43et73tgxsoh2xizd4mxhbrcfig4kqp25zfa5scdgkzppllyuu"}]
        for key in (tipset, [], None):
            assert given == await manager.call("GetTicket", key, given["Epoch"], 10000)
        seed = await manager.call("GetSeed", None, 1000, 10000)
        challenge = await manager.call("GetWindowPoStChanlleengeRand", None, 1000, 10000)
        commit = await manager.call("GetWindowPoStCommitRand", None, 1000)
        assert (["Seed", "Epoch"], ["Epoch", "Rand"], ["Epoch", "Rand"]) == (list(seed), list(challenge), list(commit))
        assert 3 == len({seed["Seed"], challenge["Rand"], commit["Rand"]})
        assert 1000 == seed["Epoch"] == challenge["Epoch"] == commit["Epoch"]
        clock.to_epoch(1005)
        assert "there is no randomness of epoch 1006 (yet): the head is 1005" == await refused(
            manager, "GetTicket", None, 1006, 10000
        )
        assert "epoch -1" in await refused(manager, "GetWindowPoStCommitRand", None, -1)


async def test_sectors_are_found_by_deal_and_piece(start: Start) -> None:
    """Built-in deals by their number, pieces by their CID, legacy deals too; nothing found is null."""
    piece = seal.SectorPiece(seal.Piece(1024, PIECE), seal.DealInfo(deal_id=3))
    legacy = {
        "ID": 4,
        "PayloadSize": 1,
        "Piece": {"Size": 1024, "Offset": 0, "Cid": {"/": str(PIECE)}},
        "Proposal": None,
    }
    async with start() as manager:
        for number, found in ((1, {"pieces": [piece]}), (2, {"deals": [legacy]}), (3, {})):
            fresh = records.SectorState.fresh(SectorID(10000, number), 5)
            record = msgspec.structs.replace(fresh, **found)
            assert True is await manager.call("ImportSector", "online", record, False)
        for deal, numbers in ((3, [1]), (4, [2])):
            (one,) = await manager.call("FindSectorsWithDeal", "online", deal)
            assert numbers == [one["ID"]["Number"]]
        assert 2 == (await manager.call("FindSectorWithPiece", "online", PIECE))["ID"]["Number"]
        assert None is await manager.call("FindSectorsWithDeal", "online", 7)
        assert None is await manager.call("FindSectorsWithDeal", "offline", 3)
        assert None is await manager.call("FindSectorWithPiece", "offline", PIECE)
        assert "empty deal id" == await refused(manager, "FindSectorsWithDeal", "online", 0)


async def test_files_are_found_in_the_index(start: Start, tmp_path: Path) -> None:
    """As the original's proxy asks for them; what is nowhere has empty names."""
    async with start({STORE: tmp_path}) as manager:
        await manager.call("AllocateSector", {})
        nowhere = {"Found": False, "Instance": {"SealedFile": "", "CacheDir": ""}}
        assert nowhere == await manager.call("SectorIndexerFind", "normal", SECTOR)
        make_files(tmp_path)
        await manager.call("SubmitPersistedEx", SECTOR, STORE, False)
        there = {"Found": True, "Instance": {"SealedFile": STORE, "CacheDir": STORE}}
        assert there == await manager.call("SectorIndexerFind", "normal", SECTOR)
        assert nowhere == await manager.call("SectorIndexerFind", "upgrade", SECTOR)


async def test_a_proven_sector_is_shown_with_its_files(start: Start, tmp_path: Path) -> None:
    """What the simulated chain does not keep is zero; paths are those of the store."""
    async with start({STORE: tmp_path}) as manager:
        assert "s-t010000-1 is not proven on the chain" == await refused(manager, "ProvingSectorInfo", SECTOR)
        make_files(tmp_path)
        await proven.prove(manager)
        shown = await manager.call("ProvingSectorInfo", SECTOR)
        record: records.SectorState = await manager.call("FindSectorInAllStates", SECTOR, returns=records.SectorState)
        assert record.pre_commit is not None
        assert {"/": record.pre_commit.comm_r} == shown["OnChain"]["SealedCID"]
        assert (1, 5, None, "0") == tuple(
            shown["OnChain"][key] for key in ("SectorNumber", "SealProof", "SectorKeyCID", "InitialPledge")
        )
        assert {
            "Accesses": {"SealedFile": STORE, "CacheDir": STORE},
            "CacheDirPath": str(tmp_path / "cache/s-t010000-1"),
            "SealedSectorPath": str(tmp_path / "sealed/s-t010000-1"),
            "CacheDirURI": "cache/s-t010000-1",
            "SealedSectorURI": "sealed/s-t010000-1",
        } == shown["Private"]


async def test_a_check_names_what_is_missing(start: Start, tmp_path: Path) -> None:
    """By number and reason: no place, a missing file, another CommR; a strict check is not pretended."""
    async with start({STORE: tmp_path}) as manager:
        make_files(tmp_path)
        await proven.prove(manager)
        record: records.SectorState = await manager.call("FindSectorInAllStates", SECTOR, returns=records.SectorState)
        assert record.pre_commit is not None
        good = proving.Extended(proof=5, number=1, sealed_cid=record.pre_commit.comm_r)
        for state_check in (False, True):
            assert {} == await manager.call("CheckProvable", 10000, 10, [good], False, state_check)
        assert {} == await manager.call("CheckProvable", 10000, 10, None, False, False)
        bad = [proving.Extended(proof=5, number=1, sealed_cid=PIECE), proving.Extended(proof=5, number=9)]
        found = await manager.call("CheckProvable", 10000, 10, bad, False, True)
        assert ["1", "9"] == list(found)
        assert f"the chain {PIECE}" in found["1"]
        assert "object not found" in found["9"]
        (tmp_path / "cache/s-t010000-1/p_aux").unlink()
        found = await manager.call("CheckProvable", 10000, 10, [good], False, False)
        assert "stat object cache/s-t010000-1/p_aux" in found["1"]
        assert "CheckProvable: a strict check (--slow)" in await refused(
            manager, "CheckProvable", 10000, 10, [good], True, False
        )


async def test_a_check_says_what_it_cannot_look_at(start: Start) -> None:
    """A store that is on another machine is not called good."""
    async with start() as manager:
        await manager.call("AllocateSector", {})
        await manager.call("SubmitPersistedEx", SECTOR, "elsewhere", False)
        found = await manager.call("CheckProvable", 10000, 10, [proving.Extended(number=1)], False, False)
        assert {"1": "not checked: this manager does not have the store elsewhere"} == found


async def test_an_import_takes_over_what_is_not_here(start: Start) -> None:
    """One record at a time; what is here stays unless it is to be replaced, which is audited with what was before."""
    async with start() as manager:
        fresh = records.SectorState.fresh(SECTOR, 5)
        assert True is await manager.call("ImportSector", "online", fresh, False)
        over = msgspec.structs.replace(fresh, finalized=True)
        assert False is await manager.call("ImportSector", "offline", over, False)
        assert True is await manager.call("ImportSector", "offline", over, True)
        assert await manager.call("FindSector", "offline", SECTOR)
        entries = await manager.rpc.call("Damocles.AuditList", [control.AuditQuery()], returns=list[control.AuditEntry])
        assert ["Venus.ImportSector"] * 3 == [entry.what for entry in entries]
        assert (False, True) == (entries[-1].before["Finalized"], entries[-1].after["Finalized"])
        foreign = records.SectorState.fresh(SectorID(777, 1), 5)
        assert "is not of f010000" in await refused(manager, "ImportSector", "online", foreign, True)
        # Its number is not given to another sector afterwards.
        allocated: seal.AllocatedSector = await manager.call("AllocateSector", {}, returns=seal.AllocatedSector)
        assert OTHER == allocated.id


async def test_a_sector_that_was_given_up_is_restored(start: Start) -> None:
    """Without force only such a one, and without deals; by force any, which keeps its reason."""
    async with start() as manager:
        await manager.call("AllocateSector", {})
        assert "load state from offline: key not found" == await refused(manager, "RestoreSector", SECTOR, False)
        await manager.call("ReportAborted", SECTOR, "mistaken")
        await manager.call("RestoreSector", SECTOR, False)
        restored = await manager.call("FindSector", "online", SECTOR)
        assert ("", False) == (restored["AbortReason"], restored["Finalized"])
        await manager.call("ReportAborted", SECTOR, "meant")
        await proven.prove(manager, OTHER.number)
        assert "sector is not aborted" in await refused(manager, "RestoreSector", OTHER, False)
        await manager.call("RestoreSector", OTHER, True)
        await manager.call("ReportFinalized", OTHER)
        piece = seal.SectorPiece(seal.Piece(2048, PIECE), seal.DealInfo(deal_id=3))
        record: records.SectorState = await manager.call("FindSector", "offline", SECTOR, returns=records.SectorState)
        withdeals = msgspec.structs.replace(record, pieces=[piece], abort_reason="x")
        await manager.call("ImportSector", "offline", withdeals, True)
        assert "sector with deals can not be normally restored" == await refused(
            manager, "RestoreSector", SECTOR, False
        )


async def test_an_operator_finishes_what_is_on_the_chain(start: Start) -> None:
    """Only that; its worker's next word is that it is over."""
    async with start() as manager:
        await manager.call("AllocateSector", {})
        assert "it cannot be finished, but aborted" in await refused(manager, "FinalizeSector", SECTOR)
        await manager.call("ReportAborted", SECTOR, "again")
        await proven.prove(manager, OTHER.number, finalize=False)
        await manager.call("FinalizeSector", OTHER)
        assert (await manager.call("FindSector", "offline", OTHER))["Finalized"]


async def test_a_removal_deletes_files_of_dead_sectors_only(start: Start, tmp_path: Path) -> None:
    """What is at work or alive on the chain keeps its files; a second removal does nothing."""
    async with start({STORE: tmp_path}) as manager:
        make_files(tmp_path)
        await proven.prove(manager, finalize=False)
        assert "load state from offline: key not found" == await refused(manager, "RemoveSector", SECTOR)
        await manager.call("ReportFinalized", SECTOR)
        assert "alive on the chain" in await refused(manager, "RemoveSector", SECTOR)
        await manager.call("AllocateSector", {})
        make_files(tmp_path, OTHER)
        await manager.call("SubmitPersistedEx", OTHER, STORE, False)
        await manager.call("ReportAborted", OTHER, "lost")
        for _ in range(2):
            await manager.call("RemoveSector", OTHER)
        left = {path.name for path in tmp_path.glob("*/s-t010000-*")}
        assert {"s-t010000-1"} == left
        assert (await manager.call("FindSector", "offline", OTHER))["Removed"]


async def test_a_termination_is_none(start: Start) -> None:
    """The record has the zeros of the original."""
    async with start() as manager:
        await manager.call("AllocateSector", {})
        zero = {"TerminateCid": None, "TerminatedAt": 0, "AddedHeight": 0}
        assert zero == await manager.call("PollTerminateSectorState", SECTOR)
        with pytest.raises(errors.RpcError) as raised:
            await manager.call("PollTerminateSectorState", OTHER)
        assert errors.Code.SECTOR_STATE_NOT_FOUND == raised.value.code
