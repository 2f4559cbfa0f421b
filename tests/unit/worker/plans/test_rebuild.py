"""The handlers of the plan rebuild, as dialogues."""

from collections.abc import Callable

import pytest

from damocles.rpc import errors
from damocles.sealing import events, failures
from damocles.sealing.sectors import Sector
from damocles.stores.persist import PersistStore
from damocles.wire import codec, commitments, records, seal, tasks
from damocles.worker.plans import rebuild

from ..conftest import SECTOR, ZERO, Bench

Make = Callable[..., Sector]
ONES = codec.Bytes32(b"\1" * 32)
TICKET = seal.Ticket(bytes(32), 100)
CID = commitments.unsealed_cid(commitments.zero_comm_d(2048))
PIECE = seal.SectorPiece(seal.Piece(2048, CID), seal.DealInfo(is_builtin_market=False))


def sealed_as(comm_r: codec.Bytes32) -> records.KnownSector:
    """Return the record of a sector that was sealed with this CommR."""
    cid = commitments.sealed_cid(comm_r)
    return records.KnownSector(pre_commit=records.SubmittedPreCommit(cid, CID, TICKET))


async def test_legacy_pieces_win(bench: Bench) -> None:
    """Of the two lists the older one counts if it is filled, in the present form; without an id a piece is filler."""
    legacy = [
        seal.LegacyDeal(7, 900, seal.LegacyPiece(1024, 0, CID)),
        seal.LegacyDeal(0, 0, seal.LegacyPiece(1024, 1024, CID)),
    ]
    info = seal.SectorRebuildInfo(seal.AllocatedSector(SECTOR, 5), TICKET, legacy_pieces=legacy, pieces=[PIECE])
    bench.caller.answers["AllocateRebuildSector"] = [info]
    event = await rebuild.allocate_rebuild(bench.job(Sector(plan="rebuild")))
    assert isinstance(event, events.AllocatedRebuildSector)
    assert event.deals is not None
    assert [(7, 900, 1024, False), (0, 0, 1024, True)] == [
        (deal.deal.deal_id, deal.deal.payload_bytes, deal.piece.size_bytes, deal.is_filler) for deal in event.deals
    ]
    assert (None, TICKET) == (event.upgrade_from, event.ticket)


@pytest.mark.parametrize("upgraded", [False, True])
async def test_an_upgraded_sector_is_sealed_with_zeros_first(bench: Bench, sector: Make, upgraded: bool) -> None:
    """The first staged file holds the pieces, or of an upgraded sector none; those come with `prepare_for_snapup`."""
    bench.stages["add_pieces"] = [tasks.PieceInfo(commitments.zero_comm_d(2048), 2032)]
    rebuilt = sector(plan="rebuild", deals=[PIECE], upgrade_from=seal.SectorPublic(ZERO) if upgraded else None)
    await rebuild.add_original_pieces(bench.job(rebuilt))
    assert [0 if upgraded else 1] == [len(task.pieces) for _, task in bench.ran]
    event = await rebuild.prepare_for_snapup(bench.job(rebuilt))
    assert isinstance(event, events.AddPiece if upgraded else events.SkipSnap)
    assert [0, 1] if upgraded else [1] == [len(task.pieces) for _, task in bench.ran]


async def test_an_upgraded_sector_without_pieces_is_refused(bench: Bench, sector: Make) -> None:
    """What was encoded cannot be guessed."""
    rebuilt = sector(plan="rebuild", deals=None, upgrade_from=seal.SectorPublic(ZERO))
    with pytest.raises(failures.Permanent, match="the manager lists no pieces"):
        await rebuild.prepare_for_snapup(bench.job(rebuilt))


@pytest.mark.parametrize(
    ("known", "upgrade_from", "refused"),
    [
        (sealed_as(ZERO), None, False),
        (sealed_as(ONES), None, True),
        (errors.RpcError(1, "key not found"), None, False),
        (records.KnownSector(), None, False),
        (sealed_as(ONES), seal.SectorPublic(ZERO), False),
        (sealed_as(ZERO), seal.SectorPublic(ONES), True),
    ],
)
async def test_the_replica_is_compared_with_the_chain(
    bench: Bench, sector: Make, known: object, upgrade_from: seal.SectorPublic | None, refused: bool
) -> None:
    """CommR comes from the record, of an upgraded sector with the work; unknown to the manager, it is only tried."""
    bench.caller.answers["FindSectorInAllStates"] = [known]
    bench.stages["c1"] = b"{}"
    job = bench.job(sector(plan="rebuild", upgrade_from=upgrade_from))
    if refused:
        with pytest.raises(failures.Permanent, match=f"CommR {ZERO.hex()}, the chain knows {ONES.hex()}"):
            await rebuild.check_sealed(job)
    else:
        assert events.CheckSealed() == await rebuild.check_sealed(job)
        assert ["c1"] == [stage for stage, _ in bench.ran]


