"""A store whose worker is killed while it tidies up, or whose record is damaged, loses no sector and mixes up none."""

import json
import os
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from damocles.sealing.sectors import Sector
from damocles.sealing.states import State
from damocles.stores import journal, sealing
from damocles.wire import sectors
from damocles.worker import room

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


@pytest.mark.parametrize("state", ["PC7Done", 6])
async def test_a_record_that_cannot_be_read_stops_one_thread_and_changes_nothing(scene: Scene, state: object) -> None:
    """It is taken for no other state: the thread says what is wrong, the worker lives, and nobody is told a thing."""
    scene.holds(sector_in(State.PC1Done))
    rewrite(scene.location, state=state)
    async with scene.running() as thread:
        await until(lambda: thread.paused)
        assert "the sector record in" in (thread.info().last_error or "")
        rewrite(scene.location, state="PCSubmitted")
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
    lacking = room.lacking(plan, proofs, Path("store"))
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
