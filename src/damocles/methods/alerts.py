"""The manager's alerts."""

from damocles.methods import rules
from damocles.methods.declaring import declared
from damocles.wire import alerts, control


@declared("Damocles.Alerts", rules.READ)
def board(all_of_them: bool = False, /) -> alerts.Board:
    """Return the alerts that fire; with `all_of_them` those that are pending, and the last that were resolved."""


@declared("Damocles.AlertAck", rules.OPERATE)
def acknowledge(alert_id: int, reason: str = "", /) -> alerts.Alert:
    """Note that somebody takes care of an alert: it is sent only once more, when it is resolved."""


@declared("Damocles.AlertMute", rules.OPERATE)
def mute(of: int | str, for_seconds: control.Seconds, reason: str = "", /) -> alerts.Mute:
    """Send no notifications about the subject of an alert (its id) or about a rule (its name); 0 seconds end that."""


@declared("Damocles.AlertTest", rules.OPERATE)
def probe() -> list[alerts.Delivered]:
    """Send every receiver one message that says that nothing is wrong, once; return what became of each."""
