"""The handlers of the plan unseal, as dialogues."""

from collections.abc import Callable
from pathlib import Path

import pytest

from damocles.rpc import errors
from damocles.sealing import events, failures
from damocles.sealing.sectors import Sector, UnsealPiece
from damocles.stores import identity
from damocles.stores.outlets import Outlets
from damocles.stores.persist import PersistStore
from damocles.wire import codec, commitments, records, seal, tasks
from damocles.worker import upstream
from damocles.worker.plans import repertoire, unseal

from ..conftest import SECTOR, ZERO, Bench

Make = Callable[..., Sector]
CID = commitments.unsealed_cid(ZERO)
PIECE = UnsealPiece(CID, 127, 254, ZERO)
INFO = seal.SectorUnsealInfo(
    sector=seal.AllocatedSector(SECTOR, 5),
    piece_cid=CID,
    offset_bytes=127,
    size_bytes=254,
    private=seal.SectorPrivate("persist"),
    ticket=seal.Ticket(bytes(32), 100),
    comm_d=ZERO,
    dest=["http://secret"],
)
UPGRADED = records.KnownSector(
    upgraded_info=records.UpgradedInfo("persist", commitments.sealed_cid(ZERO), commitments.unsealed_cid(ZERO))
)


@pytest.fixture
def unsealing(bench: Bench, sector: Make, tmp_path: Path) -> Sector:
    """Return a sector whose piece is wanted, and unsealed already; its persist store is attached, a folder takes pieces."""
    bench.persist_stores["persist"] = PersistStore(name="persist", path=tmp_path / "persist")
    bench.outlets = Outlets(folders=(tmp_path / "out",))
    for folder in ("persist", "out", "unsealed"):
        (tmp_path / folder).mkdir()
    (tmp_path / "unsealed" / CID).write_bytes(b"piece")
    return sector(plan="unseal", pieces=None, unseal_piece=PIECE, access_instance="persist")


async def test_a_task_is_recorded_without_its_destinations(bench: Bench) -> None:
    """What the manager hands out becomes the sector; destinations, which may hold secrets, are asked for later."""
    bench.caller.answers["AllocateUnsealSector"] = [INFO]
    event = await unseal.allocate_unseal(bench.job(Sector(plan="unseal")))
    assert events.AllocatedUnsealSector(INFO.sector, INFO.ticket, PIECE, "persist", None) == event


@pytest.mark.parametrize("answer", [None, errors.RpcError(1, "no")])
async def test_nothing_to_do_is_no_failure(bench: Bench, answer: object) -> None:
    """Null and errors alike let the thread idle."""
    bench.caller.answers["AllocateUnsealSector"] = [answer]
    assert isinstance(await unseal.allocate_unseal(bench.job(Sector(plan="unseal"))), events.Idle)


async def test_a_plain_sector_is_unsealed_where_it_lies(bench: Bench, unsealing: Sector, tmp_path: Path) -> None:
    """The stage reads the persist store and writes the piece into the sealing store."""
    bench.caller.answers["FindSectorInAllStates"] = [records.KnownSector()]
    bench.stages["unseal"] = 254
    assert events.Unsealed() == await unseal.unseal(bench.job(unsealing))
    (_, task) = bench.ran[0]
    assert (str(tmp_path / "persist/sealed/s-t010000-1"), 127, 254) == (task.sealed_file, task.offset, task.num_bytes)
    assert str(bench.data / "unsealed" / CID) == task.unsealed_output


async def test_too_few_bytes_are_refused(bench: Bench, unsealing: Sector) -> None:
    """The number of bytes is compared with what was asked for."""
    bench.caller.answers["FindSectorInAllStates"] = [errors.RpcError(1, "key not found")]
    bench.stages["unseal"] = 253
    with pytest.raises(failures.Permanent, match=r"unsealed 253 bytes of piece .* of s-t010000-1, 254 were requested"):
        await unseal.unseal(bench.job(unsealing))


