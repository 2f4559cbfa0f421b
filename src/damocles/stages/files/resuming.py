"""Go on with the copy of a large file where a killed one was.

A part file has the mark of its source in its name, so that it is never continued from another one, nor from the same one
after it was changed. While it grows, it is written to the disk every so many bytes, before any byte behind them: of a
part that is longer than that, those bytes are there, whatever happened to the machine.
"""

import glob
import os
import re
from pathlib import Path
from typing import BinaryIO

STEP_BYTES = 1 << 30  # between two syncs: what is copied again at most
_COMPARED_BYTES = 1 << 20


def is_worthwhile(source: Path) -> bool:
    """Whether a file is so large that a copy is continued."""
    return source.stat().st_size > STEP_BYTES


def part_of(source: Path, destination: Path, attempt: int | None) -> Path:
    """Return where a copy is made before it gets its name; what is of use of a try before is there already.

    Parts of an older attempt are taken over: it may not give them their name any more, and if it still writes, then the
    same bytes. Those of a newer one are left alone. Parts of this attempt from another source are removed.
    """
    mark, folder, name = mark_of(source), destination.parent, destination.name
    own = folder / (f".{name}.{mark}.part" if attempt is None else f".{name}.{attempt}.{mark}.part")
    shape = re.compile(rf"\.{re.escape(name)}(?:\.(\d+))?(?:\.([0-9a-f]+-[0-9a-f]+-[0-9a-f]+))?\.part")
    for left in folder.glob(f".{glob.escape(name)}.*part"):
        found = shape.fullmatch(left.name)
        if found is None or left == own:
            continue
        number = None if found[1] is None else int(found[1])
        if number == attempt:
            left.unlink()
        elif number is not None and attempt is not None and number < attempt and found[2] == mark and not own.exists():
            left.rename(own)
    return own


def mark_of(source: Path) -> str:
    """Return what a file has that another one, or the same one after a change, has not."""
    found = source.stat()
    return f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"


def begin(reader: BinaryIO, writer: BinaryIO) -> int:
    """Cut a part back to what is surely right, go to its end, and return how many bytes that are."""
    length = os.fstat(writer.fileno()).st_size
    done = max(0, length - 1) // STEP_BYTES * STEP_BYTES
    if done and not _agree(reader, writer, done):
        done = 0
    os.ftruncate(writer.fileno(), done)
    os.lseek(writer.fileno(), done, os.SEEK_SET)
    return done


def _agree(reader: BinaryIO, writer: BinaryIO, done: int) -> bool:
    """Whether the last bytes are those of the source; a file system that forgets what it has synced shows there."""
    start = max(0, done - _COMPARED_BYTES)
    ours, theirs = (os.pread(file.fileno(), done - start, start) for file in (writer, reader))
    return ours == theirs


def until_sync(done: int) -> int:
    """Return how many bytes may be written before the next sync."""
    return STEP_BYTES - done % STEP_BYTES


def is_due(done: int) -> bool:
    """Whether it is time for a sync."""
    return done % STEP_BYTES == 0
