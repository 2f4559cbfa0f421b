"""The piece store of the mock manager, `/piecestore/<piece CID>`: a folder, read and written over HTTP.

Paths, statuses and texts are the original's. Unlike there, a range is honoured, so that a download goes on where it was
cut; names must be CIDs for writing too; a piece that is here is never replaced by other bytes; and a piece that is not
here is answered with 404, as there is no market to send to.
"""

import contextlib
import os
import re
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import anyio
import anyio.to_thread
import libipld
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from damocles import durable
from damocles.manager.sectors import intake
from damocles.rpc import core
from damocles.rpc.serving import asgi
from damocles.stores import pieces

log = structlog.get_logger(__name__)

_SUFFIX = ".car"
_DROPPED_BYTES, _DROPPED_SECONDS = 1 << 20, 5.0
_TEXT = re.compile(r"[A-Za-z0-9]+")  # as base64 a CID could hold a slash


# Says whether a caller may bring a piece with this CID.
MayBring: TypeAlias = Callable[[core.Call, str], Awaitable[bool]]


class PieceStore:
    """The routes over one folder, which is made with the first piece."""

    def __init__(self, folder: Path, may_bring: MayBring, *, most_bytes: int) -> None:
        self._folder = folder
        self._may_bring = may_bring
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
            call = request.scope[asgi.CALL]
            with structlog.contextvars.bound_contextvars(by=call.who, peer=call.peer):
                try:
                    return await self._put(name, request, call)
                except intake.Refused as refused:
                    log.warning("piece refused", piece=name, reason=str(refused))
                    await _read_some(request)
                    text = f"put piece data: {refused}\n"
                    return PlainTextResponse(text, refused.status, headers={"connection": "close"})
        found = await anyio.to_thread.run_sync(self._find, cid)
        if found is None:
            return PlainTextResponse(f"piece {cid} is not in {self._folder}\n", 404)
        return FileResponse(found, media_type="application/octet-stream")

    def _find(self, cid: str) -> Path | None:
        paths = [self._folder / name for name in pieces.names(cid)]
        return next(filter(pieces.is_file, paths), None)

    async def _put(self, name: str, request: Request, call: core.Call) -> Response:
        """Store a piece.

        Raises:
            intake.Refused: It is too large, is here with other bytes, or is not the caller's to bring.
        """
        declared, cid = request.headers.get("content-length"), name.removesuffix(_SUFFIX)
        if not await self._may_bring(call, cid):
            raise intake.Refused(403, f"{call.who} is not unsealing the piece {cid}")
        async with self.intake.piece(int(declared) if declared else None) as grow:
            found = await anyio.to_thread.run_sync(self._find, cid)
            return await (self._store(name, request, grow) if found is None else self._again(found, request, grow))

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
            if not await anyio.to_thread.run_sync(_named, Path(part), self._folder / name):
                raise intake.Refused(409, f"something has the name {name} already")
        except ClientDisconnect:
            return PlainTextResponse("put piece data: the sender has gone\n", 400)
        except OSError as error:
            return PlainTextResponse(f"put piece data: {error.strerror}: {error.filename}\n", 500)
        finally:
            with anyio.CancelScope(shield=True), contextlib.suppress(OSError):
                await part.unlink(missing_ok=True)
        log.info("piece stored", piece=name, size_bytes=size)
        return Response()

    async def _again(self, found: Path, request: Request, grow: Callable[[int], None]) -> Response:
        """Take a piece that is here already, after an answer that was lost for example, if it has the same bytes.

        Raises:
            intake.Refused: It has not.
        """
        other = intake.Refused(409, f"{found.name} already exists with other bytes: an operator has to remove it first")
        try:
            async with await anyio.open_file(found, "rb") as file:
                async for chunk in request.stream():
                    grow(len(chunk))
                    if chunk != await file.read(len(chunk)):
                        raise other
                if await file.read(1):
                    raise other
        except ClientDisconnect:
            return PlainTextResponse("put piece data: the sender has gone\n", 400)
        except OSError as error:
            return PlainTextResponse(f"put piece data: {error.strerror}: {error.filename}\n", 500)
        return Response()


def _named(part: Path, path: Path) -> bool:
    """Give a finished file its name, and return whether no other has it."""
    try:
        os.link(part, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        if path.exists():
            return False
        part.replace(path)
    durable.sync_entry(path.parent)
    return True


async def _read_some(request: Request) -> None:
    """Read a little of what is not wanted: most senders read why it is refused only after they have sent it."""
    dropped = 0
    # Starlette's RuntimeError: there is nothing left.
    with anyio.move_on_after(_DROPPED_SECONDS), contextlib.suppress(ClientDisconnect, RuntimeError):
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
