"""Copies of finished sectors: limited, whole, and in one place."""

import errno
import os
from pathlib import Path

import pytest

from damocles.sealing import events, failures
from damocles.sealing.sectors import UnsealPiece
from damocles.sealing.states import State
from damocles.stages import job
from damocles.stages.files import copies
from damocles.stages.supervision import limits
from damocles.stores import identity, persist
from damocles.stores.persist import PersistStore
from damocles.wire import codec, commitments, records, seal, tasks
from damocles.worker.plans import sealer, snapup, unseal

from ..worker.conftest import Bench
from .conftest import sector_in


async def test_copying_to_a_persist_store_keeps_the_limit_of_transfers(bench: Bench, tmp_path: Path) -> None:
    """Persisting is the stage `transfer`, whose limit is kept as that of any other."""
    bench.persist_stores["persist"] = PersistStore(name="persist", path=tmp_path / "persist")
    bench.caller.answers["StoreReserveSpace"] = [seal.StoreBasicInfo("persist", "/persist")]
    bench.stages["transfer"] = True
    assert events.Persist("persist") == await sealer.persist(bench.job(sector_in(State.PCLanded)))
    assert ["transfer"] == [stage for stage, _ in bench.ran]
    desk = limits.Desk(concurrent={"transfer": 1}, staggered={}, locks={})
    places = [limits.Place(name=name, state="open") for name in "ab"]
    first = await desk.claim("transfer", places, lambda _: None)
    waits: list[str] = []

    class NowWaiting(Exception):
        """The second one has to wait."""

    def on_wait(what: str) -> None:
        waits.append(what)
        raise NowWaiting

    with pytest.raises(NowWaiting):
        await desk.claim("transfer", places, on_wait)
    assert ["slot of transfer (limit 1)"] == waits
    first.release()


def test_a_copy_that_ends_early_does_not_get_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that gives fewer bytes than it has makes a failure, and no short replica."""
    (tmp_path / "a").write_bytes(bytes(4096))
    sends = os.sendfile
    left = [1024]

    def short(to: int, source: int, offset: int, count: int) -> int:
        sent = sends(to, source, offset, min(count, left[0]))
        left[0] -= sent
        return sent

    monkeypatch.setattr(os, "sendfile", short)
    ends = [{"store_name": None, "uri": str(tmp_path / name)} for name in ("a", "b")]
    with pytest.raises(copies.TransferRefused, match="4096 bytes at first, 1024 at the end"):
        copies.follow(tasks.Route(src=ends[0], dest=ends[1]), job.Job())
    assert not (tmp_path / "b").exists()


@pytest.fixture
def persisting(bench: Bench, tmp_path: Path) -> Bench:
    """Return a bench with two persist stores that are known; the manager chooses the first candidate."""
    bench.memory = identity.Memory(tmp_path / "home")
    for name in ("a", "b"):
        persist.init(tmp_path / name)
        bench.persist_stores[name] = PersistStore(name=name, path=tmp_path / name)
        bench.memory.admit(tmp_path / name)
    bench.stages["transfer"] = True
    return bench


def unmount(store: Path) -> Path:
    """Leave a bare mount point in the place of a store, and return where its disk is now."""
    away = store.rename(store.with_name(f"{store.name} away"))
    store.mkdir()
    return away


def mount(store: Path, away: Path) -> None:
    """Bring it back."""
    store.rmdir()
    away.rename(store)


async def test_a_persist_store_that_is_not_mounted_takes_no_files(persisting: Bench, tmp_path: Path) -> None:
    """Files go to the stores that are there; with none, the copy waits for as long as it takes, and then goes on."""
    persisting.caller.answers["StoreReserveSpace"] = [seal.StoreBasicInfo("b", "/b"), seal.StoreBasicInfo("a", "/a")]
    job = persisting.job(sector_in(State.PCLanded))
    first = unmount(tmp_path / "a")
    assert events.Persist("b") == await sealer.persist(job)
    assert ["b"] == persisting.caller.asked[0][1][2]
    second = unmount(tmp_path / "b")
    with pytest.raises(
        failures.Lacking, match=f"persist store a: {tmp_path}/a is not the store .* is the disk mounted"
    ):
        await sealer.persist(job)
    assert 1 == len(persisting.ran)
    mount(tmp_path / "a", first)
    mount(tmp_path / "b", second)
    assert events.Persist("a") == await sealer.persist(job)


async def test_files_that_went_below_a_mount_point_are_not_reported(persisting: Bench, tmp_path: Path) -> None:
    """A disk that went away while files were copied has not got them: they are copied once more."""
    persisting.caller.answers["StoreReserveSpace"] = [seal.StoreBasicInfo("a", "/a")]
    persisting.stages["transfer"] = lambda _: bool(unmount(tmp_path / "a"))
    with pytest.raises(failures.Lacking, match="is the disk mounted"):
        await sealer.persist(persisting.job(sector_in(State.PCLanded)))


async def test_files_are_not_looked_for_below_a_mount_point(persisting: Bench, tmp_path: Path) -> None:
    """An upgrade, and a piece that is wanted, wait for the disk; nothing is taken for lost, nor delivered there."""
    cid = commitments.unsealed_cid(bytes(32))
    known = records.KnownSector(
        upgraded_info=records.UpgradedInfo("a", commitments.sealed_cid(bytes(32)), cid), upgraded=True
    )
    persisting.caller.answers |= {
        "FindSectorInAllStates": [known],
        "StoreBasicInfo": [seal.StoreBasicInfo("a", "/a")],
        "AcquireUnsealDest": [["store://a/piece"]],
    }
    piece = UnsealPiece(cid, 0, 2032, codec.Bytes32(bytes(32)))
    job = persisting.job(sector_in(State.Allocated, access_instance="a", unseal_piece=piece))
    unmount(tmp_path / "a")
    for handler in (snapup.fetch_and_encode, unseal.unseal, unseal.upload_piece):
        with pytest.raises(failures.Lacking, match=r"persist store a: .* is the disk mounted"):
            await handler(job)
    assert [] == persisting.ran


async def test_a_full_persist_store_is_named_and_waited_for(persisting: Bench) -> None:
    """The error says which store, and the sector is tried again for as long as it takes."""
    persisting.caller.answers["StoreReserveSpace"] = [seal.StoreBasicInfo("a", "/a")]
    persisting.stages["transfer"] = failures.Full("the sealing store", "[Errno 28] No space left on device: x to y")
    path = persisting.persist_stores["a"].path
    with pytest.raises(failures.Away, match=rf"no room in the persist store a \({path}\): \[Errno 28\] .*: x to y"):
        await sealer.persist(persisting.job(sector_in(State.PCLanded)))


def test_a_copy_onto_a_full_disk_names_both_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system says nothing of them."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "a").write_bytes(bytes(4096))
    monkeypatch.setattr(os, "sendfile", full)
    ends = [{"store_name": None, "uri": str(tmp_path / name)} for name in ("a", "b")]
    with pytest.raises(OSError, match=rf"No space left on device: {tmp_path}/a to {tmp_path}/.b.part"):
        copies.follow(tasks.Route(src=ends[0], dest=ends[1]), job.Job())
