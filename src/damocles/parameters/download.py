"""Fetch published parameter files from mirrors that may be slow, broken or wrong.

A file is fetched from one mirror at a time, in several pieces at once, and goes on where it stood after a cut, another
mirror's turn or a restart. Whole, it must have the published digest before it gets its name. If it has not, the mirror
is not asked again for this file; if the bytes are from several mirrors, each then has to deliver the file alone.
"""

import itertools
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2

from damocles.parameters import arrivals, catalog, inspection, locks, mirrors
from damocles.parameters.watching import Watcher
from damocles.text import units, urls

# No file has more than these digits, and Python takes no number with very many.
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
_LENGTH = re.compile(r"[0-9]{1,18}")
# Answers that a later try may improve; any other refusal is final for this file.
_PASSING = frozenset({408, 425, 429})


class FetchError(Exception):
    """A file cannot be fetched; the message names it and each mirror's error."""


class MirrorError(Exception):
    """A mirror does not deliver; another, or another try, may."""


class MirrorUseless(MirrorError):
    """A mirror has not got the file."""


class MirrorAbsent(MirrorError):
    """Nobody answers at a mirror's address."""


class MixedUp(MirrorError):
    """The file is wrong, and it is unknown which mirror's bytes are to blame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How to fetch: pieces at once, tries in a row without a byte, seconds between them (doubled each time)."""

    pieces: int = 4
    smallest_piece_bytes: int = 16 << 20
    tries: int = 6
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 60.0
    silence_seconds: float = 30.0
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep

    def pieces_of(self, size_bytes: int) -> int:
        """Return in how many pieces to fetch a file."""
        return max(1, min(self.pieces, size_bytes // self.smallest_piece_bytes))


async def fetch(
    sets: Sequence[catalog.FileSet],
    folder: Path,
    sources: Sequence[str],
    watcher: Watcher,
    *,
    manner: Manner | None = None,
) -> list[str]:
    """Fetch what is missing or damaged of these sets into `folder`; return what went wrong, a line per file.

    Sets that were made on this machine are left alone, since published files would not fit their other half.
    """
    manner = manner or Manner()
    failures = []
    async with _client(manner) as client:
        means = _Means(client, watcher, manner)
        for wanted in sets:
            inspection.drop_mark_alone(wanted, folder)
            if inspection.read_mark(wanted, folder) is not None:
                name = f"{wanted.kind} {wanted.size_label}"
                watcher.say(f"{name}: generated on this machine; to fetch it, delete {folder / wanted.identifier}.*")
                continue
            for file in wanted.files:
                try:
                    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240
                    await _fetch_file(means, file, folder, sources)
                except* FetchError as group:
                    failures += [f"{file.name}: {error}" for error in group.exceptions]
                except* OSError as group:
                    failures.append(f"{file.name}: cannot be written to {folder}: {_reason(group)}")
                finally:
                    watcher.end(file.name)
    return failures


@dataclass(frozen=True, slots=True)
class _Means:
    """What every download needs."""

    client: httpx2.AsyncClient
    watcher: Watcher
    manner: Manner
    absent: set[str] = field(default_factory=set)  # mirrors that could not be reached for the file before


async def _fetch_file(means: _Means, file: catalog.File, folder: Path, sources: Sequence[str]) -> None:
    target = folder / file.name
    if await _is_here(means, file, target):  # before the lock, since the folder may be one that we cannot write to
        return
    busy = partial(means.watcher.say, f"{file.name}: another process is fetching it, waiting")
    async with locks.exclusive(target, busy):
        if await _is_here(means, file, target):
            return
        if target.exists():
            means.watcher.say(f"{file.name}: damaged here, fetching it again")
        with arrivals.Partial(target) as part:
            await _Fetch(means, file, part).run(sources)
    means.watcher.say(f"{file.name}: fetched, digest ok")


async def _is_here(means: _Means, file: catalog.File, target: Path) -> bool:
    if not target.exists() or await _digest(target, file, means.watcher) != file.digest:  # noqa: ASYNC240
        return False
    means.watcher.say(f"{file.name}: already here, digest ok")
    return True


@dataclass(frozen=True, slots=True)
class _Fetch:
    """One file on its way."""

    means: _Means
    file: catalog.File
    part: arrivals.Partial

    async def run(self, sources: Sequence[str]) -> None:
        """Try the mirrors in turn until the file is whole and right, then give it its name.

        Those that were not there for the last file get one try: a dead one need not be waited for again and again.
        """
        able, complaints = list(sources), dict[str, str]()
        trusted, alone, idle_tries = self.part.arrived_bytes == 0, False, 0
        absent_before = frozenset(self.means.absent)
        for source in itertools.cycle(sources):
            if source not in able:
                continue
            if alone and self.part.sources - {source}:
                self.part.discard()
            before = self.part.arrived_bytes
            # When nobody gets anywhere with this size, another mirror's may be the right one.
            resize = idle_tries >= len(able)
            try:
                await self._complete(source, resize=resize, trusted=trusted)
            except MirrorError as error:
                if complaints.get(source) != str(error):
                    complaints[source] = str(error)
                    self.means.watcher.say(f"{self.file.name}: {urls.shown(source)}: {error}")
                absent = isinstance(error, MirrorAbsent)
                (self.means.absent.add if absent else self.means.absent.discard)(source)
                if isinstance(error, MirrorUseless) or (absent and source in absent_before):
                    able.remove(source)
                alone = alone or isinstance(error, MixedUp)
            else:
                self.part.publish()
                self.means.absent.discard(source)
                return
            # What this run has fetched itself can be held against the mirror, what it found here cannot.
            trusted = trusted or self.part.arrived_bytes == 0
            idle_tries = 0 if self.part.arrived_bytes > before else idle_tries + 1
            if not able or idle_tries >= self.means.manner.tries * len(able):
                break
            await self._pause(*divmod(idle_tries, len(able)))
        joined = "; ".join(f"{urls.shown(source)}: {text}" for source, text in complaints.items())
        tries = f"; {self.means.manner.tries} tries in a row brought nothing (see --tries)" if able else ""
        raise FetchError(f"cannot be fetched: {joined}{tries}")

    async def _pause(self, idle_rounds: int, rest: int) -> None:
        """Wait after each round in which no mirror brought anything, longer each time."""
        manner = self.means.manner
        if idle_rounds and not rest:
            await manner.sleep(min(manner.longest_wait_seconds, manner.first_wait_seconds * 2.0 ** (idle_rounds - 1)))

    async def _complete(self, source: str, *, resize: bool, trusted: bool) -> None:
        """Fetch the rest of the file from a mirror and check the digest of the whole."""
        await self._from(source, resize=resize)
        if await _digest(self.part.path, self.file, self.means.watcher) == self.file.digest:
            return
        sources = self.part.sources
        self.part.discard()
        if trusted and sources == {source}:
            raise MirrorUseless("sends another file: the digest is wrong")
        raise MixedUp("the digest is wrong; fetching the file again")

    async def _from(self, source: str, *, resize: bool) -> None:
        """Fetch what is missing from one mirror; with `resize`, start again if it has a file of another size."""
        url = mirrors.url_of(source, self.file)
        size_bytes, in_pieces = await self._ask(url)
        if self.part.arrived_bytes and size_bytes != self.part.size_bytes and not resize:
            raise MirrorError(f"has a file of {size_bytes} bytes, another mirror one of {self.part.size_bytes}")
        arrived_bytes = self.part.arrived_bytes if size_bytes == self.part.size_bytes else 0
        self._check_space(size_bytes - arrived_bytes)
        self.part.begin(size_bytes, self.means.manner.pieces_of(size_bytes) if in_pieces else 1)
        self.means.watcher.begin(self.file.name, "fetching", size_bytes, self.part.arrived_bytes)
        if not in_pieces:
            await self._whole(url, source)
            return
        # A piece that fails does not take the others down: what is on its way to them arrives.
        failures: list[MirrorError] = []
        async with anyio.create_task_group() as tasks:
            for piece in self.part.open_pieces:
                tasks.start_soon(self._piece, url, source, piece, failures)
        if failures:
            raise failures[0]

    async def _ask(self, url: str) -> tuple[int, bool]:
        """Return the file's size, and whether the mirror sends parts of it."""
        async with _answer(self.means.client, url, {"Range": "bytes=0-0"}) as response:
            if response.status_code == httpx2.codes.PARTIAL_CONTENT:
                if found := _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "")):
                    return int(found[3]), True
            elif length := _LENGTH.fullmatch(response.headers.get("Content-Length", "")):
                return int(length[0]), False
            raise MirrorError("does not report the size of the file")

    async def _piece(self, url: str, source: str, piece: arrivals.Piece, failures: list[MirrorError]) -> None:
        """Fetch the rest of a piece; put into `failures` why that did not work."""
        wanted = f"bytes={piece.position}-{piece.end - 1}"
        try:
            async with _answer(self.means.client, url, {"Range": wanted}) as response:
                _check_range(response, piece)
                # No chunk size: a cut would swallow what waits for its chunk to fill.
                async for data in response.aiter_raw():
                    self._write(piece, data, source)
        except MirrorError as error:
            failures.append(error)
        else:
            if not piece.complete:
                failures.append(MirrorError("stops before the end"))

    async def _whole(self, url: str, source: str) -> None:
        """Read the file from its beginning, since the mirror knows no other way, and keep what is missing."""
        position = 0
        async with _answer(self.means.client, url, {}) as response:
            async for data in response.aiter_raw():
                for piece in self.part.open_pieces:
                    if position <= piece.position < position + len(data):
                        self._write(piece, data[piece.position - position :], source)
                position += len(data)
                if not self.part.open_pieces:
                    break  # a mirror may go on without end
        if self.part.open_pieces:
            raise MirrorError(f"sent only {units.human_size(position)}")

    def _write(self, piece: arrivals.Piece, data: bytes, source: str) -> None:
        before = piece.position
        self.part.write(piece, data, source)
        self.means.watcher.advance(self.file.name, piece.position - before)

    def _check_space(self, needed_bytes: int) -> None:
        folder = self.part.target.parent
        free_bytes = shutil.disk_usage(folder).free
        if needed_bytes > free_bytes:
            # Only this mirror says so: another one may have the file as it is.
            raise MirrorUseless(
                f"{folder} has {units.human_size(free_bytes)} free, {units.human_size(needed_bytes)} are needed"
            )


