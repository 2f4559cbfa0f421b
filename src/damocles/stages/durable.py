"""Make results survive a power cut before somebody notes down that they are there; one writer at a time."""

import fcntl
import os
import time
from pathlib import Path

from damocles import failpoints
from damocles.stages import job

_POLL_SECONDS = 0.2


def sync(*paths: str | Path) -> None:
    """Write files, or folders with all that is in them, to the disk, and the entries that name them.

    A stage calls this before it answers: its parent notes "done" right after, and must not find an empty file behind
    that note. Symbolic links are entries of their folder; what they point to belongs to another stage.
    """
    for path in map(Path, paths):
        if path.is_dir():
            for folder, _, names in os.walk(path):
                for name in names:
                    file = Path(folder, name)
                    if file.is_file() and not file.is_symlink():
                        sync_entry(file)
                sync_entry(Path(folder))
        else:
            sync_entry(path)
        sync_entry(path.parent)


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Make a folder with its parents, if they are not there, so that they last."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode, exist_ok=True)
    for folder in missing:
        sync_entry(folder.parent)


def sync_entry(path: Path) -> None:
    """Write one file, or the names in one folder."""
    if path.is_file():
        failpoints.reach(f"sync:{path.name}", path)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
