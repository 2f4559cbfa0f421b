"""What a worker, or whoever has its token, learns of the manager's files, and which pieces it may name."""

from pathlib import Path
from urllib.parse import quote

import anyio
import httpx2
import pytest

from damocles.manager import errors, stores
from damocles.manager.piecestore import PieceStore
from damocles.stores import layout
from damocles.wire import commitments
from damocles.wire.sectors import SectorID, SectorSize

SECTOR, SIZE = SectorID(10000, 1), SectorSize.KIB2
CID = str(commitments.unsealed_cid(bytes(32)))


def told(persist: stores.Stores, name: str, place: Path) -> str:
    """Return what is said of files that are not in a store, without the name of the place."""
    with pytest.raises(errors.ManagerError) as caught:
        persist.check_files(SECTOR, SIZE, name, is_upgrade=False)
    return caught.value.message.replace(name, "STORE").replace(str(place), "STORE")


def test_a_store_s_name_asks_nothing_of_other_files(tmp_path: Path) -> None:
    """Where workers bring their own stores, a file, a folder, a link in a circle and nothing at all are told alike."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    persist = stores.Stores({})
    names = ["file", "folder", "loop", "nothing", "nothing/at/all", "x" * 300, "a\0b", "file/../folder"]
    answers = {told(persist, str(tmp_path / name), tmp_path / name) for name in names}
    assert 1 == len(answers)
    assert "no such file or directory" in answers.pop()


def test_files_that_are_there_are_found(tmp_path: Path) -> None:
    """A store by its path that has all files of the sector is still taken for one."""
    for name in layout.persisted_names(SECTOR, SIZE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    stores.Stores({}).check_files(SECTOR, SIZE, str(tmp_path), is_upgrade=False)


def test_of_a_declared_store_the_reason_is_told(tmp_path: Path) -> None:
    """Its folder is the operator's own, who has to hear what is wrong with it."""
    (tmp_path / "sealed").write_text("no folder")
    assert "not a directory" in told(stores.Stores({"persist-1": tmp_path}), "persist-1", tmp_path)


NAMES = [
    *(
        "../secret",
        "..%2fsecret",
        "%2e%2e/secret",
        "%2e%2e%2fsecret",
        "..%5csecret",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "...",
    ),
    *("%252e%252e%252fsecret", "a%00b", f"{CID}/../../secret", f"../{CID}", f"{CID}%2f..%2fsecret", ".car", "secret"),
    *(
        f"{CID}.car.car",
        f"{CID}%0ax",
        quote(CID.replace("s", "\u017f")),
        f"{CID}.part",
        "sub/secret",
        "%c0%ae%c0%ae%c0%af",
    ),
]


@pytest.fixture
def pieces(tmp_path: Path) -> Path:
    """Return the folder of a piece store, with a secret beside it."""
    (tmp_path / "secret").write_text("SECRET")
    (tmp_path / "pieces/sub").mkdir(parents=True)
    for name in (CID, "secret", "sub/secret"):
        (tmp_path / "pieces" / name).write_bytes(b"SECRET" if name != CID else bytes(range(256)) * 16)
    return tmp_path / "pieces"


def client(folder: Path) -> httpx2.AsyncClient:
    """Return a client of the routes alone, without tokens before them."""
    from starlette.applications import Starlette

    app = Starlette(routes=PieceStore(folder, most_bytes=1 << 20).routes())
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://m")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_a_piece_is_named_by_a_cid_and_nothing_else(pieces: Path, name: str, method: str) -> None:
    """Any other name is refused, whether it is read or written, and no file is touched."""
    before = {path: path.is_file() and path.read_bytes() for path in pieces.parent.rglob("*")}
    async with client(pieces) as manager:
        answer = await manager.request(method, f"/piecestore/{name}", content=b"mine" if method == "PUT" else None)
    assert answer.status_code in {400, 404}
    assert b"SECRET" not in answer.content
    assert before == {path: path.is_file() and path.read_bytes() for path in pieces.parent.rglob("*")}


async def test_thousands_of_ranges_cost_no_more_than_the_piece(pieces: Path) -> None:
    """However many parts of a piece are asked for at once, the answer is hardly larger than the piece."""
    ranges = ",".join(f"{n}-{n + 2000}" for n in range(2000))
    async with client(pieces) as manager:
        with anyio.fail_after(10):
            answer = await manager.get(f"/piecestore/{CID}", headers={"Range": f"bytes={ranges}"})
    assert answer.status_code in {200, 206, 400, 416}
    assert len(answer.content) < 3 * 4096
