"""The manager's audit in its database: entries that can be added and read, and nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import structs
from sqlalchemy import ColumnElement, Connection, insert, select

from damocles.manager import sectors, stores, workers
from damocles.manager.db import engine, tables
from damocles.rpc import audit, core, keyring
from damocles.wire import codec, control, records
from damocles.wire.sectors import SectorID

MOST_ENTRIES = 10_000  # in one answer

_audit = tables.audit


class Ledger:
    """The entries in the database, and `Damocles.AuditList`."""

    def __init__(self, database: engine.Database) -> None:
        self._database = database

    def register(self, service: core.Service) -> None:
        """Serve the API."""
        service.add("Damocles.AuditList", self.select)

    async def append(self, entry: control.AuditEntry) -> None:
        """Keep one more entry."""
        await self._database.write(lambda tx: keep(tx, entry))

    async def select(self, query: control.AuditQuery) -> list[control.AuditEntry]:
        """Return the first entries that the query asks for, the oldest first."""

        def load(tx: Connection) -> list[control.AuditEntry]:
            wanted = select(_audit.c.id, _audit.c.entry).where(*_conditions(query)).order_by(_audit.c.id)
            rows = tx.execute(wanted.limit(max(0, min(query.limit, MOST_ENTRIES))))
            return [structs.replace(codec.decode(entry, control.AuditEntry), id=number) for number, entry in rows]

        return await self._database.read(load)


def keep(tx: Connection, entry: control.AuditEntry) -> None:
    """Add an entry in the transaction of the change that it tells of."""
    values = {
        "at": entry.at,
        "who": entry.who,
        "what": entry.what,
        "sectors": f" {' '.join(entry.sectors)} ",
        "entry": codec.encode(entry).decode(),
    }
    tx.execute(insert(_audit).values(values))


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
        "Venus.ImportSector": record,
        "Venus.RestoreSector": record,
        "Venus.FinalizeSector": record,
        "Venus.RemoveSector": record,
        "Venus.WorkerPingInfoRemove": worker,
        "Venus.StoreReleaseReserved": reservation,
        "Damocles.AuthCreate": token,
        "Damocles.AuthRevoke": token,
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
        conditions.append(_audit.c.sectors.contains(f" {query.sector} ", autoescape=True))
    return conditions
