"""Pieces that come out of sectors, and where they go: business of the worker that has the sector, and of nobody else."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.integration.access.conftest import Daemon, StartManager
from tests.integration.access.test_holders import PROVEN

from damocles.manager.serving import auth
from damocles.rpc import errors
from damocles.rpc.admission import access
from damocles.wire import commitments, control, exports, seal
from damocles.wire.codec import CID

from .callers import SECTOR, Caller, admin, bound, shared

PIECE = CID(commitments.unsealed_cid(bytes(range(32))))
OTHER = CID(commitments.unsealed_cid(bytes(32)))
SECRET = "http://user:S3CRET@host/x?sign=S3CRET"
STORE = "identity of gpu1's store"


@pytest.fixture
async def manager(start_manager: StartManager) -> AsyncIterator[Daemon]:
    """A manager from which a piece of a persisted sector is wanted."""
    async with start_manager(admit=access.admitted(["10.0.0.0/24", "127.0.0.1"], auth.ADMITTED)) as running:
        batch = exports.Batch(id="x", lines=[exports.Numbered(1, PROVEN)])
        await admin(running)("Damocles.SectorsImportBatch", batch)
        await admin(running)("Damocles.SectorsImport", exports.Import(id="x", count=1))
        await admin(running)("Venus.UnsealPiece", SECTOR, PIECE, 0, 127, SECRET)
        yield running


async def handed_out(caller: Caller) -> int:
    """Have the piece handed out to the store of a worker; return the attempt."""
    spec = seal.AllocateSectorSpec()
    handed = await caller("Damocles.AllocateUnsealSector", spec, STORE, returns=control.Handed)
    return int(handed.attempt)


async def put(manager: Daemon, caller: Caller, name: str, content: bytes) -> httpx2.Response:
    """Bring a piece to the manager."""
    origin = manager.url.removesuffix("/rpc/v0")
    headers = {"Authorization": f"Bearer {caller.token}"} if caller.token is not None else {}
    async with httpx2.AsyncClient(headers=headers) as http:
        return await http.put(f"{origin}/piecestore/{name}", content=content)


async def test_destinations_are_told_to_whoever_is_at_work(manager: Daemon) -> None:
    """URLs with secrets are told neither before the piece was handed out, nor to others, nor when it is done."""
    ours, evil = await bound(manager, "gpu1"), await bound(manager, "evil")
    ask: tuple[str, list[Any]] = ("Venus.AcquireUnsealDest", [SECTOR, PIECE])
    done: tuple[str, list[Any]] = ("Venus.AchieveUnsealSector", [SECTOR, PIECE, ""])
    strangers = (evil, shared(manager), Caller(manager, peer="10.0.0.3:1"))
    for caller in (ours, *strangers):
        for method, params in (ask, done):
            assert "task not found" in str(await caller.refusal(method, *params))
    attempt = await handed_out(ours)
    for caller in strangers:
        for method, params in (ask, done):
            assert errors.Code.FORBIDDEN == await caller.code(method, *params)
            assert errors.Code.STALE_ATTEMPT == await caller.code(
                "Damocles.As", SECTOR, attempt, method, params, "evil"
            )
    assert [SECRET] == await ours("Damocles.As", SECTOR, attempt, *ask, STORE)
    for method, params in (done, ("Venus.ReportFinalized", [SECTOR])):
        await ours("Damocles.As", SECTOR, attempt, method, params, STORE)
    for caller in (ours, *strangers):
        assert "task not found" in str(await caller.refusal(ask[0], *ask[1]))


async def test_a_piece_is_brought_by_whoever_unseals_it(manager: Daemon) -> None:
    """Nobody else fills the disk of the manager, or gives a piece another content before it comes."""
    ours, evil = await bound(manager, "gpu1"), await bound(manager, "evil")
    for caller in (ours, evil, shared(manager)):
        assert 403 == (await put(manager, caller, PIECE, b"x")).status_code
    attempt = await handed_out(ours)
    for caller in (evil, shared(manager)):
        refused = await put(manager, caller, PIECE, b"wrong")
        assert (403, True) == (refused.status_code, f"is not unsealing the piece {PIECE}" in refused.text)
    assert 403 == (await put(manager, ours, OTHER, b"another")).status_code
    for _ in range(2):  # an answer may have been lost
        assert 200 == (await put(manager, ours, PIECE, b"right")).status_code
    await ours("Damocles.As", SECTOR, attempt, "Venus.ReportFinalized", [SECTOR], STORE)
    assert 403 == (await put(manager, ours, PIECE, b"right")).status_code


async def test_parts_of_a_piece_are_brought_by_whoever_unseals_it(manager: Daemon) -> None:
    """An upload is gone on with by its worker; another one neither begins one, nor adds to it, nor hears how far it is."""
    ours, evil = await bound(manager, "gpu1"), await bound(manager, "evil")
    await handed_out(ours)

    async def asked(caller: Caller, verb: str, where: str, **fields: str) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {caller.token}", **fields}
        url = manager.url.removesuffix("/rpc/v0") + where
        async with httpx2.AsyncClient(headers=headers) as http:
            return await http.request(verb, url)

    beginning = {"Upload-Complete": "?0", "Content-Length": "0"}
    begun = await asked(ours, "PUT", f"/piecestore/{PIECE}", **beginning)
    assert 201 == begun.status_code
    where = begun.headers["location"]
    for caller in (evil, shared(manager)):
        assert 403 == (await asked(caller, "PUT", f"/piecestore/{PIECE}", **beginning)).status_code
        for verb in ("OPTIONS", "HEAD", "PATCH"):
            assert 403 == (await asked(caller, verb, where)).status_code
    assert 204 == (await asked(ours, "HEAD", where)).status_code


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.2"])
async def test_a_piece_is_brought_by_the_original_s_worker_that_unseals_it(manager: Daemon, host: str) -> None:
    """It has no token: its address is who it is. The piece comes from 127.0.0.1."""
    rust = Caller(manager, peer=f"{host}:1")
    await rust("Venus.AllocateUnsealSector", seal.AllocateSectorSpec())
    brought = await put(manager, rust, PIECE, b"right")
    assert (200 if host == "127.0.0.1" else 403) == brought.status_code
    assert [SECRET] == await rust("Venus.AcquireUnsealDest", SECTOR, PIECE)


@pytest.mark.parametrize("there", [PIECE, f"{PIECE}.car"])
async def test_a_piece_is_never_replaced_by_other_bytes(manager: Daemon, there: str) -> None:
    """Whoever sends it: readers have the bytes that came first, under either name; the same bytes are as good."""
    folder: Path = manager.home / "pieces"
    assert 200 == (await put(manager, admin(manager), there, b"right")).status_code
    for name in (PIECE, f"{PIECE}.car"):
        for wrong in (b"wrong", b"righ", b"right or", b""):
            refused = await put(manager, admin(manager), name, wrong)
            assert (409, True) == (refused.status_code, "already exists with other bytes" in refused.text)
        assert 200 == (await put(manager, admin(manager), name, b"right")).status_code
    assert {there: b"right"} == {path.name: path.read_bytes() for path in folder.iterdir()}