@asynccontextmanager
async def _answer(client: httpx2.AsyncClient, url: str, headers: dict[str, str]) -> AsyncIterator[httpx2.Response]:
    """Send a request and yield its successful answer; trouble on the way is a `MirrorError`."""
    try:
        async with client.stream("GET", url, headers=headers) as response:
            status = response.status_code
            if status >= 400:
                refusal = f"answers {status} {response.reason_phrase}".strip()
                final = status < 500 and status not in _PASSING
                raise MirrorUseless(refusal) if final else MirrorError(refusal)
            yield response
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        raise MirrorAbsent(f"fails: {str(error) or type(error).__name__}") from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise MirrorError(f"fails: {str(error) or type(error).__name__}") from error


def _check_range(response: httpx2.Response, piece: arrivals.Piece) -> None:
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status_code != httpx2.codes.PARTIAL_CONTENT or not found or int(found[1]) != piece.position:
        raise MirrorError("answers with other bytes than it was asked for")


def _reason(group: BaseExceptionGroup[OSError]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


async def _digest(path: Path, file: catalog.File, watcher: Watcher) -> str:
    watcher.begin(file.name, "checking", path.stat().st_size, 0)  # noqa: ASYNC240
    return await anyio.to_thread.run_sync(
        inspection.digest_of, path, partial(watcher.advance, file.name), abandon_on_cancel=True
    )


def _client(manner: Manner) -> httpx2.AsyncClient:
    # The files are compressed as they are, and a digest needs the bytes as they were sent.
    # A name and password of a mirror go to its origin alone; redirects to others are followed without.
    return httpx2.AsyncClient(
        headers={"Accept-Encoding": "identity"}, follow_redirects=True, timeout=httpx2.Timeout(manner.silence_seconds)
    )
