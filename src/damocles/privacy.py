"""Files and folders that other users of this machine can read, and should not.

A group is given rights on purpose; what everybody may do is mostly an oversight. So only the latter is warned of.
"""

import os
import stat
from pathlib import Path

GROUP_READS = 0o640  # what tells of sectors, and holds nothing to get in with


def is_open(path: Path) -> bool:
    """Return whether every user of this machine may read a file, or look into a folder; not if nobody can tell."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return bool(mode & (stat.S_IXOTH | stat.S_IROTH if stat.S_ISDIR(mode) else stat.S_IROTH))


def close(file: Path) -> None:
    """Take from everybody what a file of ours gives them, and leave its group what it has.

    Raises:
        OSError: It is not ours.
    """
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & stat.S_IRWXO:
        file.chmod(mode & ~stat.S_IRWXO)


def is_foreign(folder: Path) -> bool:
    """Return whether another user, but root, decides what is in a folder: owns it, or may write to it like everybody."""
    try:
        found = folder.stat()
    except OSError:
        return False
    return found.st_uid not in {0, os.geteuid()} or bool(found.st_mode & stat.S_IWOTH)


def advice(path: Path) -> str:
    """Return what is wrong with a file or folder that `is_open`, and how to mend it."""
    return f"every user of this machine can read it: chmod o= {path}"
