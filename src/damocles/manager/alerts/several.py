"""Alerts of several managers on one database: one of them looks for all, under a lease, and tells people.

Each manager writes down what is wrong where it runs (`neighbours`), and whoever looks finds it there. One that has no database can write
nothing down, and tells of that itself.
"""

import dataclasses
from collections.abc import Sequence

from damocles.manager.alerts.rules import Rule
from damocles.manager.alerts.seen import Snapshot
from damocles.manager.db import managers
from damocles.text import units
from damocles.wire import alerts

LEASE = "alerts"
_DISK = "manager-disk"


def of_all(snapshot: Snapshot, found: Sequence[managers.Manager], own: str) -> Snapshot:
    """Return a snapshot with what the other managers tell, and who of them says nothing."""
    others = [one for one in found if one.name != own]
    heard = [one for one in others if not one.is_silent]
    disks = {_subject(one.name): one.told.disk for one in heard if one.told.disk}
    if snapshot.disk:
        disks[_subject(own)] = snapshot.disk
    chain = {what: text for one in heard for what, text in one.told.chain.items()}
    silent = {
        _subject(one.name): f"at {one.address}, it has written nothing to the database for"
        f" {units.human_duration(one.silent_seconds)}: it was killed, is frozen or is cut off; others do its work. Start it again,"
        " or wait a day until it is forgotten"
        for one in others
        if one.is_silent
    }
    return dataclasses.replace(
        snapshot, chain=chain | dict(snapshot.chain), disk="", disks=disks, silent_managers=silent
    )


class CutOff:
    """Tells, once, that the manager of a name has no database, and that it has it again."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._since: float | None = None

    def away(self, why: str, rules: Sequence[Rule], now: float) -> list[alerts.Notification]:
        """Return what to tell when the database does not answer."""
        enabled = [rule for rule in rules if rule.name == _DISK and rule.enabled]
        if self._since is not None or not enabled:
            return []
        self._since = now
        text = f"{why}; what one manager alone may do, others do meanwhile; this one goes on by itself when the database is back"
        return [alerts.Notification(alerts.FIRING, self._alert(alerts.FIRING, enabled[0].severity, text, now))]

    def back(self, rules: Sequence[Rule], now: float) -> list[alerts.Notification]:
        """Return what to tell when it answers."""
        if self._since is None:
            return []
        severity = next((rule.severity for rule in rules if rule.name == _DISK), "critical")
        alert = self._alert(alerts.RESOLVED, severity, "the database answers again", self._since)
        self._since = None
        return [alerts.Notification(alerts.RESOLVED, alert)]

    def _alert(self, state: str, severity: str, text: str, since: float) -> alerts.Alert:
        """Return an alert that is in no database, and so has no id."""
        return alerts.Alert(
            id=0, rule=_DISK, subject=_subject(self._name), severity=severity, state=state, text=text, since=since
        )


def _subject(name: str) -> str:
    return f"manager {name}"
