"""A store whose worker is killed while it tidies up, or whose record is damaged, loses no sector and mixes up none."""

import errno
import json
import os
import shutil
import sqlite3
import sys
import time
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest

from damocles.sealing.sectors import Sector
from damocles.sealing.states import State
from damocles.stores import identity, journal, original, sealing
from damocles.stores.persist import PersistStore
from damocles.wire import sectors
from damocles.worker.thread import loop, room, surroundings

from .conftest import SECTOR, Scene, sector_in, until


class Killed(BaseException):
    """Stands for the end of the process at a point of our choosing."""


def rewrite(location: Path, **fields: Any) -> None:
    """Change fields of the sector's record behind the journal's back."""
    with closing(sqlite3.connect(location / "meta" / journal.FILE_NAME)) as database, database:
        (record,) = database.execute("SELECT record FROM sector").fetchone()
        changed = json.dumps({**json.loads(record), **fields}).encode()
        database.execute("UPDATE sector SET record = ?", (changed,))


def test_a_record_has_the_name_of_its_state_and_not_a_number(scene: Scene) -> None:
    """States that a later release adds do not change what an older record says."""
    scene.holds(sector_in(State.PC1Done))
    with closing(sqlite3.connect(scene.location / "meta" / journal.FILE_NAME)) as database:
        (record,) = database.execute("SELECT record FROM sector").fetchone()
    assert "PC1Done" == json.loads(record)["state"]


@pytest.mark.parametrize("damage", [{"state": "PC7Done"}, {"state": 6}, {"plan": "sealer7"}])
async def test_a_record_that_cannot_be_read_stops_one_thread_and_changes_nothing(
    scene: Scene, damage: dict[str, object]
) -> None:
    """It is taken for no other state: the thread says what is wrong, the worker lives, and nobody is told a thing."""
    scene.holds(sector_in(State.PC1Done))
    rewrite(scene.location, **damage)
    async with scene.running() as thread:
        await until(lambda: thread.paused)
        assert "the sector record in" in (thread.detail().info.last_error or "")
        rewrite(scene.location, plan="sealer", state="PCSubmitted", path=["Allocated", "PCSubmitted"])
        thread.resume(None)
        await until(lambda: scene.asked("PollPreCommitState"))
    assert ([], []) == (scene.asked("ReportAborted"), scene.asked("AllocateSector"))


async def test_a_kill_after_the_files_of_a_finished_sector_are_gone_ends_it_all_the_same(scene: Scene) -> None:
    """The next start finds a finished sector without files: it tells the manager and takes the next one."""
    scene.holds(sector_in(State.Finished))
    async with scene.running():
        await until(lambda: scene.asked("AllocateSector"))
    assert Sector(plan="sealer") == scene.recorded()
    assert [[SECTOR]] == scene.asked("ReportFinalized")


async def test_a_sector_that_is_given_up_does_no_work_on_what_is_left(scene: Scene) -> None:
    """Files that cannot be moved away pause the thread; a resume tries that again and runs no stage."""
    scene.holds(sector_in(State.Aborted, last_error="rejected"))
    (scene.location / "data/sealed").mkdir()
    (scene.location / "trash").write_text("in the way")
    async with scene.running() as thread:
        await until(lambda: thread.paused)
        assert "cannot clear" in (thread.info().last_error or "")
        (scene.location / "trash").unlink()
        thread.resume(None)
        await until(lambda: scene.asked("AllocateSector"))
    assert [] == scene.stages.began
    assert ["sealed"] == [path.name for path in (scene.location / "trash").glob("*/*")]


