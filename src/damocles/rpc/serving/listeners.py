"""Find out which process of this machine listens on a port, for an error that names it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

_LISTENING = "0A"
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


def owner(port: int) -> str | None:
    """Return the process that listens on a TCP port, `pid 123 (name)`; `None` if it is not to be found, as another user's."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(port)}
    if not sockets:
        return None
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # another user's, or gone meanwhile
            if any(str(entry.readlink()) in sockets for entry in (folder / "fd").iterdir()):
                return f"pid {folder.name} ({(folder / 'comm').read_text().strip()})"
    return None


def _inodes(port: int) -> Iterator[str]:
    """Yield the sockets that listen on a port (`proc_net_tcp` of the kernel's documentation)."""
    for table in _TABLES:
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == _LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                    yield columns[9]
