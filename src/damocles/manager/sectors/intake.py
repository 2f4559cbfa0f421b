"""What may come in at the piece store: how large a piece is at most, and how much room stays on the disk.

The manager's database is usually on the same disk, and has to go on when somebody fills it with pieces.
"""

import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread

from damocles.rpc import limits

_PART_KEPT = 20  # of a small disk, one part in so many stays free


class Refused(Exception):
    """A piece cannot be taken; `status` is that of HTTP."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Intake:
    """The pieces that come into a folder now, each of at most `most_bytes`."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._expected_bytes = 0  # by all that come in now
        self.largest_bytes = 0
        self.met: Counter[str] = Counter()

    @asynccontextmanager
    async def piece(self, declared_bytes: int | None, *, have_bytes: int = 0) -> AsyncIterator[Callable[[int], None]]:
        """Take one piece, or the rest of one, while the block runs; yield what takes how much more of it has come.

        Raises:
            Refused: It is too large, or the disk has no room for it.
        """
        expected = self._most_bytes - have_bytes if declared_bytes is None else declared_bytes
        if have_bytes + expected > self._most_bytes:
            self._refuse_size()
        self._expected_bytes += expected
        try:
            await self._look_for_room()
            came = 0

            def grow(size: int) -> None:
                nonlocal came
                came += size
                self.largest_bytes = max(self.largest_bytes, have_bytes + came)
                if came > expected:
                    self._refuse_size()

            yield grow
        finally:
            self._expected_bytes -= expected

    def levels(self) -> dict[str, limits.Level]:
        """Return how large the largest piece was."""
        return {"piece_bytes": limits.Level(self.largest_bytes, self._most_bytes)}

    def _refuse_size(self) -> None:
        self.met["piece_bytes"] += 1
        raise Refused(413, f"a piece has at most {self._most_bytes} bytes, the size of a sector")

    async def _look_for_room(self) -> None:
        usage = await anyio.to_thread.run_sync(_usage, self._folder)
        if usage is None:
            return
        kept = min(limits.ROOM_KEPT_BYTES, usage.total // _PART_KEPT)
        if usage.free - self._expected_bytes < kept:
            self.met["room_kept_bytes"] += 1
            raise Refused(
                507,
                f"{usage.free} bytes are free at {self._folder}, and {kept} have to stay so for the manager's database",
            )


def _usage(folder: Path) -> Any:
    """Return the system's figures of the disk; None if there are none, so that writing will show why."""
    try:
        return shutil.disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.exists()))
    except OSError:
        return None
