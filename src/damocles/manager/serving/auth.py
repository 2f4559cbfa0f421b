"""Who may call this manager: its tokens, which are in the database, and its own two, which are in files of its home.

Managers on one database have its tokens in common, and each of them the two of its own home. `token` is an admin's, for the command line on the same machine; `worker-token` is shared by the workers that have no
token of their own. Anybody who can write to the home can become admin, and so can anybody who can write to the database.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import structlog
from sqlalchemy import Connection, insert, select, update

from damocles.manager import errors
from damocles.manager.db import engine, managers, tables
from damocles.methods import rules
from damocles.rpc.admission import access, keyring, tokens

log = structlog.get_logger(__name__)

WORKER_FILE_NAME = "worker-token"
WORKER_NAME = "local-worker"
FRESH_SECONDS = 10.0  # how late a token that another manager on the same database revoked is still taken
ADMITTED = frozenset({rules.Scope.WORKER, rules.Scope.READ})  # what the original's workers need, and lists

_tokens = tables.tokens


def init(home: Path) -> list[Path]:
    """Make the files with the manager's own tokens, unless they are there; return where they are.

    Raises:
        errors.StartError: They can be neither read nor made.
    """
    files = [home / tokens.FILE_NAME, home / WORKER_FILE_NAME]
    for file in files:
        _ensure(file)
    return files


async def open_keyring(home: Path, database: engine.Database, clock: Callable[[], float]) -> keyring.Keyring:
    """Return the manager's tokens, its own two among them.

    Raises:
        errors.StartError: A token file can be neither read nor made.
    """
    ring = keyring.Keyring(_Shelf(database), clock, fresh_seconds=FRESH_SECONDS)
    await ring.load()
    by = f"the manager {managers.name_of(home)}" if database.is_shared else keyring.THE_DAEMON
    await ring.adopt(_ensure(home / tokens.FILE_NAME), keyring.OWN_NAME, rules.Scope.ADMIN, by)
    await ring.adopt(_ensure(home / WORKER_FILE_NAME), WORKER_NAME, rules.Scope.WORKER, by)
    log.info(
        "shared worker tokens: anybody with one may call as any worker without a token of its own",
        tokens=[token.name for token in ring.shared()],
    )
    return ring


def guard(
    ring: keyring.Keyring,
    *,
    admit: Sequence[access.Admitted] = (),
    open_metrics: bool = False,
    dashboard: bool = False,
) -> access.Guard:
    """Return what lets calls to this manager through."""
    open_routes = access.OPEN
    open_routes |= {"GET /metrics", "GET /http_sd"} if open_metrics else set()
    open_routes |= access.OPEN_PAGES if dashboard else set()
    if admit:
        log.warning("peers are admitted by address, without tokens", addresses=[str(peer) for peer in admit])
    return access.Guard(
        ring.identify,
        help_text=(
            "this manager's own is in its home (found by --home, else --token-file or DAMOCLES_TOKEN),"
            f" that for workers beside it in {WORKER_FILE_NAME} (sector_manager.token_file of their configuration)"
        ),
        create="damocles-manager auth create",
        admission=access.Admission(admit, option="--admit {}"),
        open_routes=open_routes,
    )


def _ensure(file: Path) -> str:
    try:
        return tokens.ensure_file(file)
    except OSError as error:
        raise errors.StartError(f"the token file {file} cannot be used: {error.strerror}") from error
    except ValueError as error:
        raise errors.StartError(f"{error}; delete it, and a new one is created") from error


class _Shelf:
    """Tokens in the database."""

    def __init__(self, database: engine.Database) -> None:
        self._database = database

    async def load(self) -> list[keyring.Kept]:
        """Return all, the oldest first."""

        def load(tx: Connection) -> list[keyring.Kept]:
            rows = tx.execute(select(_tokens).order_by(_tokens.c.created, _tokens.c.id)).mappings()
            return [keyring.Kept(**{**row, "scope": rules.Scope(row["scope"])}) for row in rows]

        return await self._database.read(load)

    async def add(self, token: keyring.Kept) -> None:
        """Keep one more."""
        values = msgspec.structs.asdict(token) | {"scope": token.scope.value}
        await self._database.write(lambda tx: tx.execute(insert(_tokens).values(values)))

    async def revoke(self, ids: Sequence[str], at: float) -> None:
        """Mark tokens as revoked."""
        await self._database.write(
            lambda tx: tx.execute(update(_tokens).where(_tokens.c.id.in_(ids)).values(revoked=at))
        )

    async def used(self, token_id: str, at: float) -> None:
        """Note a use."""
        await self._database.write(
            lambda tx: tx.execute(update(_tokens).where(_tokens.c.id == token_id).values(used=at)), durable=False
        )
