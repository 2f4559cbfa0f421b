"""Write small files so that a kill or a power cut leaves the old one or the new."""

import os
from pathlib import Path


def write_durably(path: Path, content: bytes) -> None:
    """Write a small file, and its folder if there is none, so that a kill or a power cut leaves the old one or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    write_synced(part, content)
    part.replace(path)
    sync_dir(path.parent)


def write_synced(path: Path, content: bytes) -> None:
    """Write a file to the disk; a kill may leave a part of it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_dir(path: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
