"""Alerts and mutes in the database. Functions are steps in a transaction."""

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from damocles.manager.db import tables
from damocles.wire import alerts, codec

_alerts = tables.alerts
_mutes = tables.alert_mutes

KEPT_SECONDS = 90 * 86400.0  # how long resolved alerts stay


def open_ones(tx: Connection) -> list[alerts.Alert]:
    """Return the alerts that are not resolved."""
    return _decoded(tx.execute(select(_alerts.c.record).where(_alerts.c.resolved_at.is_(None))).scalars())


def resolved(tx: Connection, limit: int) -> list[alerts.Alert]:
    """Return the alerts that were resolved last."""
    wanted = select(_alerts.c.record).where(_alerts.c.resolved_at.is_not(None))
    return _decoded(tx.execute(wanted.order_by(_alerts.c.resolved_at.desc()).limit(limit)).scalars())


def last_id(tx: Connection) -> int:
    """Return the highest id there is."""
    return int(tx.execute(select(func.max(_alerts.c.id))).scalar_one() or 0)


def save(tx: Connection, changed: Iterable[alerts.Alert], gone: Collection[int], now: float) -> None:
    """Write alerts as they are now, delete those that are gone and those that were resolved long ago."""
    rows = [
        {"id": alert.id, "resolved_at": alert.resolved_at, "record": codec.encode(alert).decode()} for alert in changed
    ]
    if replaced := [{"of_id": number} for number in (*(row["id"] for row in rows), *gone)]:
        tx.execute(delete(_alerts).where(_alerts.c.id == bindparam("of_id")), replaced)
    if rows:
        tx.execute(insert(_alerts), rows)
    tx.execute(delete(_alerts).where(_alerts.c.resolved_at < now - KEPT_SECONDS))


def mutes(tx: Connection) -> list[alerts.Mute]:
    """Return all mutes."""
    return [codec.decode(record, alerts.Mute) for record in tx.execute(select(_mutes.c.record)).scalars()]


def mute(tx: Connection, wanted: alerts.Mute, now: float) -> None:
    """Set the mute of a rule and subject instead of the one it had; what has expired goes."""
    unmute(tx, wanted.rule, wanted.subject)
    tx.execute(delete(_mutes).where(_mutes.c.until <= now))
    record = codec.encode(wanted).decode()
    tx.execute(insert(_mutes).values(rule=wanted.rule, subject=wanted.subject, until=wanted.until, record=record))


def unmute(tx: Connection, rule: str, subject: str) -> None:
    """Take a mute away; if there is none, nothing happens."""
    tx.execute(delete(_mutes).where(_mutes.c.rule == rule, _mutes.c.subject == subject))


def _decoded(records: Iterable[str]) -> list[alerts.Alert]:
    return [codec.decode(record, alerts.Alert) for record in records]
