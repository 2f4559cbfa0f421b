"""A place on this machine, for when the cluster is away: the same guard and child, asked in the same way."""

import functools
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path

import anyio.to_thread

from damocles.stages.far import actor, attempts, workplace


class Near:
    """A workplace in this process. Each call that may last has a thread."""

    def __init__(self, work: workplace.Work) -> None:
        self._place = workplace.Workplace(work)

    async def about(self) -> actor.About:
        """Return what is here."""
        return actor.about()

    async def run(self, attempt: str, stamp: float, request: bytes) -> AsyncIterator[bytes]:
        """Yield the lines about a task."""
        lines: Iterator[bytes] = self._place.run(attempt, stamp, request)
        while (line := await anyio.to_thread.run_sync(next, lines, None, abandon_on_cancel=True)) is not None:
            yield line

    async def renew(self, stamp: float) -> float:
        """Renew the lease; return the next stamp."""
        return self._place.renew(stamp)

    async def stop(self, attempt: str) -> bool:
        """End an attempt; return whether nothing of it goes on."""
        return await anyio.to_thread.run_sync(self._place.stop, attempt)

    async def listed(self, folder: str) -> Mapping[str, int]:
        """Return what is in the folder of an attempt."""
        return await anyio.to_thread.run_sync(attempts.listed, Path(folder))

    async def read(self, probes: Sequence[str], *, answers: bool) -> Mapping[str, str]:
        """Return what is in small files."""
        return await anyio.to_thread.run_sync(functools.partial(actor.read, probes, answers=answers))

    def close(self) -> None:
        """End the child."""
        self._place.close()
