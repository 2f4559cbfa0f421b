"""What people name: an alert by its id, a rule by its name."""

from collections.abc import Iterable, Mapping

from damocles.manager import errors
from damocles.manager.alerts.rules import Rule
from damocles.rpc.errors import Code
from damocles.text import spelling
from damocles.wire import alerts


def find(open_ones: Mapping[int, alerts.Alert], alert_id: int) -> alerts.Alert:
    """Return an open alert.

    Raises:
        errors.ManagerError: There is none of this id.
    """
    alert = open_ones.get(alert_id)
    if alert is None:
        known = ", ".join(str(number) for number in sorted(open_ones)) or "none"
        raise errors.ManagerError(f"there is no open alert {alert_id}; open ones: {known}", Code.INVALID_PARAMS)
    return alert


def rule(rules: Iterable[Rule], name: str) -> str:
    """Return the name of a rule.

    Raises:
        errors.ManagerError: There is none of this name; the message guesses which one was meant.
    """
    names = [one.name for one in rules]
    if name not in names:
        guess = spelling.did_you_mean(name, names)
        raise errors.ManagerError(
            f"there is no rule {name!r}{guess or '; there are: ' + ', '.join(names)}", Code.INVALID_PARAMS
        )
    return name
