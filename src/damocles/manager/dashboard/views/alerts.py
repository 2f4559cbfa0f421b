"""What needs a person: the alerts that fire, the most urgent first, and the mutes that hold."""

import heapq
import itertools
from collections import Counter

import msgspec

from damocles.wire import alerts as wire

MOST = 200
_SEVERITIES = ("critical", "warning")


class Muted(msgspec.Struct, frozen=True, kw_only=True):
    """A mute that holds; `alert` is the open alert that it silences, by whose id it can be ended, if it is of one alone."""

    mute: wire.Mute
    alert: int | None


class View(msgspec.Struct, frozen=True, kw_only=True):
    """The most urgent alerts, of one rule if one is asked for; `others` are not here. `by_rule` counts all that fire."""

    at: float
    rule: str
    alerts: list[wire.Alert]
    others: int
    by_rule: dict[str, int]
    mutes: list[Muted]
    looked_at: float | None


def view(board: wire.Board, now: float, rule: str = "", most: int = MOST, of_a_rule: int | None = None) -> View:
    """Return alerts; those nobody cares for yet come first, the worst of them at the top.

    With `of_a_rule` no rule has more than so many, so that one trouble of many hides no other.
    """
    found = [alert for alert in board.alerts if not rule or alert.rule == rule]
    ids = {(alert.rule, alert.subject): alert.id for alert in board.alerts}
    if of_a_rule is None:
        shown = heapq.nsmallest(most, found, key=_urgency)
    else:
        of_rules: dict[str, list[wire.Alert]] = {}
        for alert in found:
            of_rules.setdefault(alert.rule, []).append(alert)
        worst = itertools.chain(*(heapq.nsmallest(of_a_rule, same, key=_urgency) for same in of_rules.values()))
        shown = heapq.nsmallest(most, worst, key=_urgency)
    return View(
        at=now,
        rule=rule,
        alerts=shown,
        others=len(found) - len(shown),
        by_rule=dict(Counter(alert.rule for alert in board.alerts).most_common()),
        mutes=[Muted(mute=mute, alert=ids.get((mute.rule, mute.subject))) for mute in board.mutes],
        looked_at=board.looked_at,
    )


def _urgency(alert: wire.Alert) -> tuple[bool, int, float]:
    rank = _SEVERITIES.index(alert.severity) if alert.severity in _SEVERITIES else len(_SEVERITIES)
    cared_for = alert.acknowledged_at is not None or alert.muted_until is not None
    return cared_for, rank, alert.since
