"""Links among the files of sectors and deals: what they lead to outside is neither replaced nor deleted nor served."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.integration.access.conftest import StartManager

from damocles.manager import errors
from damocles.manager.sectors import deals, stores
from damocles.stages import job
from damocles.stages.files import copies
from damocles.stores import identity, sealing
from damocles.wire import codec, commitments, tasks
from damocles.wire.sectors import SectorID, SectorSize
from damocles.worker.plans import local_files

SECTOR = SectorID(10000, 7)
CID = commitments.unsealed_cid(commitments.zero_comm_d(128))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the stores with what nobody may touch."""
    folder = tmp_path / "outside"
    (folder / "inner").mkdir(parents=True)
    for path in (folder / "precious", folder / "inner" / "precious"):
        path.write_text("precious")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[sealing.SealingStore]:
    """An open sealing store."""
    sealing.init(tmp_path / "store")
    with sealing.opened(tmp_path / "store") as opened:
        yield opened


def is_whole(outside: Path) -> bool:
    """Return whether everything outside is as it was."""
    return [(outside / "inner" / "precious").read_text(), (outside / "precious").read_text()] == ["precious"] * 2


def linked(store: sealing.SealingStore, outside: Path) -> None:
    """Put links of every kind where a sector's files are."""
    data = store.location / "data"
    place = store.layout(SECTOR, SectorSize.KIB2)
    for folder in (place.cache_dir, place.sealed_file.parent):
        folder.mkdir(parents=True)
    (place.cache_dir / "folder").symlink_to(outside)
    (place.cache_dir / "file").symlink_to(outside / "precious")
    (place.cache_dir / "dangling").symlink_to(outside / "none")
    (place.cache_dir / "circle").symlink_to(place.cache_dir)
    place.sealed_file.symlink_to(outside / "precious")
    os.link(outside / "precious", data / "hard")
    (data / "top").symlink_to(outside, target_is_directory=True)


def test_clearing_a_store_keeps_to_the_store(store: sealing.SealingStore, outside: Path) -> None:
    """The working files of a finished sector go, and what links among them lead to stays."""
    linked(store, outside)
    store.clear()
    assert [] == list((store.location / "data").iterdir())
    assert is_whole(outside)


def test_the_trash_keeps_to_the_store(store: sealing.SealingStore, outside: Path) -> None:
    """What is put aside and later deleted are links, and not what they lead to."""
    linked(store, outside)
    assert store.discard("s") is not None
    assert sealing.trash(store.location) is not None
    assert 1 == len(store.empty_trash(-1.0))
    assert is_whole(outside)


def test_a_trash_that_leads_elsewhere_is_not_emptied(store: sealing.SealingStore, outside: Path) -> None:
    """A link in the place of the trash is no trash of this store."""
    (store.location / "trash").symlink_to(outside, target_is_directory=True)
    assert None is sealing.trash(store.location)
    assert [] == store.empty_trash(-1.0)
    assert is_whole(outside)


def test_a_store_whose_data_lead_elsewhere_is_none(tmp_path: Path, outside: Path) -> None:
    """A link in the place of `data` is refused, before anything is deleted below it."""
    sealing.init(tmp_path / "store")
    (tmp_path / "store" / "data").rmdir()
    (tmp_path / "store" / "data").symlink_to(outside, target_is_directory=True)
    with pytest.raises(sealing.StoreError, match="is not a sealing store"), sealing.opened(tmp_path / "store"):
        pass
    assert is_whole(outside)


@pytest.mark.parametrize("kind", ["symbolic", "hard", "folder"])
def test_a_copy_replaces_a_link_and_not_its_target(tmp_path: Path, outside: Path, kind: str) -> None:
    """A file that is brought takes the place of a link, hard or symbolic, of its destination or of its part."""
    source, destination = tmp_path / "source", tmp_path / "to" / "file"
    destination.parent.mkdir()
    if kind == "folder":
        source.mkdir()
        (source / "a").write_text("new")
        (destination.parent / ".file.part").symlink_to(outside, target_is_directory=True)
    else:
        source.write_text("new")
        for name in (destination, destination.parent / ".file.part"):
            os.link(outside / "precious", name) if kind == "hard" else name.symlink_to(outside / "precious")
    route = tasks.Route({"uri": str(source)}, {"uri": str(destination)})
    copies.follow(route, job.Job())
    assert is_whole(outside)
    assert not destination.is_symlink()
    assert "new" == (destination / "a" if kind == "folder" else destination).read_text()