async def test_a_piece_is_named_by_its_commitment(bench: Bench, unsealing: Sector) -> None:
    """What becomes the name of a file cannot be a path."""
    job = bench.job(unsealing).having(unseal_piece=UnsealPiece(codec.CID("../../x"), 0, 127, ZERO))
    with pytest.raises(failures.Permanent, match=r"the piece requested from s-t010000-1: '../../x' is not the CID"):
        await unseal.unseal(job)


async def test_a_store_that_is_not_attached_is_named(bench: Bench, unsealing: Sector) -> None:
    """Where the files cannot be reached, the message says which store is missing."""
    bench.persist_stores.clear()
    bench.caller.answers["FindSectorInAllStates"] = [records.KnownSector()]
    with pytest.raises(failures.Permanent, match="the persist store 'persist', which is not attached here"):
        await unseal.unseal(bench.job(unsealing))


async def test_an_upgraded_sector_is_decoded(bench: Bench, unsealing: Sector, tmp_path: Path) -> None:
    """The data of an upgrade comes out of its own files, under the replica from before."""
    (tmp_path / "persist/sealed").mkdir(parents=True)
    (tmp_path / "persist/sealed/s-t010000-1").touch()
    (tmp_path / "persist/cache/s-t010000-1").mkdir(parents=True)
    (tmp_path / "persist/cache/s-t010000-1/p_aux").touch()
    bench.caller.answers["FindSectorInAllStates"] = [UPGRADED]
    bench.stages["snap_decode"] = 254
    assert events.Unsealed() == await unseal.unseal(bench.job(unsealing))
    (stage, task) = bench.ran[0]
    assert "snap_decode" == stage
    assert (str(tmp_path / "persist/update/s-t010000-1"), str(tmp_path / "persist/sealed/s-t010000-1")) == (
        task.replica_path,
        task.sector_path,
    )


async def test_an_upgrade_that_the_manager_does_not_know_is_no_plain_sector(bench: Bench, unsealing: Sector) -> None:
    """Unsealed as if it had never been upgraded, it would give zeros."""
    bench.caller.answers["FindSectorInAllStates"] = [records.KnownSector(upgraded=True)]
    with pytest.raises(failures.Permanent, match="record of the upgraded sector s-t010000-1 lacks its CommD"):
        await unseal.unseal(bench.job(unsealing))


async def test_each_destination_is_an_event(bench: Bench, unsealing: Sector, tmp_path: Path) -> None:
    """The next destination that does not have the piece gets it; when all have it, the manager is told."""
    file = f"file://{tmp_path}/out/a"
    bench.caller.answers["AcquireUnsealDest"] = [[file, "http://user:pw@host/b?sign=x"]]
    bench.caller.answers["AchieveUnsealSector"] = [None]
    bench.stages.update(transfer=True, upload=254)
    first = await unseal.upload_piece(bench.job(unsealing))
    assert events.Uploaded((file,)) == first
    job = bench.job(unsealing).having(uploaded=first.uploaded)
    second = await unseal.upload_piece(job)
    assert isinstance(second, events.Uploaded)
    assert "http://host/b#" == second.uploaded[1][:14]
    assert tasks.Upload(str(bench.data / "unsealed" / CID), "http://user:pw@host/b?sign=x") == bench.ran[-1][1]
    assert events.UploadPieceDone() == await unseal.upload_piece(job.having(uploaded=second.uploaded))
    assert ("Venus.AchieveUnsealSector", [SECTOR, CID, ""]) == bench.caller.asked[-1]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/x", "unsupported url scheme 'ftp' of the destination ftp://host/x"),
        ("file://host", "it names a host"),
        ("http://[::1", "is not a URL"),
        ("market://store/x?host=h&scheme=http", "lacks token in its query"),
        ("store:///nonsense", "'nonsense' is not the CID"),
        ("store://elsewhere/x", "the piece is wanted in the persist store 'elsewhere', which is not attached"),
        ("store://persist/../x", r"an empty name, a \. or a \.\."),
        ("store://persist/", r"an empty name, a \. or a \.\."),
        ("store://old/x", "which is readonly here"),
        ("store://persist/sealed/s-t010000-2", "is among the sectors in the persist store persist"),
        ("store://persist/update-cache/s-t010000-2/p_aux", "is among the sectors in the persist store persist"),
        ("store://persist/.fences/s-t010000-2", "names that begin with a dot"),
        ("file://{tmp}/x/../persist/cache/s-t010000-2/p_aux", r"an empty name, a \. or a \.\."),
        ("file://{tmp}/elsewhere", r"below none of the folders of worker\.unseal_dirs"),
    ],
)
async def test_destinations_that_cannot_be(
    bench: Bench, unsealing: Sector, tmp_path: Path, url: str, message: str
) -> None:
    """A destination that no worker can serve pauses the thread; the text names it without its secrets."""
    url = url.replace("{tmp}", str(tmp_path))
    bench.caller.answers["AcquireUnsealDest"] = [[url]]
    bench.caller.answers["StoreBasicInfo"] = [seal.StoreBasicInfo("persist", "/p")]
    bench.persist_stores["old"] = PersistStore(name="old", path=bench.data / "old", read_only=True)
    with pytest.raises(failures.Permanent, match=message):
        await unseal.upload_piece(bench.job(unsealing))


