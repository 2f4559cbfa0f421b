"""The handlers of the plans snapup and niporep, as dialogues."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from damocles.rpc import errors
from damocles.sealing import events, failures
from damocles.sealing.sectors import Sector
from damocles.stores.persist import PersistStore
from damocles.wire import codec, commitments, records, seal, sectors, tasks
from damocles.worker.plans import niporep, sealer, snapup

from ..conftest import SECTOR, ZERO, Bench

Make = Callable[..., Sector]
PIECE = seal.SectorPiece(
    seal.Piece(2048, commitments.unsealed_cid(commitments.zero_comm_d(2048))), seal.DealInfo(is_builtin_market=False)
)
ENCODED = tasks.SnapEncodeOutput(ZERO, ZERO, ZERO)
GONE = errors.RpcError(11001, "sector state not found")


@pytest.fixture
def upgrade(sector: Make) -> Sector:
    """Return a sector whose upgrade is persisted."""
    return sector(
        plan="snapup",
        deals=[PIECE],
        upgrade_from=seal.SectorPublic(ZERO),
        access_instance="persist",
        snap_encoded=ENCODED,
        snap_proof=codec.NumberList(b"proof"),
        persist_instance="persist",
    )


@pytest.mark.parametrize(
    ("pieces", "instance", "message"),
    [([], "persist", "deals required, got empty"), (None, "persist", "deals required"), ([PIECE], "", "which persist")],
)
async def test_a_sector_that_cannot_be_upgraded_is_given_up_after_it_was_recorded(
    bench: Bench, pieces: list[seal.SectorPiece] | None, instance: str, message: str
) -> None:
    """Without deals or a store the sector is aborted, and not before the record has it, so that the manager hears."""
    given = seal.AllocatedSnapUpSector(
        seal.AllocatedSector(SECTOR, 5), pieces, seal.SectorPublic(ZERO), seal.SectorPrivate(instance)
    )
    bench.caller.answers["AllocateSanpUpSector"] = [given]
    event = await snapup.allocate_snapup(bench.job(Sector(plan="snapup")))
    assert isinstance(event, events.AllocatedSnapUpSector)
    job = bench.job(Sector(plan="snapup")).having(
        allocated=event.allocated, deals=event.deals, access_instance=event.access_instance
    )
    with pytest.raises(failures.Abort, match=message):
        await snapup.add_deal_pieces(job)


async def test_a_thread_that_waits_for_an_upgrade_says_why_there_is_none(bench: Bench) -> None:
    """The manager knows whether it is deals or candidates that are missing; one that does not say is waited for as it is."""
    bench.caller.answers["AllocateSanpUpSector"] = [None]
    bench.caller.answers["Damocles.AllocateSanpUpSector"] = [None]
    assert events.Idle() == await snapup.allocate_snapup(bench.job(Sector(plan="snapup")))
    bench.caller.answers["Damocles.WhyNoUpgrade"] = ["no sector is a candidate"]
    told = events.Idle("a sector to upgrade with deals: no sector is a candidate")
    assert told == await snapup.allocate_snapup(bench.job(Sector(plan="snapup")))


async def test_the_sealed_files_are_linked_and_the_new_replica_is_made_anew(bench: Bench, upgrade: Sector) -> None:
    """Files of the persist store may be linked; what an earlier run has left of the new replica is replaced."""
    bench.persist_stores["persist"] = PersistStore(name="persist", path=bench.data / "persist")
    bench.caller.answers["StoreBasicInfo"] = [seal.StoreBasicInfo("persist", "/p", meta={"a": "b"})]
    bench.stages.update(transfer=True, snap_encode=ENCODED)
    job = bench.job(upgrade)
    job.place.update_cache_dir.mkdir(parents=True)
    (job.place.update_cache_dir / "p_aux").write_bytes(b"old")
    assert events.SnapEncode(ENCODED) == await snapup.fetch_and_encode(job)
    (_, transfer), (_, encode) = bench.ran
    assert [{"is_dir": False, "allow_link": True}] * 4 == [route.opt for route in transfer.routes]
    assert {"persist": tasks.StoreInfo("persist", {"a": "b"})} == transfer.stores
    assert str(job.place.sealed_file) == encode.sector_path
    assert 2048 == job.place.update_file.stat().st_size
    assert ["sc-02-data-tree-d.dat"] == [path.name for path in job.place.update_cache_dir.iterdir()]


async def test_an_invalid_proof_is_not_handed_in(bench: Bench, upgrade: Sector) -> None:
    """A proof that does not verify pauses the thread."""
    bench.stages.update(snap_vanilla=[codec.NumberList(b"v")], snap_prove=codec.NumberList(b"proof"), snap_verify=False)
    with pytest.raises(failures.Permanent, match="generated an invalid update proof for s-t010000-1"):
        await snapup.snap_prove(bench.job(upgrade))


@pytest.mark.parametrize(
    ("answer", "outcome", "text"),
    [
        (seal.Submitted(1), events.Finish, ""),
        (seal.Submitted(2), events.Finish, ""),
        (seal.Submitted(3, "other"), failures.Permanent, "rejected: other"),
        (seal.Submitted(4, "bad"), failures.Permanent, "rejected: bad"),
        (seal.Submitted(5, "gone"), events.RePersist, ""),
        (seal.Submitted(0), failures.Temporary, "answered 0"),
        (errors.RpcError(1, "commit snapup sector: duplicate commit job"), events.Finish, ""),
        (errors.RpcError(1, "no sender"), failures.Temporary, "no sender"),
    ],
)
async def test_what_the_manager_says_of_an_upgrade(
    bench: Bench, upgrade: Sector, answer: object, outcome: Any, text: str
) -> None:
    """Accepted and duplicate end the plan, missing files go back to persisting, a refusal is for a person to look at."""
    bench.caller.answers["SubmitSnapUpProof"] = [answer]
    if issubclass(outcome, events.Event):
        assert isinstance(await snapup.submit_snapup(bench.job(upgrade)), outcome)
        content = bench.caller.asked[0][1][1]
        assert seal.SnapUpProof(ZERO, ZERO, "persist", [PIECE.piece.cid], b"proof") == content
    else:
        with pytest.raises(outcome, match=text):
            await snapup.submit_snapup(bench.job(upgrade))


async def test_files_that_are_missed_twice_are_for_a_person(bench: Bench, upgrade: Sector) -> None:
    """Copied once more and missed again, a store is not what the manager takes it for: copying on would never end."""
    bench.caller.answers["SubmitSnapUpProof"] = [seal.Submitted(5, "not mounted")]
    event = await snapup.submit_snapup(bench.job(upgrade))
    assert isinstance(event, events.RePersist)
    again = bench.job(upgrade).having(repersisted=event.repersisted)
    with pytest.raises(
        failures.Permanent, match="the manager misses files in persist that were copied twice: not moun"
    ):
        await snapup.submit_snapup(again)


@pytest.mark.parametrize("ours", [True, False])
async def test_an_upgrade_that_landed_meanwhile(bench: Bench, upgrade: Sector, ours: bool) -> None:
    """A manager that is done with the sector has our upgrade, then all is well; or another, then ours is given up."""
    comm_r = ZERO if ours else codec.Bytes32(b"\1" * 32)
    bench.caller.answers["SubmitSnapUpProof"] = [GONE]
    bench.caller.answers["FindSectorInAllStates"] = [
        records.KnownSector(
            finalized=True, upgraded_info=records.UpgradedInfo("persist", commitments.sealed_cid(comm_r))
        )
    ]
    if ours:
        assert events.Finish() == await snapup.submit_snapup(bench.job(upgrade))
    else:
        with pytest.raises(failures.Abort):
            await snapup.submit_snapup(bench.job(upgrade))


# Non-interactive PoRep


@pytest.mark.parametrize(
    ("allowed", "asked"), [((5, 10, 15), [15]), ((), [15, 16, 17, 18, 19]), ((5,), [15, 16, 17, 18, 19])]
)
async def test_niporep_asks_for_its_own_family(bench: Bench, allowed: tuple[int, ...], asked: list[int]) -> None:
    """Of the proofs that are allowed, the plan niporep asks for the non-interactive ones alone."""
    bench.options = replace(bench.options, allowed_proofs=allowed)
    bench.caller.answers["AllocateSector"] = [None]
    await sealer.allocate_sector(bench.job(Sector(plan="niporep")))
    assert asked == bench.caller.asked[-1][1][0].allowed_proofs


async def test_niporep_refuses_another_family(bench: Bench, sector: Make) -> None:
    """A sector that needs a pre-commit is given up before anything is done."""
    with pytest.raises(failures.Abort, match="s-t010000-1 is to be sealed as StackedDrg2KiBV1_1"):
        await niporep.no_deals(bench.job(sector(plan="niporep")))
    ours = sector(plan="niporep", allocated=seal.AllocatedSector(SECTOR, 15))
    assert events.AcquireDeals(None) == await niporep.no_deals(bench.job(ours))


async def test_a_non_interactive_proof_brings_its_commitments(bench: Bench, sector: Make) -> None:
    """Nobody has pre-committed them, so they go with the proof; an interactive proof goes alone, as the original's."""
    bench.caller.answers["SubmitProof"] = [seal.Submitted(1)]
    for number in (15, 5):
        await sealer.submit_proof(bench.job(sector(allocated=seal.AllocatedSector(SECTOR, number))))
    (with_them, without) = [asked[1][1] for asked in bench.caller.asked]
    assert seal.Proof(b"proof", seal.PreCommit(ZERO, ZERO, seal.Ticket(bytes(32), 100))) == with_them
    assert b'{"Proof":"cHJvb2Y="}' == codec.encode(without)
    assert sectors.SealProof(15).is_non_interactive
