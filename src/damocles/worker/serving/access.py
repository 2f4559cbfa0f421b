"""Who may call this worker, and what it shows to its manager.

Tokens are in `tokens.json` of the worker's home, as hashes; the one in `token` is an admin's, for the command line on
the same machine. The manager needs none of them: with each ping it gets one that lives as long as this process.
"""

import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
import structlog

from damocles import durable
from damocles.methods import rules
from damocles.rpc.admission import access, keyring, tokens
from damocles.stores import exhausted
from damocles.wire import codec
from damocles.worker.config import model

log = structlog.get_logger(__name__)

SHELF_NAME = "tokens.json"
MANAGER_NAME = "manager"  # whom the worker takes the holder of the lent token for
MANAGER_VARIABLE = "DAMOCLES_MANAGER_TOKEN"
# Where a manager on the same machine leaves a token for workers, if nothing else is said to either.
LOCAL_MANAGER_FILE = Path("~/.damocles-manager/worker-token")
ADMITTED = frozenset({rules.Scope.OPERATE})  # what the original's manager and command line need


class Unusable(Exception):
    """A file with tokens cannot be used; the message names it and the next step."""


async def open_keyring(home: Path) -> keyring.Keyring:
    """Return the worker's tokens, its own for the command line among them.

    Raises:
        Unusable: A file can be neither read nor made.
    """
    ring = keyring.Keyring(Shelf(home / SHELF_NAME))
    file = home / tokens.FILE_NAME
    try:
        text = tokens.ensure_file(file)
        await ring.load()
        await ring.adopt(text, keyring.OWN_NAME, rules.Scope.ADMIN)
    except OSError as error:
        raise Unusable(f"{error.filename or file} cannot be used: {error.strerror}; see worker.home") from error
    except ValueError as error:
        raise Unusable(f"{error}; delete it, and a new one is created") from error
    return ring


def guard(ring: keyring.Keyring, settings: model.RpcServer) -> access.Guard:
    """Return what lets calls to this worker through."""
    admitted = access.admitted(settings.admit, ADMITTED)
    if admitted:
        log.warning("peers are admitted by address, without tokens", addresses=[str(peer) for peer in admitted])
    return access.Guard(
        ring.identify,
        help_text=("this worker's own is in its home (found by --config, else --token-file or DAMOCLES_WORKER_TOKEN)"),
        create="damocles-worker auth create",
        admission=access.Admission(admitted, option='worker.rpc_server.admit = ["{}"]'),
    )


class ManagerToken:
    """The token to show to the manager; a file is read again when it changes, so that it may come later, or be new."""

    def __init__(self, text: str | None, file: Path | None) -> None:
        self._text = text
        self._file = file
        self._seen: tuple[int, int] | None = None

    def __call__(self) -> str | None:
        """Return the token, None if there is none."""
        if self._file is None:
            return self._text
        try:
            stat = self._file.stat()
            if (seen := (stat.st_mtime_ns, stat.st_ino)) != self._seen:
                self._text = tokens.read_file(self._file)
                self._seen = seen
        except (OSError, ValueError) as error:
            if exhausted.is_lacking(error):
                return self._text  # the file may be as it was
            if self._seen is not None or self._text is not None:
                log.warning("the token for the manager cannot be read any more", file=str(self._file), error=str(error))
            self._text = self._seen = None
        return self._text

    def __str__(self) -> str:
        """Where it comes from."""
        return str(self._file) if self._file else f"variable {MANAGER_VARIABLE}" if self._text else "nowhere"


def manager_token(
    settings: model.SectorManager, *, on_loopback: bool, environment: Mapping[str, str] = os.environ
) -> ManagerToken:
    """Find the token for the manager: the variable, the configured file, or what a manager on this machine has left.

    Raises:
        Unusable: The variable holds no token.
    """
    if text := environment.get(MANAGER_VARIABLE, "").strip():
        try:
            return ManagerToken(tokens.checked(text, MANAGER_VARIABLE), None)
        except ValueError as error:
            raise Unusable(str(error)) from error
    if settings.token_file is not None:
        return ManagerToken(None, settings.token_file.expanduser())
    return ManagerToken(None, LOCAL_MANAGER_FILE.expanduser() if on_loopback else None)


class Shelf:
    """Tokens in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._turn = anyio.Lock()

    async def load(self) -> list[keyring.Kept]:
        """Return all, the oldest first.

        Raises:
            OSError: The file cannot be read.
            ValueError: It holds something else.
        """
        return await anyio.to_thread.run_sync(self._read)

    async def add(self, token: keyring.Kept) -> None:
        """Keep one more."""
        async with self._turn:
            await self._write([*await self.load(), token])

    async def revoke(self, ids: Sequence[str], at: float) -> None:
        """Mark tokens as revoked."""
        async with self._turn:
            known = await self.load()
            await self._write([_changed(token, revoked=at) if token.id in ids else token for token in known])

    async def used(self, token_id: str, at: float) -> None:
        """Note a use."""
        async with self._turn:
            known = await self.load()
            await self._write([_changed(token, used=at) if token.id == token_id else token for token in known])

    def _read(self) -> list[keyring.Kept]:
        try:
            content = self._file.read_bytes()
        except FileNotFoundError:
            return []
        try:
            return codec.decode(content, list[keyring.Kept])
        except msgspec.MsgspecError as error:
            raise ValueError(f"{self._file} is damaged: {error}") from error

    async def _write(self, known: Sequence[keyring.Kept]) -> None:
        text = json.dumps(msgspec.to_builtins(known), indent=1)
        await anyio.to_thread.run_sync(partial(durable.replace, self._file, f"{text}\n".encode(), private=True))


def _changed(token: keyring.Kept, **changes: float) -> keyring.Kept:
    return msgspec.structs.replace(token, **changes)
