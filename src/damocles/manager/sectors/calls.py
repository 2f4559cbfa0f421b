"""What workers have reported and called about a sector, and who they were: the manager's own record of its life.

Functions are steps inside a transaction.
"""

from sqlalchemy import Connection, bindparam, insert, select, tuple_

from damocles.manager.db import tables
from damocles.wire import control
from damocles.wire.sectors import SectorID

_calls, _events, _rows = tables.sector_calls, tables.sector_events, tables.sectors

# Built once: SQLAlchemy takes longer to build a statement than SQLite to run it.
_OF_SECTOR = (_calls.c.miner == bindparam("of_miner"), _calls.c.number == bindparam("of_number"))
_SELECT = select(_calls).where(*_OF_SECTOR).order_by(_calls.c.id)
_SELECT_LAST = select(_calls.c.what, _calls.c.caller).where(*_OF_SECTOR).order_by(_calls.c.id.desc()).limit(1)
_SELECT_ATTEMPT = select(_rows.c.attempt).where(
    _rows.c.miner == bindparam("of_miner"), _rows.c.number == bindparam("of_number")
)
_INSERT = insert(_calls)
_CAME = (
    select(_events.c.at)
    .where(_events.c.miner == _rows.c.miner, _events.c.number == _rows.c.number, _events.c.prev != _events.c.next)
    .order_by(_events.c.id.desc())
    .limit(1)
    .scalar_subquery()
)
_SELECT_TIMES = (
    select(_rows.c.miner, _rows.c.number, _rows.c.allocated_at, _CAME.label("came_at"))
    .where(tuple_(_rows.c.miner, _rows.c.number) > tuple_(bindparam("of_miner"), bindparam("of_number")))
    .order_by(_rows.c.miner, _rows.c.number)
    .limit(bindparam("most"))
)
_BEFORE_ALL = SectorID(0, -1)


def keep(tx: Connection, sector: SectorID, what: str, caller: str, now: float) -> None:
    """Keep that `caller` has called `what` about a sector, unless that was the last thing already."""
    key = {"of_miner": sector.miner, "of_number": sector.number}
    attempt = tx.execute(_SELECT_ATTEMPT, key).scalar()
    if attempt is not None and not is_last(tx, sector, what, caller):
        columns = {"attempt": attempt, "at": now, "what": what, "caller": caller}
        tx.execute(_INSERT, {"miner": sector.miner, "number": sector.number, **columns})


def is_last(tx: Connection, sector: SectorID, what: str, caller: str) -> bool:
    """Return whether the last that was called about a sector is this."""
    last = tx.execute(_SELECT_LAST, {"of_miner": sector.miner, "of_number": sector.number}).first()
    return last is not None and (last.what, last.caller) == (what, caller)


def times(tx: Connection, after: SectorID | None = None) -> list[control.SectorTimes]:
    """Return when sectors were handed out last, and when they came to their states since then, by what was reported.

    They are the first `control.TIMES_AT_ONCE`, or the first of those that follow a sector.
    """
    start = _BEFORE_ALL if after is None else after
    of = {"of_miner": start.miner, "of_number": start.number}
    return [
        control.SectorTimes(
            sector=str(SectorID(row.miner, row.number)),
            handed_out=row.allocated_at,
            since=row.came_at if row.came_at is not None and row.came_at >= row.allocated_at else None,
        )
        for row in tx.execute(_SELECT_TIMES, {**of, "most": control.TIMES_AT_ONCE})
    ]


def reports(tx: Connection, sector: SectorID) -> list[control.HistoryEntry]:
    """Return the steps of a sector that were reported, the oldest first."""
    chosen = select(_events).where(_events.c.miner == sector.miner, _events.c.number == sector.number)
    return [
        control.HistoryEntry(
            at=event.at,
            worker=event.worker,
            location=event.location,
            plan="",
            sector=str(sector),
            attempt=event.attempt,
            prev=event.prev,
            state=event.next,
            event=event.event,
            error=f"{event.failure_level.lower()}: {event.failure_text}" if event.failure_level else None,
            by=event.caller or "",
        )
        for event in tx.execute(chosen.order_by(_events.c.id))
    ]


def calls(tx: Connection, sector: SectorID) -> list[control.HistoryEntry]:
    """Return what else was called about a sector, the oldest first."""
    return [
        control.HistoryEntry(
            at=row.at,
            plan="",
            sector=str(sector),
            attempt=row.attempt,
            prev="",
            state="",
            event=row.what,
            by=row.caller,
        )
        for row in tx.execute(_SELECT, {"of_miner": sector.miner, "of_number": sector.number})
    ]
