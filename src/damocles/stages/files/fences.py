"""Let the newest attempt at a sector have the last word in a persist store.

A worker that seemed dead may wake up in the middle of a copy. The manager refuses its calls, but nobody can refuse its
`rename`, so the store does: a file of the sector holds the number of the newest attempt that has put something here, and
a worker that renames holds its lock. An older attempt finds a newer number and leaves things as they are. One that is frozen
while it holds the lock keeps the newer one waiting, and is refused once it wakes up and releases the lock.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from damocles import durable, failpoints
from damocles.stages import job, locking
from damocles.wire import tasks


class Overtaken(Exception):
    """A newer attempt has written to the store."""


@contextlib.contextmanager
def turn(fence: tasks.Fence | None, around: job.Job) -> Iterator[None]:
    """Hold the right to rename files of a sector; without a fence anybody may.

    Raises:
        Overtaken: A newer attempt has had its turn.
        OSError: The file system refused; also if it has no locks.
    """
    if fence is None:
        yield
        return
    path = Path(fence.path)
    durable.make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        locking.lock(descriptor, around)
        newest = int(os.pread(descriptor, 32, 0).strip() or 0)
        if newest > fence.attempt:
            raise Overtaken(
                f"attempt {fence.attempt} at {path.name} is over: attempt {newest} has written to {path.parent.parent};"
                " if this copy of the sealing store was left behind, abort the sector here: that ends this copy only;"
                f" if the manager counts from the start again, remove {path}"
            )
        if newest < fence.attempt:
            # One write of the same width: never half a number, never an empty file.
            os.pwrite(descriptor, f"{fence.attempt:<20}\n".encode(), 0)
            os.fsync(descriptor)
            durable.sync_entry(path.parent)
        failpoints.reach(f"fence:{path.name}")
        yield
    finally:
        os.close(descriptor)  # which unlocks
