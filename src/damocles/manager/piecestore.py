"""The piece store of the mock manager, `/piecestore/<piece CID>`: a folder, read and written over HTTP.

Paths, statuses and texts are the original's. Unlike there, a range is honoured, so that a download goes on where it was
cut; names must be CIDs for writing too; and a piece that is not here is answered with 404, as there is no market to
send to.
"""

import contextlib
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
import libipld
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from damocles.manager import intake
from damocles.stores import pieces
from damocles.stores.durably import sync_dir

log = structlog.get_logger(__name__)

_SUFFIX = ".car"
_DROPPED_BYTES, _DROPPED_SECONDS = 1 << 20, 5.0
_TEXT = re.compile(r"[A-Za-z0-9]+")  # as base64 a CID could hold a slash


class PieceStore:
    """The routes over one folder, which is made with the first piece."""

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        self._folder = folder
        self.intake = intake.Intake(folder, most_bytes)

    def routes(self) -> list[Route]:
        """Return what the site adds."""
        return [Route(f"{pieces.PATH}{{name:path}}", self._serve, methods=["GET", "HEAD", "PUT"])]

    async def _serve(self, request: Request) -> Response:
        name = request.path_params["name"]
        cid = name.removesuffix(_SUFFIX)
        try:
            check_cid(cid)
        except ValueError as error:
            return PlainTextResponse(f"cast {cid} to cid: {error}\n", 400)
        if request.method == "PUT":
            return await self._put(name, request)
        found = await anyio.to_thread.run_sync(self._find, cid)
        if found is None:
            return PlainTextResponse(f"piece {cid} is not in {self._folder}\n", 404)
        return FileResponse(found, media_type="application/octet-stream")

    def _find(self, cid: str) -> Path | None:
        paths = [self._folder / name for name in pieces.names(cid)]
        return next(filter(pieces.is_file, paths), None)

    async def _put(self, name: str, request: Request) -> Response:
        """Store a piece, if it is not too large."""
        declared = request.headers.get("content-length")
        try:
            async with self.intake.piece(int(declared) if declared else None) as grow:
                return await self._store(name, request, grow)
        except intake.Refused as refused:
            log.warning("piece refused", piece=name, reason=str(refused))
            await _read_some(request)
            return PlainTextResponse(f"put piece data: {refused}\n", refused.status, headers={"connection": "close"})

    async def _store(self, name: str, request: Request, grow: Callable[[int], None]) -> Response:
        """Store a piece; it appears under its name when it is whole."""
        folder = anyio.Path(self._folder)
        part = folder / f"{name}.{secrets.token_hex(4)}.part"
        size = 0
        try:
            await folder.mkdir(parents=True, exist_ok=True)
            async with await anyio.open_file(part, "wb") as file:
                async for chunk in request.stream():
                    size += len(chunk)
                    grow(len(chunk))
                    await file.write(chunk)
                await file.flush()
                await anyio.to_thread.run_sync(os.fsync, file.wrapped.fileno())
            await part.replace(folder / name)
            await anyio.to_thread.run_sync(sync_dir, self._folder)
        except ClientDisconnect:
            return PlainTextResponse("put piece data: the sender has gone\n", 400)
        except OSError as error:
            return PlainTextResponse(f"put piece data: {error.strerror}: {error.filename}\n", 500)
        finally:
            with anyio.CancelScope(shield=True):
                await part.unlink(missing_ok=True)
        log.info("piece stored", piece=name, size_bytes=size)
        return Response()


async def _read_some(request: Request) -> None:
    """Read a little of what is not wanted: most senders read why it is refused only after they have sent it."""
    dropped = 0
    with anyio.move_on_after(_DROPPED_SECONDS), contextlib.suppress(ClientDisconnect):
        async for chunk in request.stream():
            dropped += len(chunk)
            if dropped > _DROPPED_BYTES:
                return


def check_cid(text: str) -> None:
    """Refuse what is no CID.

    Raises:
        ValueError: It cannot be decoded.
    """
    if len(text) < 8:
        raise ValueError("invalid cid: cid too short")
    if not _TEXT.fullmatch(text):
        raise ValueError("invalid cid: selected encoding not supported")
    try:
        libipld.decode_cid(text)
    except ValueError as error:
        raise ValueError(f"invalid cid: {error}") from error
