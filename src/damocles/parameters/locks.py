"""One process at a time per file of the parameter cache."""

import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

_POLL_SECONDS = 0.2


@asynccontextmanager
async def exclusive(path: Path, waiting: Callable[[], None]) -> AsyncIterator[None]:
    """Hold the lock of `path`, the file `<path>.lock` beside it, while the block runs.

    If another process holds it, `waiting` is called once, and the block runs when that process is done or dead. The
    lock file stays: if it were deleted, two processes could hold locks on two files of the same name.
    """
    handle = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _try(handle):
            waiting()
            # The kernel tells nobody when another process lets go of a lock, except one that blocks in a system call.
            while not _try(handle):  # noqa: ASYNC110
                await anyio.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(handle)


def _try(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
