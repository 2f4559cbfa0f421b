"""Files that survive a power cut before somebody notes down that they are there, and are whole after a kill."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from damocles import failpoints


def replace(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write a small file so that a kill or a power cut leaves the old content or the new one.

    `private` lets only its owner read it.

    Raises:
        OSError: It cannot be written; the old content is still there.
    """
    with replacing(path, private=private) as file:
        file.write(content)


@contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[IO[bytes]]:
    """Yield a file that takes the place of another, durably, once the block has succeeded."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if private else 0o666), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_entry(path.parent)


def write(path: Path, content: bytes) -> None:
    """Write a file to the disk; a kill may leave a part of it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


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
