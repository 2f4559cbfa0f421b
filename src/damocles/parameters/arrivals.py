"""A file on its way: what has arrived of it, in pieces that grow side by side, and still known after a crash.

Beside the final name stand `<name>.fetch.part` with the bytes and `<name>.fetch.json` with how far each piece has come.
(The proofs crate writes the sets that it makes to `<name>.part`: another name, so that neither is taken for the other.)
"""

import itertools
import os
from pathlib import Path
from typing import Self

import msgspec

from damocles import durable

_SAVE_EVERY_BYTES = 8 << 20


class Piece(msgspec.Struct):
    """Bytes `start` to `end` (excluded) of the file; those before `position` have arrived."""

    start: int
    position: int
    end: int

    @property
    def complete(self) -> bool:
        """Whether all of it has arrived."""
        return self.position >= self.end


class State(msgspec.Struct):
    """How far the file has come, and which mirrors its bytes are from."""

    size_bytes: int
    pieces: list[Piece]
    sources: list[str]


class Partial:
    """The open `.part` file; use it as a context manager."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.fetch.part")
        self._state_path = target.with_name(f"{target.name}.fetch.json")
        self._unsaved = 0

    def __enter__(self) -> Self:
        self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        self._state = self._read_state()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._save()
        os.close(self._handle)

    @property
    def size_bytes(self) -> int | None:
        """The size of the file, once a mirror has reported it."""
        return self._state.size_bytes if self._state else None

    @property
    def arrived_bytes(self) -> int:
        """How much has arrived."""
        return sum(piece.position - piece.start for piece in self._state.pieces) if self._state else 0

    @property
    def sources(self) -> frozenset[str]:
        """The mirrors that the bytes are from."""
        return frozenset(self._state.sources) if self._state else frozenset()

    @property
    def open_pieces(self) -> list[Piece]:
        """The pieces that have not arrived."""
        return [piece for piece in self._state.pieces if not piece.complete] if self._state else []

    def begin(self, size_bytes: int, pieces: int) -> None:
        """Start from nothing, in so many pieces, unless a file of this size is on its way already."""
        if self._state and self._state.size_bytes == size_bytes:
            return
        self.discard()
        bounds = [size_bytes * number // pieces for number in range(pieces + 1)]
        self._state = State(size_bytes, [Piece(a, a, b) for a, b in itertools.pairwise(bounds)], [])
        os.ftruncate(self._handle, size_bytes)
        self._save()

    def discard(self) -> None:
        """Forget what has arrived."""
        self._state = None
        self._state_path.unlink(missing_ok=True)
        os.ftruncate(self._handle, 0)

    def write(self, piece: Piece, data: bytes, source: str) -> None:
        """Append bytes from a mirror to a piece; what goes beyond its end is dropped."""
        assert self._state is not None
        data = data[: piece.end - piece.position]
        view = memoryview(data)
        while view:
            written = os.pwrite(self._handle, view, piece.position)
            piece.position += written
            view = view[written:]
        if source not in self._state.sources:
            self._state.sources.append(source)
        self._unsaved += len(data)
        if self._unsaved >= _SAVE_EVERY_BYTES:
            self._save()

    def publish(self) -> None:
        """Give the file its name, durably: it is whole, and stays so if the power fails now."""
        os.fsync(self._handle)
        self.path.replace(self.target)
        durable.sync_entry(self.target.parent)
        self._state = None
        self._state_path.unlink(missing_ok=True)

    def _save(self) -> None:
        # Not synced: a process that dies loses nothing, and what a power failure mixes up the digest will show.
        self._unsaved = 0
        if self._state is not None:
            fresh = self._state_path.with_name(f"{self._state_path.name}.new")
            fresh.write_bytes(msgspec.json.encode(self._state))
            fresh.replace(self._state_path)

    def _read_state(self) -> State | None:
        try:
            state = msgspec.json.decode(self._state_path.read_bytes(), type=State)
        except (OSError, msgspec.MsgspecError):
            return None
        return state if os.fstat(self._handle).st_size == state.size_bytes else None
