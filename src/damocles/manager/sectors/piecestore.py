"""The piece store of a manager with deals, `/piecestore/<piece CID>`: a folder, read and written over HTTP.

Paths, statuses and texts are the original's. Unlike there, a range is honoured, so that a download goes on where it was
cut; names must be CIDs for writing too; a piece that is here is never replaced by other bytes; and a piece that is not
here is answered with 404, as there is no market to send to.

A piece may come in parts, by resumable uploads of HTTP (draft-ietf-httpbis-resumable-upload, interop version 8): OPTIONS offers them, PUT with
`Upload-Complete: ?0` and no content begins one, HEAD says how much is here, PATCH adds to it. Each PATCH has to have a length and a `Content-Digest`
(RFC 9530) with SHA-256, so that no other bytes are put together than were sent.
"""

import base64
import binascii
import contextlib
import os
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import anyio
import anyio.to_thread
import libipld
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from damocles import beside, durable
from damocles.manager.sectors import intake, parts
from damocles.rpc import core
from damocles.rpc.serving import asgi
from damocles.stores import pieces

log = structlog.get_logger(__name__)

_SUFFIX = ".car"
_DROPPED_BYTES, _DROPPED_SECONDS = 1 << 20, 5.0
_DIGEST = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]+):")
_TEXT = re.compile(r"[A-Za-z0-9]+")  # as base64 a CID could hold a slash


_DIGITS = 18  # more bytes than any disk has
_PARTIAL = "application/partial-upload"
_INTEROP = {"Upload-Draft-Interop-Version": "8"}
_GONE = PlainTextResponse("put piece data: the sender has gone\n", 400)

# Says whether a caller may bring a piece with this CID.
MayBring: TypeAlias = Callable[[core.Call, str], Awaitable[bool]]


