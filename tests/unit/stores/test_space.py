"""Room in folders, and disks that do not answer."""

import shutil
import threading
from pathlib import Path

import pytest

from damocles.stores import identity, persist, space


async def test_the_room_of_each_folder_is_told(tmp_path: Path) -> None:
    """Every folder that is there is told with what its disk says, one that is not is left out."""
    found = await space.Space({"here": tmp_path, "gone": tmp_path / "gone"}).ask()
    assert ["here"] == list(found)
    assert shutil.disk_usage(tmp_path).total == found["here"].total
    assert 0 < found["here"].free <= found["here"].total


async def test_a_store_that_is_not_mounted_is_told_with_no_room(tmp_path: Path) -> None:
    """The disk below a mount point is not measured in its place; what is back is told again."""
    memory, mount = identity.Memory(tmp_path / "home"), tmp_path / "mount"
    persist.init(mount)
    memory.admit(mount)
    stores = space.Space({"s": mount, "unseen": tmp_path / "unseen"}, memory=memory)
    assert (["s"], ["unseen"]) == (list(await stores.ask()), list(stores.missing))
    assert "cannot be read (No such file or directory): is the disk mounted?" in stores.missing["unseen"]
    mount.rename(tmp_path / "away")
    for what in ("nothing", "a bare mount point", "another store"):
        if what == "a bare mount point":
            mount.mkdir()
        elif what == "another store":
            persist.init(mount)
        assert [] == list(await stores.ask())
        assert "is the disk mounted?" in stores.missing["s"], what
    shutil.rmtree(mount)
    (tmp_path / "away").rename(mount)
    assert (["s"], ["unseen"]) == (list(await stores.ask()), list(stores.missing))


async def test_a_disk_that_hangs_is_left_out_and_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that hangs costs the patience once, then nothing, until it has answered; the others are told."""
    real, answer, asked = shutil.disk_usage, threading.Event(), []

    def disk_usage(path: Path) -> object:
        asked.append(path.name)
        if path.name == "hangs":
            answer.wait(30)
        return real(tmp_path)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    stores = space.Space({"hangs": tmp_path / "hangs", "well": tmp_path / "well"}, patience_seconds=0.2)
    try:
        assert ["well"] == list(await stores.ask())
        assert ["well"] == list(await stores.ask())
        assert 1 == asked.count("hangs")
    finally:
        answer.set()
    for _ in range(100):
        found = await stores.ask()
        if "hangs" in found:
            break
    assert {"hangs", "well"} == set(found)
