"""Pieces that come in parts, so that an interrupted upload goes on: their files, and who writes to one.

A part file has its piece, the upload's token and its own length in its name. It gets longer by whole appends alone, whose digest is right and
which are on the disk before the name says so: what is behind that length, of an append that was cut, is overwritten.
"""

import contextlib
import hashlib
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
import structlog

from damocles import durable
from damocles.manager.sectors import intake

T = TypeVar("T")

STALE_SECONDS = 7 * 24 * 3600.0
_TIDY_SECONDS = 3600.0
_AT_REST = 2  # uploads of one piece beside a new one: of a worker that has begun again
_DONE_REMEMBERED = 1000
log = structlog.get_logger(__name__)

_TOKEN = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Part:
    """A piece on its way, of which so many bytes are here."""

    folder: Path
    name: str
    token: str
    offset_bytes: int

    @property
    def path(self) -> Path:
        """Its file."""
        return self.folder / f"{self.name}.{self.token}.{self.offset_bytes}.part"


@dataclass(slots=True)
class _Turn:
    """Who writes to an upload now."""

    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    over: anyio.Event = field(default_factory=anyio.Event)


class Parts:
    """The uploads of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._turns: dict[str, _Turn] = {}
        self._done: dict[tuple[str, str], int] = {}

    def begin(self, name: str) -> Part:
        """Begin an upload; what nobody has gone on with for a week is removed, and more than a few of the same piece. Blocks.

        Raises:
            OSError: The disk does not take it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._clear(name)
        part = Part(self._folder, name, secrets.token_hex(16), 0)
        part.path.touch()
        return part

    async def tidy(self) -> None:
        """Remove what nobody goes on with, also where no other upload begins; now and from time to time."""
        while True:
            try:
                await anyio.to_thread.run_sync(self._clear)
            except OSError as error:
                log.warning("pieces on their way cannot be looked through", error=str(error))
            await anyio.sleep(_TIDY_SECONDS)

    def _clear(self, name: str | None = None) -> None:
        oldest = time.time() - STALE_SECONDS
        at_rest = [(path.stat().st_mtime, path) for path in self._at_rest("*.part")]
        of_piece = sorted(found for found in at_rest if name is not None and found[1].name.startswith(f"{name}."))
        stale = [found for found in at_rest if found[0] < oldest]
        for _, path in {*stale, *of_piece[: max(0, len(of_piece) - _AT_REST)]}:
            path.unlink(missing_ok=True)

    def _at_rest(self, pattern: str) -> list[Path]:
        return [path for path in self._folder.glob(pattern) if not any(token in path.name for token in self._turns)]

    def find(self, name: str, token: str) -> Part | None:
        """Return an upload; none if there is none, or it is over. Blocks."""
        if not _TOKEN.fullmatch(token):
            return None
        for path in self._folder.glob(f"{name}.{token}.*.part"):
            length = path.name.split(".")[-2]
            if length.isdecimal() and (part := Part(self._folder, name, token, int(length))).path == path:
                return part
        return None

    def done_bytes(self, name: str, token: str) -> int | None:
        """Return how long the piece was that an upload has brought, as far as that is remembered."""
        return self._done.get((name, token))

    def over(self, part: Part) -> None:
        """Remember that the piece is here, for a sender that has not heard so, and remove its parts. Blocks."""
        for path in {part.path, *self._at_rest(f"{part.name}.*.part")}:
            path.unlink(missing_ok=True)
        self._done[part.name, part.token] = part.offset_bytes
        while len(self._done) > _DONE_REMEMBERED:
            del self._done[next(iter(self._done))]

    async def alone(self, token: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do something with an upload; what another request does with it is ended first: its sender has begun anew.

        Raises:
            intake.Refused: The next request has ended this one.
        """
        while (other := self._turns.get(token)) is not None:
            other.scope.cancel()
            await other.over.wait()
        self._turns[token] = turn = _Turn()
        try:
            with turn.scope:
                return await work()
        finally:
            del self._turns[token]
            turn.over.set()
        raise intake.Refused(409, "another request goes on with this upload")

    async def append(
        self, part: Part, chunks: AsyncIterator[bytes], digest: bytes, grow: Callable[[int], None]
    ) -> Part:
        """Add what comes, whose SHA-256 is `digest`, and return the longer part.

        Raises:
            intake.Refused: Other bytes have come than were sent.
            OSError: The disk does not take them.
        """
        found, size = hashlib.sha256(), 0
        async with await anyio.open_file(part.path, "r+b") as file:
            await file.truncate(part.offset_bytes)
            await file.seek(part.offset_bytes)
            try:
                async for chunk in chunks:
                    grow(len(chunk))
                    found.update(chunk)
                    size += len(chunk)
                    await file.write(chunk)
                _check(found.digest(), digest)
            except BaseException:
                with anyio.CancelScope(shield=True), contextlib.suppress(OSError):
                    await file.truncate(part.offset_bytes)  # what counts for nothing takes no room either
                raise
            await file.flush()
            await anyio.to_thread.run_sync(os.fsync, file.wrapped.fileno())
        longer = Part(part.folder, part.name, part.token, part.offset_bytes + size)
        await anyio.to_thread.run_sync(_renamed, part, longer)
        return longer


def _check(found: bytes, declared: bytes) -> None:
    if found != declared:
        raise intake.Refused(
            400, "other bytes have come than were sent: their SHA-256 is not the one that was declared"
        )


def _renamed(part: Part, longer: Part) -> None:
    part.path.replace(longer.path)
    durable.sync_entry(part.folder)
