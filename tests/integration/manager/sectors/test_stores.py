"""A manager whose persist stores are not mounted says so, and takes no bare mount point for one."""

from pathlib import Path

import pytest
from sqlalchemy import Connection

from damocles.manager.db import engine
from damocles.manager.sectors import stores
from damocles.rpc.errors import DiskFails
from damocles.stores import identity, layout, persist
from damocles.wire.sectors import SectorID, SectorSize

SECTOR = SectorID(10000, 1)


@pytest.fixture
def ours(tmp_path: Path) -> stores.Stores:
    """Return two stores that the manager has seen."""
    for name in ("a", "b"):
        persist.init(tmp_path / name)
    made = stores.Stores({name: tmp_path / name for name in ("a", "b")}, identity.Memory(tmp_path / "home"))
    assert {} == made.look()
    return made


def unmount(folder: Path) -> None:
    """Leave a bare mount point."""
    folder.rename(folder.with_name(f"{folder.name} away"))
    folder.mkdir()


async def test_nothing_is_reserved_in_a_store_that_is_not_mounted(ours: stores.Stores, tmp_path: Path) -> None:
    """The space of the disk below counts for nothing; with the mount the store is there again."""
    async with engine.open_sqlite(tmp_path / "manager.db") as database:

        async def reserved(*names: str) -> str | None:
            usage = ours.usage()

            def reserve(tx: Connection) -> str | None:
                found = ours.reserve(tx, SECTOR, 4096, names, usage=usage, now=0.0)
                return found.name if found is not None else None

            return await database.write(reserve)

        assert "a" == await reserved("a")
        unmount(tmp_path / "a")
        assert None is await reserved("a")
        assert "b" == await reserved("a", "b")
        details = await database.read(lambda tx: ours.details(tx, ours.usage()))
        assert details is not None
        assert [("a", True), ("b", False)] == [(store.name, store.total_bytes == 0) for store in details]
        (tmp_path / "a").rmdir()
        (tmp_path / "a away").rename(tmp_path / "a")
        assert "a" == await reserved("a")


def test_files_are_not_missed_below_a_mount_point(ours: stores.Stores, tmp_path: Path) -> None:
    """What cannot be looked at is neither lost nor removed: whoever asks is told to ask again."""
    for name in layout.persisted_names(SECTOR, SectorSize.KIB2):
        (tmp_path / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a" / name).touch()
    ours.check_files(SECTOR, SectorSize.KIB2, "a", is_upgrade=False)
    unmount(tmp_path / "a")
    with pytest.raises(DiskFails, match=rf"persist store a: .* is the disk mounted\? .* --home {tmp_path}/home"):
        ours.check_files(SECTOR, SectorSize.KIB2, "a", is_upgrade=False)
    with pytest.raises(DiskFails, match="persist store a"):
        ours.remove_files(SECTOR, "a", is_upgrade=False)
    assert [] == list((tmp_path / "a").iterdir())


def test_a_look_at_one_store_touches_no_other(
    ours: stores.Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that hangs holds up nobody who asks about another one."""
    looked: list[Path] = []
    monkeypatch.setattr(identity.Memory, "admit", lambda _, location: looked.append(location))
    ours.in_order("a")
    assert [tmp_path / "a"] == looked
