"""How much room is left in stores, and which are not there, asked so that a disk that hangs holds up nobody."""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import anyio
import anyio.to_thread

from damocles.stores import exhausted, identity

PATIENCE_SECONDS = 1.0


class Usage(NamedTuple):
    """Space of a disk in bytes."""

    total: int
    used: int
    free: int


class Space:
    """The folders of stores by name; they may change, and what is asked next counts."""

    def __init__(
        self,
        folders: Mapping[str, Path],
        patience_seconds: float = PATIENCE_SECONDS,
        memory: identity.Memory = identity.NOTHING,
    ) -> None:
        self._folders = folders
        self._patience_seconds = patience_seconds
        self._memory = memory
        self._missing: dict[str, str] = {}  # changed by the threads that ask
        self._asked: set[str] = set()  # and not answered yet; changed by the threads that ask
        self._limiter = anyio.CapacityLimiter(max(1, len(self._folders)))

    @property
    def names(self) -> frozenset[str]:
        """All names."""
        return frozenset(self._folders)

    @property
    def missing(self) -> dict[str, str]:
        """Why those are missing that were, when they answered last: a disk that is not mounted, or another one."""
        return {name: why for name, why in self._missing.items() if name in self._folders}

    async def ask(self) -> dict[str, Usage]:
        """Return the space of those that are there, and answer within the patience.

        One that hung the last time is not asked again before it has answered: it would only take another thread.
        """
        found: dict[str, Usage] = {}

        def look(name: str, folder: Path) -> Usage:
            self._asked.add(name)
            try:
                self._memory.check(folder)
                usage = Usage(*shutil.disk_usage(folder))
            except identity.NotTheStore as error:
                if not exhausted.is_lacking(error):
                    self._missing[name] = str(error)
                raise
            except OSError as error:
                if not exhausted.is_lacking(error):
                    self._missing[name] = f"{folder} cannot be read ({error.strerror}): is the disk mounted?"
                raise
            else:
                self._missing.pop(name, None)
                return usage
            finally:
                self._asked.discard(name)

        async def ask(name: str, folder: Path) -> None:
            with suppress(OSError, identity.NotTheStore):
                found[name] = await anyio.to_thread.run_sync(
                    look, name, folder, abandon_on_cancel=True, limiter=self._limiter
                )

        self._limiter.total_tokens = max(1, len(self._folders))
        with anyio.move_on_after(self._patience_seconds):
            async with anyio.create_task_group() as tasks:
                for name, folder in self._folders.items():
                    if name not in self._asked:
                        tasks.start_soon(ask, name, folder)
        return found
