"""Sectors on their way out of this manager and into it (`wire.exports`).

An import comes in batches, since no request may be as large as a file. They are put aside, and taken over in one
transaction when all are here: it is done as a whole or not at all. What was put aside for an import that never ended
goes after an hour. Deals go with their sectors, messages do not.
"""

from collections.abc import Callable, Collection, Iterator, Mapping

import msgspec
import structlog
from sqlalchemy import ColumnElement, Connection, Row, Table, and_, bindparam, delete, exists, func, insert, or_, select
from sqlalchemy import exc as sql_errors

from damocles import methods
from damocles.manager import errors
from damocles.manager.db import tables
from damocles.manager.db.engine import Database
from damocles.manager.sectors import deals, ledger
from damocles.manager.serving import audit
from damocles.rpc import core
from damocles.wire import codec, control, exports, records
from damocles.wire.sectors import SectorID

log = structlog.get_logger(__name__)

_PAGE = 500
_NAMED = 5
_KEPT_SECONDS = 3600.0
_NOT_SENT = "not all lines of the import have come (or they came more than an hour ago): run it again"

_rows, _files, _waiting = tables.sectors, tables.sector_files, tables.sector_imports
_COLUMNS = (_rows.c.miner, _rows.c.number, _rows.c.attempt, _rows.c.allocated_to, _rows.c.holder)
_FIND = select(*_COLUMNS, _rows.c.holder_location, _rows.c.record).where(
    _rows.c.miner == bindparam("of_miner"), _rows.c.number == bindparam("of_number")
)
_FIND_FILES = select(_files.c.kind, _files.c.sealed_store).where(
    _files.c.miner == bindparam("of_miner"), _files.c.number == bindparam("of_number")
)


class Moves:
    """Handlers of `Damocles.SectorsExport`, `Damocles.SectorsImportBatch` and `Damocles.SectorsImport`."""

    def __init__(self, database: Database, miners: Collection[ledger.Miner], clock: Callable[[], float]) -> None:
        self._database = database
        self._miners = miners
        self._clock = clock

    def register(self, service: core.Service) -> None:
        """Serve the methods."""
        service.add(methods.records.export, self.export)
        service.add(methods.records.put_aside, self.put_aside)
        service.add(methods.records.take_over, self.take_over)

    async def export(self, query: exports.Query) -> list[exports.Kept]:
        """Return a page of what this manager keeps of its sectors, by miner and number."""
        return await self._database.read(lambda tx: page(tx, query))

    async def put_aside(self, batch: exports.Batch) -> None:
        """Check some lines of an import and put them aside.

        Raises:
            errors.ManagerError: A line cannot be taken; the text has its number.
        """
        for one in batch.lines:
            self._check(one)
        now = self._clock()
        rows = [
            {
                "import_id": batch.id,
                "miner": one.kept.sector.id.miner,
                "number": one.kept.sector.id.number,
                "line": one.line,
                "at": now,
                "kept": codec.encode(one.kept).decode(),
            }
            for one in batch.lines
        ]

        def keep(tx: Connection) -> None:
            tx.execute(delete(_waiting).where(_waiting.c.at < now - _KEPT_SECONDS))
            if rows:
                tx.execute(insert(_waiting), rows)

        try:
            await self._database.write(keep, durable=False)
        except sql_errors.IntegrityError as error:
            first, last = batch.lines[0].line, batch.lines[-1].line
            raise errors.ManagerError(f"lines {first} to {last}: a sector of them is in the file twice") from error

    def _check(self, one: exports.Numbered) -> None:
        sector = one.kept.sector.id
        ours = {miner.id for miner in self._miners}
        if sector.miner not in ours:
            named = ", ".join(f"f0{miner}" for miner in sorted(ours))
            raise errors.ManagerError(f"line {one.line}: {sector} is not of {named}, which this manager is for")
        if one.kept.state != exports.state_of(one.kept.sector):
            raise errors.ManagerError(f"line {one.line}: {sector} is {one.kept.state}, but Finalized says otherwise")

    async def import_sector(self, _state: exports.State, sector: records.SectorState, override: bool) -> bool:
        """Take over one record, as the original's `import` and `state import-json` send it; false if it exists.

        The record itself shows whether the sector is in progress or has ended.

        Raises:
            errors.ManagerError: Its miner is not ours.
        """
        kept = exports.Kept(format=exports.FORMAT, state=exports.state_of(sector), sector=sector)
        self._check(exports.Numbered(1, kept))
        now = self._clock()

        def take(tx: Connection) -> bool:
            before = find(tx, sector.id)
            if before is not None and not override:
                return False
            after = kept if before is None else _beside(kept, before)
            _write(tx, after, before, now)
            return True

        taken = await self._database.write(take)
        log.info("sector imported", sector=str(sector.id), taken=taken)
        return taken

    async def take_over(self, call: core.Call, request: exports.Import) -> exports.Imported:
        """Import all lines that were staged under an id, or predict the outcome.

        Each sector that is replaced has an entry of its own in the audit, with all that was kept of it before.

        Raises:
            errors.ManagerError: Lines are missing, or sectors exist and may not be replaced.
        """
        now = self._clock()

        def take(tx: Connection) -> exports.Imported:
            count = tx.execute(select(func.count()).where(_of(request.id))).scalar_one()
            if count != request.count:
                raise errors.ManagerError(_NOT_SENT)
            if not request.overwrite and not request.dry_run:
                _refuse_known(tx, request)
            found = exports.Imported(added=[], replaced=[], unchanged=[])
            for line, kept in _put_aside(tx, request.id):
                before = find(tx, kept.sector.id)
                if before is None:
                    found.added.append(kept.sector.id)
                    if not request.dry_run:
                        _write(tx, kept, None, now)
                    continue
                after = _beside(kept, before)
                if after == before:
                    found.unchanged.append(kept.sector.id)
                    continue
                found.replaced.append(_replaced(before, after))
                if not request.dry_run:
                    _write(tx, after, before, now)
                    what = {"id": request.id, "line": line}
                    entry = _entry(call, what, before, after, at=now)
                    audit.keep(tx, msgspec.structs.replace(entry, reason=request.reason))
            tx.execute(delete(_waiting).where(_of(request.id)))
            return found

        done = await self._database.write(take)
        if not request.dry_run:
            log.info(
                "sectors imported", added=len(done.added), replaced=len(done.replaced), unchanged=len(done.unchanged)
            )
        return done