def test_a_manager_deletes_no_folder_behind_a_link(tmp_path: Path, outside: Path) -> None:
    """Removing a sector's files fails with a line where a folder of them is a link, and deletes nothing behind it."""
    (tmp_path / "a" / "cache").mkdir(parents=True)
    (tmp_path / "a" / "cache" / str(SECTOR)).symlink_to(outside, target_is_directory=True)
    ours = stores.Stores({"a": tmp_path / "a"}, identity.Memory(tmp_path / "home"))
    ours.look()
    with pytest.raises(errors.ManagerError, match=r"cannot be deleted: .*symbolic link"):
        ours.remove_files(SECTOR, "a", is_upgrade=False)
    assert is_whole(outside)


@pytest.mark.parametrize(
    "cid", ["../outside/precious", "/etc/hostname", "..", "", "a/b", f"{CID}/../../outside/precious", f"{CID}\0"]
)
def test_a_deal_names_no_file_elsewhere(tmp_path: Path, outside: Path, cid: str) -> None:
    """The file of deals names pieces by their commitments: whatever else stands there is refused with the file's name."""
    folder = tmp_path / "deals"
    folder.mkdir()
    offer = deals.Offer(cid=cid, size_bytes=128, deal_id=1)
    (folder / deals.FILE_NAME).write_bytes(codec.encode([offer]))
    with pytest.raises(errors.ManagerError, match=str(folder / deals.FILE_NAME)):
        deals.read(folder)


@pytest.mark.parametrize(
    "name",
    [
        "..%2Foutside%2Fprecious",
        "%2e%2e/outside/precious",
        "....//outside/precious",
        "%2Fetc%2Fhostname",
        f"{CID}%2F..%2F..%2Foutside%2Fprecious",
        f"{CID}%00.car",
        f"{CID}.car.car",
        f"{CID}\\..\\precious",
        "deals.json",
    ],
)
async def test_the_piece_store_serves_and_takes_pieces_alone(
    start_manager: StartManager, tmp_path: Path, outside: Path, name: str
) -> None:
    """A path of the piece store names a piece in its folder; all else is refused, for reading and writing."""
    folder = tmp_path / "deals"
    folder.mkdir()
    (folder / deals.FILE_NAME).write_text("[]")
    async with start_manager(deals=folder) as manager, httpx2.AsyncClient(trust_env=False) as http:
        url = httpx2.URL(manager.url.removesuffix("/rpc/v0")).copy_with(raw_path=f"/piecestore/{name}".encode())
        headers = {"authorization": f"Bearer {manager.token}"}
        got = await http.get(url, headers=headers)
        put = await http.put(url, headers=headers, content=b"mine")
    assert {got.status_code, put.status_code} <= {400, 404}
    assert "precious" != got.text
    assert [deals.FILE_NAME] == [path.name for path in folder.iterdir()]
    assert is_whole(outside)


@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_what_a_worker_seals_does_not_go_through_a_link(store: sealing.SealingStore, outside: Path, kind: str) -> None:
    """The empty replica that a first stage begins with is a file of the store, whatever lay there before."""
    place = store.layout(SECTOR, SectorSize.KIB2)
    place.sealed_file.parent.mkdir(parents=True)
    if kind == "hard":
        os.link(outside / "precious", place.sealed_file)
    else:
        place.sealed_file.symlink_to(outside / "precious")
    local_files.make_empty_file(place.sealed_file)
    assert is_whole(outside)
    assert not place.sealed_file.is_symlink()
