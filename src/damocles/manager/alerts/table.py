"""Alerts and mutes in the database. Functions are steps in a transaction."""

from collections.abc import Collection, Iterable

from msgspec import structs
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

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
    """Write alerts as they are now, delete those that are gone and those that were resolved long ago.

    What somebody has acknowledged meanwhile, at another manager, stays so.
    """
    before = {alert.id: alert for alert in open_ones(tx)} if tx.dialect.name == "postgresql" else {}
    changed = [_with_acknowledgement(alert, before.get(alert.id)) for alert in changed]
    rows = [
        {"id": alert.id, "resolved_at": alert.resolved_at, "record": codec.encode(alert).decode()} for alert in changed
    ]
    if replaced := [{"of_id": number} for number in (*(row["id"] for row in rows), *gone)]:
        tx.execute(delete(_alerts).where(_alerts.c.id == bindparam("of_id")), replaced)
    if rows:
        tx.execute(insert(_alerts), rows)
    tx.execute(delete(_alerts).where(_alerts.c.resolved_at < now - KEPT_SECONDS))


def acknowledge(tx: Connection, alert_id: int, at: float, by: str, note: str) -> alerts.Alert | None:
    """Note that somebody takes care of an alert; return it as it is then, nothing if it is not open."""
    text = tx.execute(
        select(_alerts.c.record).where(_alerts.c.id == alert_id, _alerts.c.resolved_at.is_(None))
    ).scalar()
    if text is None:
        return None
    after = structs.replace(codec.decode(text, alerts.Alert), acknowledged_at=at, acknowledged_by=by, note=note)
    tx.execute(update(_alerts).where(_alerts.c.id == alert_id).values(record=codec.encode(after).decode()))
    return after


def _with_acknowledgement(alert: alerts.Alert, before: alerts.Alert | None) -> alerts.Alert:
    if before is None or before.acknowledged_at is None or alert.acknowledged_at is not None:
        return alert
    if alert.fired_at != before.fired_at:
        return alert  # it has fired anew
    return structs.replace(
        alert,
        acknowledged_at=before.acknowledged_at,
        acknowledged_by=before.acknowledged_by,
        note=before.note,
    )


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
