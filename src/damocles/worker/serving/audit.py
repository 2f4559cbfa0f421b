"""The worker's audit: a file of JSON lines that is only ever added to, and synced with each line.

An entry is a line, written before its change begins; what came of it is another one further on, which names the first by
its `key`.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import anyio
import anyio.to_thread
import msgspec
from msgspec import structs

from damocles import methods
from damocles.rpc import messages
from damocles.rpc.admission import audit, audit_rows, keyring
from damocles.text import redaction
from damocles.wire import codec, control
from damocles.worker.serving import control as worker_control
from damocles.worker.serving import drain

FILE_NAME = "audit.jsonl"

_ENDS = b'{"ends":'  # so begins a line that completes an earlier one


class _Begun(control.AuditEntry, frozen=True, omit_defaults=True, kw_only=True):
    key: str = ""


class _End(msgspec.Struct, frozen=True):
    ends: str
    end: msgspec.Raw = messages.NULL


class _Key(msgspec.Struct, frozen=True):
    key: str = ""


class Ledger:
    """The file in a worker's home."""

    def __init__(self, home: Path) -> None:
        self._file = home / FILE_NAME
        self._turn = anyio.Lock()

    async def begin(self, entry: control.AuditEntry) -> str:
        """Write a line and wait until the disk has it; return its key."""
        key = secrets.token_hex(8)
        await self._write(_Begun(**structs.asdict(entry), key=key))
        return key

    async def end(self, key: str, end: control.AuditEnd) -> None:
        """Write the outcome of the entry with this key, in the same way."""
        await self._write(_End(key, msgspec.Raw(codec.encode(end))))

    async def _write(self, line: msgspec.Struct) -> None:
        text = codec.encode(line) + b"\n"
        async with self._turn:
            await anyio.to_thread.run_sync(self._append, text)

    def _append(self, line: bytes) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        opened = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(opened, "r+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                if size:
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":
                        line = b"\n" + line  # a power cut has left half a line
                while line:
                    line = line[file.write(line) :]
                os.fsync(file.fileno())
            except OSError as error:
                with contextlib.suppress(OSError):
                    file.truncate(size)  # nothing is done whose line is not here as a whole
                error.filename = error.filename or str(self._file)
                raise


def read(home: Path) -> Iterator[control.AuditEntry]:
    """Yield the entries, the oldest first, with the number of their line as id.

    Raises:
        OSError: The file cannot be read.
    """
    file = home / FILE_NAME
    if not file.exists():
        return
    with file.open("rb") as lines, file.open("rb") as elsewhere:
        ends = _ends(lines)
        lines.seek(0)
        at = 0.0
        for number, line in enumerate(lines, start=1):
            if line.startswith(_ENDS) or not line.strip():
                continue
            entry = audit_rows.read(line, number, _end(elsewhere, ends.get(_key(line))), at=at)
            at = entry.at
            yield entry


def _ends(lines: BinaryIO) -> dict[str, int]:
    """Return where the ends of entries are, by key."""
    found, place = {}, 0
    for line in lines:
        if line.startswith(_ENDS):
            with contextlib.suppress(*messages.UNREADABLE):
                found[codec.decode(line, _End).ends] = place
        place += len(line)
    return found


def _key(line: bytes) -> str:
    try:
        return codec.decode(line, _Key).key
    except messages.UNREADABLE:
        return ""


def _end(file: BinaryIO, place: int | None) -> bytes | None:
    if place is None:
        return None
    file.seek(place)
    return bytes(codec.decode(file.readline(), _End).end)


def observers(
    ours: worker_control.Control, draining: drain.Drain, ring: keyring.Keyring
) -> Mapping[str, audit.Observe]:
    """Return what shows how things look before and after methods that change them."""

    async def thread(arguments: Sequence[Any]) -> Any:
        return next((info for info in await ours.list_threads() if info.index == arguments[0]), None)

    async def drained(_: Sequence[Any]) -> Any:
        return draining.state()

    async def variable(arguments: Sequence[Any]) -> Any:
        value = os.environ.get(arguments[0])
        return redaction.MASK if value and redaction.is_secret(arguments[0]) else value

    async def token(arguments: Sequence[Any]) -> Any:
        return [kept.shown() for kept in ring.named(arguments[0])]

    return {
        methods.worker.pause.name: thread,
        methods.worker.resume.name: thread,
        methods.worker.set_env.name: variable,
        methods.worker.remove_env.name: variable,
        methods.worker.drain.name: drained,
        methods.access.create_token.name: token,
        methods.access.revoke_tokens.name: token,
    }