async def test_a_file_in_a_store_waits_for_its_disk(bench: Bench, unsealing: Sector, tmp_path: Path) -> None:
    """A folder that takes pieces may have a persist store in it: nothing goes below the mount point of its disk."""
    persist, url = tmp_path / "out/persist", f"file://{tmp_path}/out/persist/pieces/a"
    persist.mkdir()
    bench.persist_stores["persist"] = PersistStore(name="persist", path=persist)
    bench.memory = identity.Memory(tmp_path / "home")
    bench.memory.admit(persist)
    bench.caller.answers["AcquireUnsealDest"] = [[url]]
    bench.stages["transfer"] = True
    mark = (persist / identity.FILE_NAME).read_bytes()
    (persist / identity.FILE_NAME).unlink()
    with pytest.raises(failures.Lacking, match="is the disk mounted"):
        await unseal.upload_piece(bench.job(unsealing))
    assert [] == bench.ran
    (persist / identity.FILE_NAME).write_bytes(mark)
    assert events.Uploaded((url,)) == await unseal.upload_piece(bench.job(unsealing))


async def test_a_failed_upload_is_tried_again(bench: Bench, unsealing: Sector) -> None:
    """The other side may be away for a while: the failure is temporary."""
    bench.caller.answers["AcquireUnsealDest"] = [["http://host/b"]]
    bench.stages["upload"] = failures.Permanent("503")
    with pytest.raises(failures.Temporary, match="503"):
        await unseal.upload_piece(bench.job(unsealing))


async def test_a_task_that_is_gone_is_done(bench: Bench, unsealing: Sector) -> None:
    """A manager that has forgotten the task does not wait for the piece."""
    bench.caller.answers["AcquireUnsealDest"] = [[]]
    bench.caller.answers["AchieveUnsealSector"] = [errors.RpcError(1, "achieve unseal info(…): task not found")]
    assert events.UploadPieceDone() == await unseal.upload_piece(bench.job(unsealing))


async def test_giving_up_tells_why_and_keeps_the_sector(bench: Bench, unsealing: Sector) -> None:
    """The manager hears the reason for the piece, and gets the sector back as a good one."""
    bench.caller.answers.update(AchieveUnsealSector=[None], ReportFinalized=[None])
    await repertoire.report_aborted(upstream.Manager(bench.caller), "worker-1", unsealing, "operator")
    assert [
        ("Venus.AchieveUnsealSector", [SECTOR, CID, "operator"]),
        ("Venus.ReportFinalized", [SECTOR]),
    ] == bench.caller.asked
