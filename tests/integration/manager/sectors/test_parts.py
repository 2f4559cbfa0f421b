"""Pieces that come to `/piecestore/` in parts: an interrupted upload goes on, and no other bytes are put together than were sent."""

import base64
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2
import pytest

from damocles.manager.sectors import parts, piecestore
from damocles.stages import job
from damocles.stages.files import appends, uploads
from damocles.wire import commitments, tasks

from ..conftest import Manager, Start

CID = str(commitments.unsealed_cid(bytes(range(32))))
PIECE = bytes(range(250)) * 8
STEP_BYTES = 256

# Sends a file, and is killed once so many bytes of it were handed out.
SENDER = """
import json, os, signal, sys
from damocles.stages import job
from damocles.stages.files import appends, uploads
from damocles.wire import tasks

file, url, token, step, last = sys.argv[1:]

class Killed(job.Job):
    def progress(self, done, total, unit="B"):
        if done >= int(last):
            os.kill(os.getpid(), signal.SIGKILL)

appends.STEP_BYTES = int(step)
uploads.run(tasks.Upload(file, url, {"Authorization": f"Bearer {token}"}), Killed())
"""


class Watched(job.Job):
    """A task whose progress is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def progress(self, done: int, total: int | None, unit: str = "B") -> None:
        """Note how far it is."""
        self.seen.append(done)


def digest(content: bytes) -> str:
    """Write the field that declares what is sent."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def append(content: bytes, offset: int, *, complete: bool = False, of: bytes | None = None) -> dict[str, str]:
    """Return the fields of an append; the digest is that `of` other bytes, if there are some."""
    return {
        "Content-Type": "application/partial-upload",
        "Content-Digest": digest(content if of is None else of),
        "Upload-Offset": str(offset),
        "Upload-Complete": "?1" if complete else "?0",
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return where the manager keeps pieces."""
    return tmp_path / "pieces"


@pytest.fixture
async def manager(start: Start, folder: Path) -> AsyncIterator[Manager]:
    """Return a running manager with that folder."""
    async with start(deals=folder) as running:
        yield running


@asynccontextmanager
async def client(manager: Manager) -> AsyncIterator[httpx2.AsyncClient]:
    """Return a client with an admin's token."""
    origin = manager.url.removesuffix("/rpc/v0")
    async with httpx2.AsyncClient(
        base_url=f"{origin}/piecestore/", headers={"Authorization": f"Bearer {manager.token}"}
    ) as made:
        yield made


@pytest.fixture
async def site(manager: Manager) -> AsyncIterator[httpx2.AsyncClient]:
    """Return a client with an admin's token."""
    async with client(manager) as made:
        yield made


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of a piece that is large for these steps."""
    monkeypatch.setattr(appends, "STEP_BYTES", STEP_BYTES)
    (tmp_path / "unsealed").mkdir()
    file = tmp_path / "unsealed" / CID
    file.write_bytes(PIECE)
    return file


def upload_of(manager: Manager, source: Path) -> tasks.Upload:
    """Return the task of bringing a piece."""
    url = f"{manager.url.removesuffix('/rpc/v0')}/piecestore/{CID}"
    return tasks.Upload(str(source), url, {"Authorization": f"Bearer {manager.token}"})


async def killed(manager: Manager, source: Path, last: int) -> None:
    """Have a process bring the piece that is killed on the way."""
    upload = upload_of(manager, source)
    command = [sys.executable, "-c", SENDER, upload.file, upload.url, manager.token, str(STEP_BYTES), str(last)]
    done = await anyio.run_process(command, check=False, stdout=subprocess.DEVNULL)
    assert -signal.SIGKILL == done.returncode, done.stderr.decode()


async def brought(manager: Manager, source: Path) -> list[int]:
    """Bring the piece, or the rest of it; return what was shown on the way."""
    around = Watched()
    assert len(PIECE) == await anyio.to_thread.run_sync(uploads.run, upload_of(manager, source), around)
    return around.seen


def parts_in(folder: Path) -> list[int]:
    """Return how much there is of each piece on its way."""
    return sorted(int(path.name.split(".")[-2]) for path in folder.glob("*.part"))


async def test_a_killed_upload_goes_on_where_it_was(manager: Manager, source: Path, folder: Path) -> None:
    """The next process sends what is not there yet; then the piece is whole, and nothing else is left on either side."""
    await killed(manager, source, 5 * STEP_BYTES + 1)
    with anyio.fail_after(60):
        # The sixth append may have been sent to its end when the sender died, and count.
        while parts_in(folder) not in ([5 * STEP_BYTES], [6 * STEP_BYTES]):
            await anyio.sleep(0.01)
    seen = await brought(manager, source)
    assert seen[0] in {6 * STEP_BYTES, 7 * STEP_BYTES}
    assert len(PIECE) == seen[-1]
    assert PIECE == (folder / CID).read_bytes()
    assert [CID] == [path.name for path in folder.iterdir()]
    assert [CID] == [path.name for path in source.parent.iterdir()]


async def test_an_upload_goes_on_at_a_manager_that_was_started_again(start: Start, folder: Path, source: Path) -> None:
    """What is behind the last append that was complete is not trusted, whatever is there."""
    async with start(deals=folder) as before:
        await killed(before, source, 3 * STEP_BYTES + 1)
    (part,) = folder.glob("*.part")
    with part.open("ab") as file:
        file.write(b"half of an append")
    token = part.name.split(".")[1]
    async with start(deals=folder) as after, client(after) as site:
        known = await site.head(CID, params={"upload": token})
        offset = int(known.headers["upload-offset"])
        assert (204, "?0", 0) == (known.status_code, known.headers["upload-complete"], offset % STEP_BYTES)
        rest = PIECE[offset:]
        answer = await site.patch(
            CID, params={"upload": token}, content=rest, headers=append(rest, offset, complete=True)
        )
        assert 200 == answer.status_code
        assert PIECE == (await site.get(CID)).content


async def test_a_file_that_has_changed_is_sent_from_its_beginning(manager: Manager, source: Path, folder: Path) -> None:
    """Bytes of another file are never put behind those of the first."""
    await killed(manager, source, 5 * STEP_BYTES + 1)
    source.write_bytes(PIECE[::-1])
    assert STEP_BYTES == (await brought(manager, source))[0]
    assert PIECE[::-1] == (folder / CID).read_bytes()


async def test_an_upload_whose_last_answer_was_lost_is_over(manager: Manager, source: Path, folder: Path) -> None:
    """The sender hears that all is there, and sends nothing; a manager that has forgotten it compares the bytes."""
    notes: dict[Path, bytes] = {}

    class Kept(Watched):
        def progress(self, done: int, total: int | None, unit: str = "B") -> None:
            notes.update({path: path.read_bytes() for path in source.parent.glob(".*.upload")})

    await anyio.to_thread.run_sync(uploads.run, upload_of(manager, source), Kept())
    ((note, content),) = notes.items()
    note.write_bytes(content)
    assert [] == await brought(manager, source)
    assert not note.exists()
    assert len(PIECE) == (await brought(manager, source))[-1]
    assert PIECE == (folder / CID).read_bytes()


async def test_a_manager_that_died_before_its_last_answer_knows_its_piece(
    site: httpx2.AsyncClient, folder: Path
) -> None:
    """A piece that has its name already is no other one for the upload that has brought it."""
    begun = await site.put(CID, headers={"Upload-Complete": "?0", "Upload-Length": "5"})
    token = {"upload": begun.headers["location"].partition("=")[2]}
    assert 204 == (await site.patch(CID, params=token, content=b"piece", headers=append(b"piece", 0))).status_code
    (part,) = folder.glob("*.part")
    os.link(part, folder / CID)
    over = await site.patch(CID, params=token, headers=append(b"", 5, complete=True))
    assert (200, [CID]) == (over.status_code, [path.name for path in folder.iterdir()])
    assert "?1" == (await site.head(CID, params=token)).headers["upload-complete"]


async def test_wrong_bytes_are_not_taken(site: httpx2.AsyncClient, folder: Path) -> None:
    """An append that is damaged on its way, at another place, or without a digest leaves the upload as it was."""
    begun = await site.put(CID, headers={"Upload-Complete": "?0", "Upload-Length": "10"})
    assert (201, "0") == (begun.status_code, begun.headers["upload-offset"])
    token = {"upload": begun.headers["location"].partition("=")[2]}

    async def sent(content: bytes, headers: dict[str, str]) -> tuple[int, list[int]]:
        answer = await site.patch(CID, params=token, content=content, headers=headers)
        return answer.status_code, parts_in(folder)

    assert (204, [5]) == await sent(b"piece", append(b"piece", 0))
    assert (400, [5]) == await sent(b"wrong", append(b"wrong", 5, of=b"right"))
    assert (409, [5]) == await sent(b"piece", append(b"piece", 0))
    assert (409, [5]) == await sent(b"right", append(b"right", 6))
    for lacking in ("Content-Digest", "Content-Type"):
        fields = {name: text for name, text in append(b"right", 5).items() if name != lacking}
        assert [5] == (await sent(b"right", fields))[1]
    assert (413, [5]) == await sent(b"x" * 3000, append(b"x" * 3000, 5))
    assert (200, []) == await sent(b"right", append(b"right", 5, complete=True))
    assert b"pieceright" == (await site.get(CID)).content


async def test_what_is_no_upload_is_refused(site: httpx2.AsyncClient, folder: Path) -> None:
    """Unknown uploads, a beginning with content, one of a piece that is here or is too large; nothing is left of it."""
    for name in ("0" * 32, "../x", "*", ""):
        assert 404 == (await site.head(CID, params={"upload": name})).status_code
        assert 404 == (await site.patch(CID, params={"upload": name}, headers=append(b"", 0))).status_code
        assert 405 == (await site.get(CID, params={"upload": name})).status_code
    beginning = {"Upload-Complete": "?0"}
    assert 400 == (await site.put(CID, headers=beginning, content=b"x")).status_code
    assert 413 == (await site.put(CID, headers={**beginning, "Upload-Length": "3000"})).status_code
    offered = await site.options(CID)
    assert (204, "application/partial-upload") == (offered.status_code, offered.headers["accept-patch"])
    assert "max-size=2048" in offered.headers["upload-limit"]
    assert 200 == (await site.put(CID, content=b"piece")).status_code
    assert "accept-patch" not in (await site.options(CID)).headers
    assert 409 == (await site.put(CID, headers=beginning)).status_code
    assert [CID] == [path.name for path in folder.iterdir()]


async def test_a_sender_that_has_begun_anew_ends_its_connection_before(
    site: httpx2.AsyncClient, manager: Manager, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An append that hangs, since its sender is gone without a word, does not keep the next one from going on."""
    monkeypatch.setattr(piecestore, "_DROPPED_SECONDS", 0.1)
    begun = await site.put(CID, headers={"Upload-Complete": "?0"})
    where = begun.headers["location"]
    url = httpx2.URL(manager.url)
    fields = {"Host": url.netloc.decode(), "Authorization": f"Bearer {manager.token}", "Content-Length": "5"}
    head = "".join(f"{name}: {text}\r\n" for name, text in {**fields, **append(b"piece", 0)}.items())
    with anyio.fail_after(60):
        async with await anyio.connect_tcp(url.host, url.port or 0) as hangs:
            await hangs.send(f"PATCH {where} HTTP/1.1\r\n{head}\r\npie".encode())
            answers: list[bytes] = []
            async with anyio.create_task_group() as running:

                async def listen() -> None:
                    answers.append(await hangs.receive())

                running.start_soon(listen)
                while not answers:  # it may not have come yet, or come now and end the question
                    known = await site.head(url.join(where))
                    assert (known.status_code, known.headers.get("upload-offset")) in {(204, "0"), (409, None)}
    assert answers[0].startswith(b"HTTP/1.1 409 ")
    answer = await site.patch(url.join(where), content=b"right", headers=append(b"right", 0, complete=True))
    assert (200, b"right") == (answer.status_code, (folder / CID).read_bytes())


async def test_forgotten_parts_are_removed(site: httpx2.AsyncClient, folder: Path) -> None:
    """Of one piece there are a few at most, and after a week nobody goes on with any."""
    folder.mkdir()
    other = commitments.unsealed_cid(bytes(32))
    for path, age in ((folder / f"{other}.{'0' * 32}.0.part", 1), (folder / f"{other}.{'1' * 32}.0.part", -60)):
        path.touch()
        when = path.stat().st_mtime - (parts.STALE_SECONDS + 60 if age > 0 else 0)
        os.utime(path, (when, when))
    for _ in range(6):
        assert 201 == (await site.put(CID, headers={"Upload-Complete": "?0"})).status_code
    left = [path.name for path in folder.iterdir()]
    assert 3 == len([name for name in left if name.startswith(CID)])
    assert [f"{other}.{'1' * 32}.0.part"] == [name for name in left if name.startswith(str(other))]


async def test_bytes_that_are_refused_are_not_kept(site: httpx2.AsyncClient, folder: Path) -> None:
    """An append of other bytes than were declared leaves the upload as it was, and takes no room on the disk."""
    begun = await site.put(CID, headers={"Upload-Complete": "?0"})
    token = {"upload": begun.headers["location"].partition("=")[2]}
    assert 204 == (await site.patch(CID, params=token, content=b"right", headers=append(b"right", 0))).status_code
    refused = await site.patch(CID, params=token, content=b"x" * 1000, headers=append(b"x" * 1000, 5, of=b"other"))
    assert 400 == refused.status_code
    assert [b"right"] == [path.read_bytes() for path in folder.iterdir()]


@pytest.mark.parametrize("field", ["Upload-Offset", "Upload-Length"])
async def test_a_number_of_thousands_of_digits_is_refused(site: httpx2.AsyncClient, field: str) -> None:
    """Python reads no such number; it is no defect of the manager."""
    begun = await site.put(CID, headers={"Upload-Complete": "?0"})
    huge = {field: "9" * 5000}
    if field == "Upload-Length":
        assert 413 == (await site.put(CID, headers={"Upload-Complete": "?0"} | huge)).status_code
    else:
        token = {"upload": begun.headers["location"].partition("=")[2]}
        answer = await site.patch(CID, params=token, content=b"x", headers=append(b"x", 0) | huge)
        assert (409, "0") == (answer.status_code, answer.headers["upload-offset"])


async def test_what_nobody_goes_on_with_is_removed_without_a_new_upload(start: Start, folder: Path) -> None:
    """The disk has it for a week at most, whether other pieces come or not; a younger one stays."""
    folder.mkdir()
    old, young = folder / f"{CID}.{'0' * 32}.0.part", folder / f"{CID}.{'1' * 32}.0.part"
    for path in (old, young):
        path.write_bytes(b"half a piece")
    when = old.stat().st_mtime - parts.STALE_SECONDS - 60
    os.utime(old, (when, when))
    async with start(deals=folder):
        with anyio.fail_after(30):
            while old.exists():
                await anyio.sleep(0.01)
    assert young.exists()