@pytest.mark.parametrize("step", [0, 1])
def test_a_kill_while_files_go_to_the_trash_leaves_a_store(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Wherever giving up is cut short, the store can be opened, and the next try ends it."""
    for name in ("cache", "sealed"):
        (scene.location / "data" / name).mkdir()
    moves, left = Path.rename, step

    def killed(path: Path, target: Path) -> Path:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        return moves(path, target)

    with sealing.opened(scene.location) as store, monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with suppress(Killed):
            store.discard("s-t010000-1")
    with sealing.opened(scene.location) as store:
        store.discard("s-t010000-1")
        assert [] == list((scene.location / "data").iterdir())
    assert ["cache", "sealed"] == sorted(path.name for path in (scene.location / "trash").glob("*/*"))


class Usage(NamedTuple):
    """What a disk says."""

    total: int
    used: int
    free: int


@pytest.mark.parametrize(
    ("plan", "proofs", "free", "fits"),
    [
        ("sealer", (8, 13), 500 << 30, False),
        ("sealer", (8, 13), 520 << 30, True),
        ("sealer", (8, 5), 1 << 20, True),
        ("sealer", (), 0, True),
        ("unseal", (8,), 400 << 30, False),
        ("snapup", (8,), 170 << 30, True),
        ("wdpost", (8,), 0, True),
    ],
)
def test_a_sector_that_does_not_fit_is_not_begun(
    monkeypatch: pytest.MonkeyPatch, plan: str, proofs: tuple[int, ...], free: int, fits: bool
) -> None:
    """Room for the smallest sector that may come is asked of the disk first: 11 layers and more in large ones."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 50, 0, free))
    lacking = room.lacking(plan, proofs, Path("store"), 1e6)
    assert fits is (lacking is None)
    assert fits or f"room in store: {free >> 30}GiB are free" in (lacking or "")


async def test_a_thread_without_room_waits_for_it_and_says_so(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manager is not asked for a sector before there is room; nobody has to resume the thread then."""
    free = [0]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 50, 0, free[0]))
    scene.option(allowed_proofs=(int(sectors.SealProof.of(sectors.SectorSize.GIB32)),))
    async with scene.running() as thread:
        await until(lambda: (thread.activity.what or "").startswith("room in"))
        assert [] == scene.asked("AllocateSector")
        free[0] = 1 << 40
        await until(lambda: scene.asked("AllocateSector"))
        assert not thread.paused


async def test_a_disk_that_does_not_tell_its_room_keeps_nobody_from_sealing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the question is no want of room."""

    def fails(_: object) -> Usage:
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(shutil, "disk_usage", fails)
    scene.option(allowed_proofs=(8,))
    async with scene.running():
        await until(lambda: scene.asked("AllocateSector"))


def trashed(location: Path, name: str, age_seconds: float, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a sector of 8KiB into a store's trash, as if so long ago (a folder's ctime cannot be set)."""
    folder = location / "trash" / name
    (folder / "sealed").mkdir(parents=True)
    with (folder / "sealed" / "s-t010000-1").open("wb") as file:
        file.write(b"x" * 8192)
        file.flush()
        os.fsync(file.fileno())  # some file systems do not know before how much it takes
    ages[folder] = age_seconds
    monkeypatch.setattr(sealing, "_put_at", lambda each: each.lstat().st_ctime - ages.get(each, 0.0))
    return folder


ages: dict[Path, float] = {}


@pytest.mark.parametrize("free", [0, 1 << 40])
async def test_old_trash_is_emptied_before_room_is_looked_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    """What has been there for longer than the retention goes without another abort; what is younger stays."""
    old = trashed(scene.location, "old", 2e6, monkeypatch)
    young = trashed(scene.location, "young", 0.9e6, monkeypatch)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 50, 0, 0 if old.exists() else free))
    scene.option(allowed_proofs=(int(sectors.SealProof.of(sectors.SectorSize.GIB32)),))
    async with scene.running() as thread:
        await until(lambda: scene.asked("AllocateSector") if free else "room in" in (thread.activity.what or ""))
        assert not old.exists()
    assert (young / "sealed" / "s-t010000-1").exists()


async def test_want_of_room_names_the_trash(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """How much is in it, and until when; without any the text has no word of it."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 50, 0, 0))
    assert "trash" not in (room.lacking("sealer", (8,), scene.location, 1e6) or "")
    for name, age_seconds in (("one", 5e5), ("two", 1e5)):
        trashed(scene.location, name, age_seconds, monkeypatch)
    scene.option(allowed_proofs=(8,))
    async with scene.running() as thread:
        await until(lambda: "room in" in (thread.activity.what or ""))
        told = thread.activity.what or ""
    assert f"; {scene.location}/trash holds 16KiB, the oldest until " in told
    until_seconds = time.mktime(time.strptime(told.split("until ")[1].split(" (")[0], "%Y-%m-%dT%H:%M:%SZ"))
    assert 60 > abs(until_seconds - time.mktime(time.gmtime()) - 5e5)
    assert told.endswith("(worker.trash_retention)")


async def test_trash_that_cannot_be_emptied_fails_no_abort(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sector's own files have been moved: the thread goes on, other old trash goes, and the error is logged."""
    stuck = trashed(scene.location, "a", 2e6, monkeypatch)
    other = trashed(scene.location, "b", 2e6, monkeypatch)
    (scene.location / "trash" / "notes").write_text("of an operator")
    ages[scene.location / "trash" / "notes"] = 2e6
    real = shutil.rmtree

    def fails(folder: Path) -> None:
        if folder == stuck:
            raise OSError(5, os.strerror(5), str(folder))
        real(folder)

    monkeypatch.setattr(shutil, "rmtree", fails)
    scene.holds(sector_in(State.Aborted, last_error="rejected"))
    (scene.location / "data/sealed").mkdir()
    async with scene.running() as thread:
        await until(lambda: scene.asked("AllocateSector"))
        assert None is thread.info().last_error
    assert [True, False, False] == [path.exists() for path in (stuck, other, scene.location / "trash" / "notes")]
    assert [] == list((scene.location / "data").iterdir())


async def test_a_store_whose_disk_is_not_mounted_is_looked_for_and_not_made_anew(scene: Scene, tmp_path: Path) -> None:
    """Its thread says so, begins no other sector, obeys a pause, and goes on with options of its own once it is back."""
    memory = identity.Memory(tmp_path / "home")
    scene.holds(sector_in(State.PCSubmitted))
    scene.open_store = partial(surroundings.opened, memory=memory)
    with scene.open_store(scene.location):
        pass
    away = scene.location.rename(tmp_path / "away")
    async with scene.running() as thread:
        await until(lambda: thread.paused)
        assert "is the disk mounted" in (thread.info().last_error or "")
        assert not scene.location.exists()
        scene.location.mkdir()
        await until(lambda: "but an unmarked folder" in (thread.info().last_error or ""))
        assert [] == list(scene.location.iterdir())
        thread.pause()
        scene.location.rmdir()
        away.rename(scene.location)
        await until(lambda: thread.paused and thread.info().job_id is not None)
        assert thread.trouble is None
        thread.resume(None)
        await until(lambda: scene.asked("PollPreCommitState"))
    assert [] == scene.asked("AllocateSector")


async def test_a_store_that_another_worker_lets_go_is_taken(scene: Scene) -> None:
    """Until then the thread names the other worker's process; its lock ends with it, however it ends."""
    scene.holds(sector_in(State.PCSubmitted))
    code = (
        "import sys, time, pathlib; from damocles.stores import sealing; c = sealing.opened(pathlib.Path(sys.argv[1]));"
    )
    code += " c.__enter__(); print('held', flush=True); time.sleep(600)"
    async with await anyio.open_process([sys.executable, "-c", code, str(scene.location)]) as other:
        assert other.stdout is not None
        await other.stdout.receive()
        async with scene.running() as thread:
            await until(lambda: f"is in use by another worker (pid {other.pid} on" in (thread.info().last_error or ""))
            other.kill()
            await until(lambda: scene.asked("PollPreCommitState"))


async def test_a_store_that_cannot_be_opened_for_want_of_descriptors_is_opened_later(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to resume the thread: it looks again, as for a disk that is not mounted."""
    scene.holds(sector_in(State.PCSubmitted))
    opened, lacks = original.is_in, [True] * 3

    def is_in(meta: Path) -> bool:
        if lacks and lacks.pop():
            raise OSError(errno.EMFILE, "Too many open files", str(meta / "CURRENT"))
        return opened(meta)

    monkeypatch.setattr(original, "is_in", is_in)
    shown = set()
    async with scene.running() as thread:

        def is_past() -> bool:
            shown.add(thread.info().last_error)
            return bool(scene.asked("PollPreCommitState"))

        await until(is_past)
    assert {f"critical: {scene.location}/meta/CURRENT cannot be read: Too many open files", None} == shown


async def test_a_sector_that_could_not_be_persisted_is_not_begun(scene: Scene) -> None:
    """With readonly stores alone the thread waits, and says for what; hours of work and a deposit would be stuck."""
    thread = scene.thread()
    attached = {"p": PersistStore(name="p", path=scene.location, read_only=True)}
    thread = loop.SealingThread(
        0, scene.location, replace(thread.around, persist_stores=attached), lambda: scene.settings
    )
    async with anyio.create_task_group() as running:
        running.start_soon(thread.run)
        await until(lambda: "a persist store that is not readonly ([[attached]])" in str(thread.detail().waiting))
        running.cancel_scope.cancel()
    assert [] == scene.asked("AllocateSector")


async def test_room_that_another_sector_will_need_is_not_free(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two stores on one disk with room for one more sector: the second thread waits until the first one's is done."""
    size = sectors.SectorSize.GIB32
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 50, 0, 600 << 30))
    scene.option(allowed_proofs=(int(sectors.SealProof.of(size)),))
    other = tmp_path / "other"
    sealing.init(other)
    scene.room.opened(other, None)
    scene.room.keep(other, "sealer", size)
    async with scene.running() as thread:
        await until(lambda: "518.4GiB of them kept for sectors in other stores" in (thread.activity.what or ""))
        assert [] == scene.asked("AllocateSector")
        scene.room.drop(other)
        await until(lambda: scene.asked("AllocateSector"))


async def test_no_sector_no_room_kept(scene: Scene, tmp_path: Path) -> None:
    """A thread that the manager has nothing for keeps nothing from others."""
    scene.option(allowed_proofs=(5,))
    scene.caller.answers["AllocateSector"] = [None]
    other = tmp_path / "other"
    sealing.init(other)
    scene.room.opened(other, None)
    async with scene.running():
        await until(lambda: len(scene.asked("AllocateSector")) > 2)
    assert 0 == scene.room.missing_bytes(other)