def page(tx: Connection, query: exports.Query) -> list[exports.Kept]:
    """Return what is kept of the next sectors."""
    wanted = select(*_COLUMNS, _rows.c.holder_location, _rows.c.record)
    if query.state != "all":
        wanted = wanted.where(_rows.c.online == (query.state == "online"))
    if query.after is not None:
        wanted = wanted.where(_behind(_rows, query.after))
    rows = tx.execute(wanted.order_by(_rows.c.miner, _rows.c.number).limit(min(query.limit, _PAGE))).all()
    return [_kept(tx, row) for row in rows]


def find(tx: Connection, sector: SectorID) -> exports.Kept | None:
    """Return what is kept of a sector."""
    row = tx.execute(_FIND, {"of_miner": sector.miner, "of_number": sector.number}).first()
    return _kept(tx, row) if row is not None else None


def _kept(tx: Connection, row: Row[int, int, int, str, str, str, str]) -> exports.Kept:
    record = codec.decode(row.record, records.SectorState)
    attempt = exports.Attempt(
        number=row.attempt, given_to=row.allocated_to, worker=row.holder, location=row.holder_location
    )
    placed = tx.execute(_FIND_FILES, {"of_miner": row.miner, "of_number": row.number}).all()
    stores = {files.kind: files.sealed_store for files in placed}
    return exports.Kept(
        format=exports.FORMAT,
        state=exports.state_of(record),
        sector=record,
        attempt=attempt if attempt != exports.Attempt() else None,
        files=exports.Files(normal=stores.get("normal"), upgrade=stores.get("upgrade")) if stores else None,
    )


