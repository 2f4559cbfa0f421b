"""`/piecestore/` of the mock manager."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from damocles.rpc.admission import tokens
from damocles.wire import commitments

from ..conftest import Manager, Start

CID = str(commitments.unsealed_cid(bytes(range(32))))
PAYLOAD = b"piece-bytes-0123456789"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with one piece."""
    (tmp_path / f"{CID}.car").write_bytes(PAYLOAD)
    return tmp_path


@pytest.fixture
async def manager(start: Start, folder: Path) -> AsyncIterator[Manager]:
    """Return a running manager with that folder."""
    async with start(deals=folder) as running:
        yield running


@pytest.fixture
async def site(manager: Manager, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """Return a client with a worker's token."""
    token = tokens.read_file(tmp_path / "home" / "worker-token")
    headers = {"Authorization": f"Bearer {token}"}
    origin = manager.url.removesuffix("/rpc/v0")
    async with httpx2.AsyncClient(base_url=f"{origin}/piecestore/", headers=headers) as client:
        yield client


@pytest.fixture
async def admin(manager: Manager) -> AsyncIterator[httpx2.AsyncClient]:
    """Return a client with an admin's token."""
    headers = {"Authorization": f"Bearer {manager.token}"}
    origin = manager.url.removesuffix("/rpc/v0")
    async with httpx2.AsyncClient(base_url=f"{origin}/piecestore/", headers=headers) as client:
        yield client


@pytest.mark.parametrize("name", [CID, f"{CID}.car"])
async def test_a_piece_is_served_whatever_its_file_is_called(site: httpx2.AsyncClient, name: str) -> None:
    """The file may have the suffix, and so may the request."""
    answer = await site.get(name)
    assert (200, PAYLOAD) == (answer.status_code, answer.content)


async def test_a_range_is_served(site: httpx2.AsyncClient) -> None:
    """A download goes on where it was cut; beyond the end there is nothing."""
    answer = await site.get(CID, headers={"Range": "bytes=5-"})
    assert (206, PAYLOAD[5:], "bytes 5-21/22") == (answer.status_code, answer.content, answer.headers["Content-Range"])
    assert 416 == (await site.get(CID, headers={"Range": "bytes=22-"})).status_code


async def test_a_missing_piece_is_named(site: httpx2.AsyncClient, folder: Path) -> None:
    """There is no market to send to."""
    other = str(commitments.unsealed_cid(bytes(32)))
    answer = await site.get(other)
    assert (404, f"piece {other} is not in {folder}\n") == (answer.status_code, answer.text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("not-a-cid", "cast not-a-cid to cid: invalid cid: "),
        ("", "cast  to cid: invalid cid: cid too short"),
        ("..%2f..%2fetc%2fpasswd", "cast ../../etc/passwd to cid: invalid cid: "),
        (CID[:40], "to cid: invalid cid: "),
    ],
)
@pytest.mark.parametrize("verb", ["GET", "PUT"])
async def test_names_that_are_no_cids_are_refused(site: httpx2.AsyncClient, verb: str, name: str, text: str) -> None:
    """Nothing but pieces is read or written."""
    answer = await site.request(verb, name, content=b"x" if verb == "PUT" else None)
    assert 400 == answer.status_code
    assert text in answer.text


async def test_a_piece_is_stored_whole(admin: httpx2.AsyncClient, folder: Path) -> None:
    """What was sent can be fetched again, and leaves no other file."""
    for number, content in enumerate((b"one" * 500, b"two")):
        other = str(commitments.unsealed_cid(bytes([number] * 32)))
        answer = await admin.put(other, content=content)
        assert (200, b"") == (answer.status_code, answer.content)
        assert content == (await admin.get(other)).content
    assert [] == [path.name for path in folder.iterdir() if "part" in path.name]


async def test_a_store_that_cannot_be_written_says_why(admin: httpx2.AsyncClient, folder: Path) -> None:
    """The reason of the disk is the answer, and whatever else has the name stays."""
    other = str(commitments.unsealed_cid(bytes(32)))
    (folder / other).mkdir()
    assert 409 == (await admin.put(other, content=b"x")).status_code
    shutil.rmtree(folder)
    folder.touch()
    answer = await admin.put(other, content=b"x")
    assert 500 == answer.status_code
    assert answer.text.startswith("put piece data: ")


async def test_other_verbs_are_not_allowed(site: httpx2.AsyncClient) -> None:
    """Pieces are read and written, and nothing else."""
    assert 404 == (await site.delete(CID)).status_code
    assert 200 == (await site.head(CID)).status_code


async def test_strangers_get_nothing(manager: Manager) -> None:
    """Without a token there is no piece."""
    origin = manager.url.removesuffix("/rpc/v0")
    async with httpx2.AsyncClient(base_url=f"{origin}/piecestore/") as stranger:
        assert 401 == (await stranger.get(CID)).status_code
        assert 401 == (await stranger.put(CID, content=b"x")).status_code
