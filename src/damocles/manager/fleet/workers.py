"""The registry of workers: who has pinged, from where, and when.

Nothing leaves it by itself; a worker that will not come back is removed by hand. Functions are steps in a transaction.
"""

from dataclasses import dataclass, field

from sqlalchemy import Connection, delete, func, insert, select, update

from damocles.manager import errors
from damocles.manager.db import tables
from damocles.rpc import address, limits
from damocles.rpc.admission import tokens
from damocles.wire import codec, fleet

_workers = tables.workers


@dataclass(frozen=True, slots=True)
class Row:
    """A worker's last ping, its unix time, and the token to call it with at the destination in the ping."""

    info: fleet.WorkerInfo
    last_ping: float
    token: str | None = field(default=None, repr=False)


def ping(
    tx: Connection, info: fleet.WorkerInfo, now: float, token: str | None = None, *, vouched: bool = False
) -> None:
    """Keep a ping under the worker's name; the last one counts, with the token it brought or without one.

    The token never outlives its ping: otherwise a program that pings under another worker's name would get its token. A name
    is `vouched` for by a token that is for this worker alone; the number of others is limited.

    Raises:
        errors.ManagerError: Name, destination or token are invalid, or it is one name too many.
    """
    _check(info, token)
    values = {"info": codec.encode(info).decode(), "last_ping": now, "token": token}
    if tx.execute(update(_workers).where(_workers.c.name == info.name).values(values)).rowcount == 0:
        if not vouched and tx.execute(select(func.count()).select_from(_workers)).scalar_one() >= limits.SHARED_NAMES:
            raise errors.ManagerError(
                f"{limits.SHARED_NAMES} workers are known, and {info.name!r} is not taken in without a token of its own"
                f" (damocles-manager auth create NAME --scope worker --worker NAME); those that are gone can be removed:"
                " damocles-manager util worker remove NAME"
            )
        tx.execute(insert(_workers).values(name=info.name, **values))


def find(tx: Connection, name: str) -> fleet.PingInfo | None:
    """Return the last ping of a worker."""
    row = tx.execute(select(_workers.c.info, _workers.c.last_ping).where(_workers.c.name == name)).first()
    return _ping_info(*row) if row else None


def select_all(tx: Connection) -> list[fleet.PingInfo]:
    """Return the last pings of all workers by name."""
    rows = tx.execute(select(_workers.c.info, _workers.c.last_ping).order_by(_workers.c.name))
    return [_ping_info(*row) for row in rows]


def select_rows(tx: Connection) -> list[Row]:
    """Return the last pings of all workers by name, with the exact time."""
    rows = tx.execute(select(_workers.c.info, _workers.c.last_ping, _workers.c.token).order_by(_workers.c.name))
    return [Row(codec.decode(info, fleet.WorkerInfo), last_ping, token) for info, last_ping, token in rows]


def remove(tx: Connection, name: str) -> None:
    """Forget a worker; an unknown name is no error."""
    tx.execute(delete(_workers).where(_workers.c.name == name))


def _check(info: fleet.WorkerInfo, token: str | None) -> None:
    """Refuse what could not be shown or called later, when nobody would know where it came from."""
    for what, text in (("name", info.name), ("dest", info.dest)):
        if not text:
            raise errors.ManagerError(f"worker {what} is required")
    for what, text in (("name", info.name), ("dest", info.dest), ("version", info.version)):
        if text and not fleet.is_name(text):
            shown = text[: fleet.MOST_CHARACTERS]
            raise errors.ManagerError(
                f"worker {what} must be at most {fleet.MOST_CHARACTERS} printable characters: {shown!r}"
            )
    try:
        address.worker_url(info.dest)
    except ValueError as error:
        raise errors.ManagerError(f"worker dest: {error}") from error
    if token is not None:
        try:
            tokens.checked(token, "the header to call the worker back by")
        except ValueError as error:
            raise errors.ManagerError(str(error)) from error


def _ping_info(info: str, last_ping: float) -> fleet.PingInfo:
    return fleet.PingInfo(codec.decode(info, fleet.WorkerInfo), int(last_ping))