async def test_the_upgrade_is_compared_with_the_chain(bench: Bench, sector: Make) -> None:
    """The new CommR has to be the chain's, and its vanilla proofs have to verify; no SNARK is made."""
    rebuilt = sector(
        plan="rebuild", upgrade_from=seal.SectorPublic(ZERO), snap_encoded=tasks.SnapEncodeOutput(ONES, ONES, ONES)
    )
    bench.stages["snap_vanilla"] = []
    right, wrong = (
        records.KnownSector(upgraded_info=records.UpgradedInfo("persist", commitments.sealed_cid(comm_r)))
        for comm_r in (ONES, ZERO)
    )
    bench.caller.answers["FindSectorInAllStates"] = [right]
    assert events.SnapProve(None) == await rebuild.check_snapped(bench.job(rebuilt))
    assert ["snap_vanilla"] == [stage for stage, _ in bench.ran]
    bench.caller.answers["FindSectorInAllStates"] = [wrong]
    with pytest.raises(failures.Permanent, match=f"CommR {ONES.hex()}, the chain knows {ZERO.hex()}"):
        await rebuild.check_snapped(bench.job(rebuilt))


@pytest.mark.parametrize(("made", "replaces"), [(ONES, True), (ZERO, False)])
@pytest.mark.parametrize("upgraded", [False, True])
async def test_a_rebuilt_sector_replaces_damaged_files(
    bench: Bench, sector: Make, made: codec.Bytes32, replaces: bool, upgraded: bool
) -> None:
    """Whatever lies there is replaced by the replica that the chain has, and by no other one."""
    bench.caller.answers["StoreReserveSpace"] = [seal.StoreBasicInfo("p", "/p")]
    bench.caller.answers["FindSectorInAllStates"] = [
        records.KnownSector(upgraded_info=records.UpgradedInfo("persist", commitments.sealed_cid(ONES)))
        if upgraded
        else sealed_as(ONES)
    ]
    store = PersistStore(name="p", path=bench.data / "p")
    bench.persist_stores["p"], bench.stages["transfer"] = store, True
    cache = "update-cache" if upgraded else "cache"
    for root, byte in ((bench.data, b"\1"), (store.path, b"\2")):
        (root / cache / str(SECTOR)).mkdir(parents=True)
        (root / cache / str(SECTOR) / "p_aux").write_bytes(byte * 64)
    rebuilt = sector(
        plan="rebuild",
        upgrade_from=seal.SectorPublic(ZERO) if upgraded else None,
        pc2out=tasks.PC2Output("StackedDrg2KiBV1_1", made, ZERO),
        snap_encoded=tasks.SnapEncodeOutput(made, ZERO, ZERO),
    )
    if replaces:
        assert events.Persist("p") == await rebuild.persist_rebuilt(bench.job(rebuilt))
    else:
        with pytest.raises(failures.Permanent, match="nothing was replaced"):
            await rebuild.persist_rebuilt(bench.job(rebuilt))
    assert ([None] if replaces else []) == [task.keep for _, task in bench.ran]


@pytest.mark.parametrize("upgraded", [False, True])
async def test_the_manager_is_told_which_files(bench: Bench, sector: Make, upgraded: bool) -> None:
    """Files of an upgrade are reported as such."""
    bench.caller.answers["SubmitPersistedEx"] = [True]
    upgrade_from = seal.SectorPublic(ZERO) if upgraded else None
    rebuilt = sector(plan="rebuild", persist_instance="persist", upgrade_from=upgrade_from)
    assert events.SubmitPersistance() == await rebuild.submit_rebuilt(bench.job(rebuilt))
    assert [SECTOR, "persist", upgraded] == bench.caller.asked[0][1]
