"""How much room is left in folders, asked so that a disk that hangs holds up nobody."""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import anyio
import anyio.to_thread

PATIENCE_SECONDS = 1.0


class Usage(NamedTuple):
    """Space of a disk in bytes."""

    total: int
    used: int
    free: int


class Space:
    """The folders of stores by name."""

    def __init__(self, folders: Mapping[str, Path], patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._folders = dict(folders)
        self._patience_seconds = patience_seconds
        self._asked: set[str] = set()  # and not answered yet; changed by the threads that ask
        self._limiter = anyio.CapacityLimiter(max(1, len(self._folders)))

    @property
    def names(self) -> frozenset[str]:
        """All names."""
        return frozenset(self._folders)

    async def ask(self) -> dict[str, Usage]:
        """Return the space of those that answer within the patience.

        One that hung the last time is not asked again before it has answered: it would only take another thread.
        """
        found: dict[str, Usage] = {}

        def look(name: str) -> Usage:
            self._asked.add(name)
            try:
                return Usage(*shutil.disk_usage(self._folders[name]))
            finally:
                self._asked.discard(name)

        async def ask(name: str) -> None:
            with suppress(OSError):
                found[name] = await anyio.to_thread.run_sync(look, name, abandon_on_cancel=True, limiter=self._limiter)

        with anyio.move_on_after(self._patience_seconds):
            async with anyio.create_task_group() as tasks:
                for name in self._folders:
                    if name not in self._asked:
                        tasks.start_soon(ask, name)
        return found
