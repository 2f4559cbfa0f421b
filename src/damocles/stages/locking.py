"""Locks among the processes of stages: one writer at a time."""

import fcntl
import time

from damocles.stages import job

_POLL_SECONDS = 0.2


def lock(descriptor: int, around: job.Job) -> None:
    """Lock an open file for this process alone, and wait for that as long as the task is wanted; closing unlocks."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            around.check()
            time.sleep(_POLL_SECONDS)
        else:
            return
