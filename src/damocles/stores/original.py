"""Keep our workers off the sealing stores of the original, and its workers off ours.

A worker that begins a sector in a store where the other has one deletes the files of both when it ends. The original keeps
what its thread does in a RocksDB in `meta/`, which it opens before it begins anything. RocksDB reads `CURRENT` first, and
has refused it ever since if its last character is no newline ("CURRENT file does not end with newline"): the thread of the
original pauses, and has written nothing but a lock and a log of RocksDB.
"""

from pathlib import Path

from damocles import durable

FILE_NAME = "CURRENT"
_OURS = b"A store of damocles in Python, with its journal beside this file, which keeps the original's worker from using it."


def is_in(meta: Path) -> bool:
    """Return whether a worker of the original has used a store with this `meta` folder.

    Raises:
        OSError: It cannot be looked at.
    """
    try:
        return (meta / FILE_NAME).read_bytes() != _OURS
    except FileNotFoundError:
        return False


def keep_out(meta: Path) -> None:
    """Let no worker of the original use the store with this `meta` folder.

    Raises:
        OSError: It cannot be written to.
    """
    if not (meta / FILE_NAME).exists():
        part = meta / f"{FILE_NAME}.part"
        durable.write(part, _OURS)
        part.replace(meta / FILE_NAME)