class PieceStore:
    """The routes over one folder, which is made with the first piece."""

    def __init__(self, folder: Path, may_bring: MayBring, *, most_bytes: int) -> None:
        self._folder = folder
        self._may_bring = may_bring
        self._most_bytes = most_bytes
        self.intake = intake.Intake(folder, most_bytes)
        self.parts = parts.Parts(folder)

    def routes(self) -> list[Route]:
        """Return what the site adds."""
        return [Route(f"{pieces.PATH}{{name:path}}", self._serve, methods=["GET", "HEAD", "PUT", "PATCH", "OPTIONS"])]

    async def _serve(self, request: Request) -> Response:
        name = request.path_params["name"]
        cid = name.removesuffix(_SUFFIX)
        try:
            check_cid(cid)
        except ValueError as error:
            return PlainTextResponse(f"cast {cid} to cid: {error}\n", 400)
        token = request.query_params.get("upload")
        if token is not None or request.method not in {"GET", "HEAD"}:
            call = request.scope[asgi.CALL]
            with structlog.contextvars.bound_contextvars(by=call.who, peer=call.peer):
                try:
                    return await self._brought(name, token, request, call)
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

    async def _brought(self, name: str, token: str | None, request: Request, call: core.Call) -> Response:
        """Take a piece, or a part of one, from whom it is expected.

        Raises:
            intake.Refused: It is too large, is here with other bytes, or is not the caller's to bring.
        """
        cid = name.removesuffix(_SUFFIX)
        if not await self._may_bring(call, cid):
            raise intake.Refused(403, f"{call.who} is not unsealing the piece {cid}")
        found = await anyio.to_thread.run_sync(self._find, cid)
        if request.method == "OPTIONS":
            # Of a piece that is here all bytes have to be compared: that is no resumable upload.
            return Response(None, 204, self._limits if found is None else None)
        if token is not None and request.method in {"HEAD", "PATCH"}:
            try:
                act = self._appended if request.method == "PATCH" else self._asked
                return await self.parts.alone(token, partial(act, name, token, request))
            except OSError as error:
                return _failed(error)
        if token is not None or request.method != "PUT":
            raise intake.Refused(405, f"{request.method} is not for a piece")
        if request.headers.get("upload-complete") == "?0":
            return await self._begun(name, found, request)
        declared = _number(request, "content-length")
        async with self.intake.piece(declared) as grow:
            return await (self._store(name, request, grow) if found is None else self._again(found, request, grow))

    @property
    def _limits(self) -> dict[str, str]:
        limit = f"max-size={self._most_bytes}, max-age={int(parts.STALE_SECONDS)}"
        return {"Accept-Patch": _PARTIAL, "Upload-Limit": limit, **_INTEROP}

    async def _begun(self, name: str, found: Path | None, request: Request) -> Response:
        if found is not None:
            raise intake.Refused(409, f"{found.name} is here already: send the piece whole, to be compared")
        if _number(request, "content-length") != 0:
            raise intake.Refused(400, "an upload begins without content")
        async with self.intake.piece(_number(request, "upload-length")):  # whether there is room for it
            try:
                part = await anyio.to_thread.run_sync(self.parts.begin, name)
            except OSError as error:
                return _failed(error)
        return Response(
            None, 201, {**self._limits, **_state(part), "Location": f"{pieces.PATH}{name}?upload={part.token}"}
        )

    async def _asked(self, name: str, token: str, _: Request) -> Response:
        part = await anyio.to_thread.run_sync(self.parts.find, name, token)
        if part is not None:
            return Response(None, 204, {**self._limits, **_state(part), "Cache-Control": "no-store"})
        if (size := self.parts.done_bytes(name, token)) is not None:
            return Response(
                None, 204, {"Upload-Offset": str(size), "Upload-Complete": "?1", "Cache-Control": "no-store"}
            )
        raise _no_upload()

    async def _appended(self, name: str, token: str, request: Request) -> Response:
        part = await anyio.to_thread.run_sync(self.parts.find, name, token)
        if part is None:
            raise _no_upload()
        if request.headers.get("content-type") != _PARTIAL:
            raise intake.Refused(415, f"expected {_PARTIAL}")
        if _number(request, "upload-offset") != part.offset_bytes:
            return PlainTextResponse(f"put piece data: {part.offset_bytes} bytes are here\n", 409, _state(part))
        declared, digest = _number(request, "content-length"), _digest(request)
        if declared is None or digest is None:
            raise intake.Refused(400, "expected a Content-Length, and a Content-Digest with sha-256")
        try:
            async with self.intake.piece(declared, have_bytes=part.offset_bytes) as grow:
                part = await self.parts.append(part, request.stream(), digest, grow)
        except ClientDisconnect:
            return _GONE
        if request.headers.get("upload-complete") != "?1":
            return Response(None, 204, _state(part))
        if not await anyio.to_thread.run_sync(_named, part.path, self._folder / name):
            raise intake.Refused(409, f"something has the name {name} already")
        await anyio.to_thread.run_sync(self.parts.over, part)
        log.info("piece stored", piece=name, size_bytes=part.offset_bytes)
        return Response(None, 200, {"Upload-Complete": "?1"})

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
            return _GONE
        except OSError as error:
            return _failed(error)
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
            return _GONE
        except OSError as error:
            return _failed(error)
        return Response()


@contextlib.asynccontextmanager
async def opened(folder: Path, may_bring: MayBring, *, most_bytes: int) -> AsyncIterator[PieceStore]:
    """Yield the store of a folder, whose uploads that nobody goes on with are removed meanwhile."""
    made = PieceStore(folder, may_bring, most_bytes=most_bytes)
    async with beside.running(made.parts.tidy):
        yield made


def _failed(error: OSError) -> Response:
    return PlainTextResponse(f"put piece data: {error.strerror}: {error.filename}\n", 500)


def _no_upload() -> intake.Refused:
    return intake.Refused(404, "no such upload: begin again")


def _state(part: parts.Part) -> dict[str, str]:
    return {"Upload-Offset": str(part.offset_bytes), "Upload-Complete": "?0", **_INTEROP}


def _number(request: Request, name: str) -> int | None:
    text = request.headers.get(name, "")
    if not (text.isascii() and text.isdecimal()):
        return None
    return int(text) if len(text) <= _DIGITS else 10**_DIGITS  # Python refuses to read thousands of digits


def _digest(request: Request) -> bytes | None:
    found = _DIGEST.search(request.headers.get("content-digest", ""))
    try:
        return base64.b64decode(found[1], validate=True) if found is not None else None
    except binascii.Error:
        return None


def _named(part: Path, path: Path) -> bool:
    """Give a finished file its name, and return whether no other has it; it may have it already, from before a kill."""
    try:
        os.link(part, path)
    except FileExistsError:
        return path.samefile(part)
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
