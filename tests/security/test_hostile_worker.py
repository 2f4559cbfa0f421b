"""What a worker, or whoever has its token, learns of the manager's files, and which pieces it may name."""

import contextlib
from pathlib import Path
from urllib.parse import quote

import anyio
import httpx2
import msgspec
import pytest
from tests.integration.access.conftest import StartManager

from damocles.manager import errors
from damocles.manager.plans import unseal
from damocles.manager.sectors import stores
from damocles.manager.sectors.piecestore import PieceStore
from damocles.rpc import core
from damocles.rpc import errors as rpc_errors
from damocles.stores import layout
from damocles.wire import commitments, fleet
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

    async def everybody(call: core.Call, piece: str) -> bool:
        return True

    app = Starlette(routes=PieceStore(folder, everybody, most_bytes=1 << 20).routes())
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
        with anyio.fail_after(60):
            answer = await manager.get(f"/piecestore/{CID}", headers={"Range": f"bytes={ranges}"})
    assert answer.status_code in {200, 206, 400, 416}
    assert len(answer.content) < 3 * 4096


@pytest.mark.parametrize("name", ["../../escaped", "/etc/cron.d/x", "a\0b", "..", "a/b", ".", "%2e%2e%2fx", "a\nb"])
async def test_a_worker_s_name_is_no_path(start_manager: StartManager, tmp_path: Path, name: str) -> None:
    """A ping under such a name is refused or kept in the database: it makes and changes no file of that name."""
    async with start_manager() as manager, manager.client(manager.token) as admin:
        before = {path for path in tmp_path.rglob("*") if "manager.db" not in path.name}
        info = fleet.WorkerInfo(name, "127.0.0.1:1")
        with contextlib.suppress(rpc_errors.RpcError):
            await admin.call("Venus.WorkerPing", [info])
        await admin.call("Venus.WorkerGetPingInfo", [name], returns=fleet.PingInfo | None)
        await admin.call("Damocles.FleetThreads", [{"all": True}], returns=msgspec.Raw)
        after = {path for path in tmp_path.rglob("*") if "manager.db" not in path.name}
    assert before == after


@pytest.mark.parametrize(
    "dest",
    [
        "file:///srv/../etc/passwd",
        "file:///srv/%2e%2e/x",
        "file:///srv/%252e%252e/x",
        "file:///srv/a%00b",
        "file:///srv/a%2fb",
        "file://srv/x",
        "file:///",
        "file:relative",
        "store://persist/%2Fetc%2Fpasswd",
        "store://persist/..",
        "store://persist",
        "http://[::1",
        "ftp://host/x",
        "/etc/passwd",
        "javascript:x",
    ],
)
def test_a_destination_that_no_worker_takes_is_not_queued(dest: str) -> None:
    """Whoever asks for the piece hears why at once."""
    with pytest.raises(errors.ManagerError, match="invalid dest url"):
        unseal.check_destination(dest)


@pytest.mark.parametrize(
    "dest", ["file:///srv/a%20b", "store://persist/a/b", f"store:///{CID}", "https://h/x?y", "market://s/x"]
)
def test_other_destinations_are_queued(dest: str) -> None:
    """Which of them a worker takes is up to its configuration."""
    unseal.check_destination(dest)
