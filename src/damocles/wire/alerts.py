"""Structs of the manager's alerts: `Damocles.Alert*`, and what a webhook is sent. Times are unix seconds.

A struct may gain fields with defaults; old peers ignore them.
"""

import msgspec

PENDING, FIRING, RESOLVED = "pending", "firing", "resolved"
REMINDER = "reminder"
TEST = "test"  # sent on request: nothing is wrong


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that needs a person.

    A rule and a subject have one alert at a time. It is `pending` while the rule's time has not passed, then `firing`
    and, when the cause is gone, `resolved`. `text` is what is wrong and what to do next.
    """

    id: int
    rule: str
    subject: str  # `gpu-1 #2`, `gpu-1`, `store-1`
    severity: str  # `warning` or `critical`
    state: str
    text: str
    worker: str = ""
    index: int | None = None
    sector: str | None = None
    since: float  # when the cause came
    fired_at: float | None = None
    resolved_at: float | None = None
    notified_at: float | None = None  # the last time
    acknowledged_at: float | None = None
    acknowledged_by: str = ""
    note: str = ""
    muted_until: float | None = None


class Mute(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """No notifications about a subject of a rule, or (no subject) about any, until a time."""

    rule: str
    subject: str = ""
    until: float
    at: float
    by: str = ""
    note: str = ""


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """All alerts, the mutes that hold, and when the manager looked at its workers last."""

    alerts: list[Alert] = []
    mutes: list[Mute] = []
    looked_at: float | None = None


class Notification(msgspec.Struct, frozen=True):
    """An alert that has begun to fire, fires still (`reminder`) or is resolved."""

    event: str
    alert: Alert


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What a webhook is sent as JSON: everything that came up at one look."""

    manager: str
    at: float
    notifications: list[Notification]


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a test message at one receiver."""

    receiver: str
    ok: bool
    reason: str = ""
