"""The worker's audit: a file of JSON lines that is only ever added to, and synced with each line."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import structlog
from msgspec import structs

from damocles.rpc import audit, keyring, messages
from damocles.wire import codec, control
from damocles.worker import control as worker_control
from damocles.worker import drain

log = structlog.get_logger(__name__)

FILE_NAME = "audit.jsonl"


class Ledger:
    """The file in a worker's home."""

    def __init__(self, home: Path) -> None:
        self._file = home / FILE_NAME
        self._turn = anyio.Lock()

    async def append(self, entry: control.AuditEntry) -> None:
        """Write one line and wait until the disk has it."""
        async with self._turn:
            await anyio.to_thread.run_sync(self._append, codec.encode(entry) + b"\n")

    def _append(self, line: bytes) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        opened = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(opened, "r+b") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")  # a power cut has left half a line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def read(home: Path) -> Iterator[control.AuditEntry]:
    """Yield the entries, the oldest first, with the number of their line as id.

    Raises:
        OSError: The file cannot be read.
    """
    file = home / FILE_NAME
    if not file.exists():
        return
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                entry = codec.decode(line, control.AuditEntry)
            except messages.UNREADABLE as error:
                log.warning("a line of the audit cannot be read", file=str(file), line=number, error=str(error))
                continue
            yield structs.replace(entry, id=number)


def observers(
    ours: worker_control.Control, draining: drain.Drain, ring: keyring.Keyring
) -> Mapping[str, audit.Observe]:
    """Return what shows how things look before and after methods that change them."""

    async def thread(arguments: Sequence[Any]) -> Any:
        return next((info for info in await ours.list_threads() if info.index == arguments[0]), None)

    async def drained(_: Sequence[Any]) -> Any:
        return draining.state()

    async def variable(arguments: Sequence[Any]) -> Any:
        return os.environ.get(arguments[0])

    async def token(arguments: Sequence[Any]) -> Any:
        return [kept.shown() for kept in ring.named(arguments[0])]

    return {
        "VenusWorker.WorkerPause": thread,
        "VenusWorker.WorkerResume": thread,
        "VenusWorker.WorkerSetEnv": variable,
        "VenusWorker.WorkerRemoveEnv": variable,
        "Damocles.Drain": drained,
        "Damocles.AuthCreate": token,
        "Damocles.AuthRevoke": token,
    }
