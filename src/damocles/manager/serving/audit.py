"""The manager's audit in its database: entries that can be added and read, and nothing else."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, or_, select, text

from damocles import methods
from damocles.manager.db import engine, tables
from damocles.manager.fleet import workers
from damocles.manager.sectors import ledger as sectors
from damocles.manager.sectors import stores
from damocles.rpc import core
from damocles.rpc.admission import audit, audit_rows, keyring
from damocles.wire import codec, control, records
from damocles.wire.sectors import SectorID

MOST_ENTRIES = 10_000  # in one answer
ANSWER_BYTES = 1 << 20  # likewise, but for the last of them

_audit, _ends = tables.audit, tables.audit_ends
_COLUMNS = (_audit.c.id, _audit.c.at, _audit.c.entry, _ends.c.entry_end)


class Ledger:
    """The entries in the database, and `Damocles.AuditList`."""

    def __init__(self, database: engine.Database) -> None:
        self._database = database

    def register(self, service: core.Service) -> None:
        """Serve the API."""
        service.add(methods.access.list_audit, self.select)

    async def begin(self, entry: control.AuditEntry) -> int:
        """Keep one more entry; return its id."""
        return await self._database.write(lambda tx: keep(tx, entry))

    async def end(self, key: int, end: control.AuditEnd) -> None:
        """Keep what became of the entry with this id."""
        values = {"id": key, "sectors": _spaced(end.sectors), "entry_end": codec.encode(end).decode()}
        await self._database.write(lambda tx: tx.execute(insert(_ends).values(values)))

    async def newest(self, query: control.AuditQuery, before_id: int | None = None) -> list[control.AuditEntry]:
        """Return the last entries that the query asks for, before one if it is given, the newest first."""

        def load(tx: Connection) -> list[control.AuditEntry]:
            conditions = _conditions(query) + ([] if before_id is None else [_audit.c.id < before_id])
            wanted = select(*_COLUMNS).outerjoin(_ends, _ends.c.id == _audit.c.id).where(*conditions)
            rows = tx.execute(wanted.order_by(_audit.c.id.desc()).limit(max(0, min(query.limit, MOST_ENTRIES))))
            return _within_limits(rows)

        return await self._database.read(load)

    async def select(self, query: control.AuditQuery) -> list[control.AuditEntry]:
        """Return the first entries that the query asks for, the oldest first, and none only if there are no more."""

        def load(tx: Connection) -> list[control.AuditEntry]:
            wanted = select(*_COLUMNS).outerjoin(_ends, _ends.c.id == _audit.c.id).where(*_conditions(query))
            rows = tx.execute(wanted.order_by(_audit.c.id).limit(max(0, min(query.limit, MOST_ENTRIES))))
            return _within_limits(rows)

        return await self._database.read(load)


def _within_limits(rows: Iterable[Any]) -> list[control.AuditEntry]:
    """Read rows, as many as fit into an answer."""
    found, size = list[control.AuditEntry](), 0
    for number, at, entry, end in rows:
        found.append(audit_rows.read(entry, number, end, at=at))
        size += len(entry) + len(end or "")
        if size > ANSWER_BYTES:
            break
    return found


def keep(tx: Connection, entry: control.AuditEntry) -> int:
    """Add an entry in the transaction of the change that it records; return its id.

    Among several managers, entries become visible in the order of their ids, so that nobody who follows them overtakes one.
    """
    if tx.dialect.name == "postgresql":
        tx.execute(text("LOCK TABLE audit IN SHARE ROW EXCLUSIVE MODE"))
    values = {
        "at": entry.at,
        "who": entry.who,
        "what": entry.what,
        "sectors": _spaced(entry.sectors),
        "entry": codec.encode(entry).decode(),
    }
    (number,) = tx.execute(insert(_audit).values(values)).inserted_primary_key or (0,)
    return int(number)


def observers(database: engine.Database, ring: keyring.Keyring) -> Mapping[str, audit.Observe]:
    """Return what shows how things look before and after methods that change them in the database."""

    async def worker(arguments: Sequence[Any]) -> Any:
        return await database.read(lambda tx: workers.find(tx, arguments[0]))

    async def token(arguments: Sequence[Any]) -> Any:
        return [kept.shown() for kept in ring.named(arguments[0])]

    async def reservation(arguments: Sequence[Any]) -> Any:
        return await database.read(lambda tx: stores.reserved(tx, arguments[0]))

    async def record(arguments: Sequence[Any]) -> Any:
        named = next(one for one in arguments if isinstance(one, SectorID | records.SectorState))
        sector = named if isinstance(named, SectorID) else named.id
        return await database.read(lambda tx: sectors.find(tx, sector))

    return {
        methods.records.import_sector.name: record,
        methods.records.restore_sector.name: record,
        methods.records.finalize_sector.name: record,
        methods.records.remove_sector.name: record,
        methods.fleet.remove_ping.name: worker,
        methods.records.release_reserved.name: reservation,
        methods.access.create_token.name: token,
        methods.access.revoke_tokens.name: token,
    }


def _conditions(query: control.AuditQuery) -> list[ColumnElement[bool]]:
    conditions = [_audit.c.id > query.after_id]
    if query.since is not None:
        conditions.append(_audit.c.at >= query.since)
    if query.who is not None:
        conditions.append(_audit.c.who == query.who)
    if query.what is not None:
        conditions.append(_audit.c.what.icontains(query.what, autoescape=True))
    if query.sector is not None:
        named = _spaced([query.sector])
        conditions.append(
            or_(*(column.contains(named, autoescape=True) for column in (_audit.c.sectors, _ends.c.sectors)))
        )
    return conditions


def _spaced(sectors: Sequence[str]) -> str:
    return f" {' '.join(sectors)} "