def _put_aside(tx: Connection, name: str) -> Iterator[tuple[int, exports.Kept]]:
    """Yield the lines of an import by miner and number, some in memory at a time."""
    last: SectorID | None = None
    while True:
        wanted = select(_waiting.c.line, _waiting.c.kept).where(_of(name))
        if last is not None:
            wanted = wanted.where(_behind(_waiting, last))
        rows = tx.execute(wanted.order_by(_waiting.c.miner, _waiting.c.number).limit(_PAGE)).all()
        for row in rows:
            kept = codec.decode(row.kept, exports.Kept)
            yield row.line, kept
            last = kept.sector.id
        if len(rows) < _PAGE:
            return


def _refuse_known(tx: Connection, request: exports.Import) -> None:
    known = exists().where(_rows.c.miner == _waiting.c.miner, _rows.c.number == _waiting.c.number)
    count = tx.execute(select(func.count()).where(_of(request.id), known)).scalar_one()
    if count == 0:
        return
    first = select(_waiting.c.miner, _waiting.c.number).where(_of(request.id), known)
    rows = tx.execute(first.order_by(_waiting.c.miner, _waiting.c.number).limit(_NAMED))
    names = ", ".join(str(SectorID(row.miner, row.number)) for row in rows)
    more = ", …" if count > _NAMED else ""
    raise errors.ManagerError(
        f"nothing is imported: {count} of {request.count} sectors already exist ({names}{more});"
        " --dry-run shows what would change in them, --overwrite replaces them"
    )


def _beside(kept: exports.Kept, before: exports.Kept) -> exports.Kept:
    """Return what replaces `before`: where a line has no attempts and files, the known ones stay.

    The present holder goes on only if the line names it as the holder.
    """
    present = before.attempt or exports.Attempt()
    attempt = kept.attempt or present
    is_same = (attempt.worker, attempt.location) == (present.worker, present.location)
    number = max(attempt.number, present.number if is_same else present.number + 1)
    changed = exports.Attempt(
        number=number, given_to=attempt.given_to, worker=attempt.worker, location=attempt.location
    )
    return exports.Kept(
        format=exports.FORMAT,
        state=kept.state,
        sector=kept.sector,
        attempt=changed if changed != exports.Attempt() else None,
        files=kept.files or before.files,
    )


def _write(tx: Connection, kept: exports.Kept, before: exports.Kept | None, now: float) -> None:
    record, attempt = kept.sector, kept.attempt or exports.Attempt()
    allocation: Mapping[str, object] = {
        "attempt": attempt.number,
        "allocated_to": attempt.given_to,
        "allocated_at": now,
        "holder": attempt.worker,
        "holder_location": attempt.location,
        "last_used": None,
    }
    ledger.put(tx, record, allocation, now, new=before is None)
    deals.keep(tx, record.id, record.pieces or (), now)
    tx.execute(delete(_files).where(_files.c.miner == record.id.miner, _files.c.number == record.id.number))
    files = kept.files or exports.Files()
    for store, is_upgrade in ((files.normal, False), (files.upgrade, True)):
        if store is not None:
            ledger.place_files(tx, record.id, store, upgrade=is_upgrade)


def _replaced(before: exports.Kept, after: exports.Kept) -> exports.Replaced:
    old, new = codec.to_builtins(before.sector), codec.to_builtins(after.sector)
    changed = [key for key in {**new, **old} if old.get(key) != new.get(key)]
    changed += [key for key in ("attempt", "files") if getattr(before, key) != getattr(after, key)]
    return exports.Replaced(
        sector=after.sector.id, before=exports.brief(before), after=exports.brief(after), changed=changed
    )


def _entry(
    call: core.Call, what: dict[str, object], before: exports.Kept, after: exports.Kept, *, at: float
) -> control.AuditEntry:
    return control.AuditEntry(
        at=at,
        who=call.who,
        address=call.peer,
        what=methods.records.take_over.name,
        params=[what],
        sectors=[str(after.sector.id)],
        before=codec.to_builtins(before),
        after=codec.to_builtins(after),
        ok=True,
        outcome="replaced",
    )


def _of(name: str) -> ColumnElement[bool]:
    return _waiting.c.import_id == name


def _behind(table: Table, sector: SectorID) -> ColumnElement[bool]:
    same_miner = and_(table.c.miner == sector.miner, table.c.number > sector.number)
    return or_(table.c.miner > sector.miner, same_miner)
