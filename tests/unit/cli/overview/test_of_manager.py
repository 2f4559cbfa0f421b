"""What `damocles-manager status` and `sector` make of a manager that refuses a call, or gives no answer."""

from typing import Any, cast

import pytest

from damocles import methods
from damocles.cli.connecting import calls
from damocles.cli.overview import of_manager
from damocles.cli.terminal import exits
from damocles.wire import control

NOW = 1_790_000_000.0


class Canned:
    """A manager of nobody's, which fails at the alerts."""

    url = "http://127.0.0.1:1789/rpc/v0"
    worker_seconds = 1.0

    def __init__(self, failure: exits.Failed) -> None:
        self.failure = failure

    def call(self, ask: methods.Ask[Any]) -> Any:
        """Answer."""
        if ask.method == methods.alerts.board.name:
            raise self.failure
        if ask.method == methods.fleet.threads.name:
            return control.FleetThreads()
        return (
            "v1"
            if ask.method == methods.util.version.name
            else None
            if ask.method in {methods.wdpost.all_jobs.name, methods.chain.seen.name}
            else []
        )


def status_at(failure: exits.Failed) -> of_manager.Status:
    """Return what is known of a manager that fails at the alerts."""
    return of_manager._status(cast("calls.Manager", Canned(failure)), NOW)


def test_a_manager_without_alerts_has_none():
    """One of another make refuses the call, and all else is shown."""
    assert [] == status_at(exits.Failed("it does not have Damocles.Alerts")).alerts


def test_alerts_that_are_not_heard_of_are_not_taken_for_none():
    """A manager that stops answering in the middle may have any."""
    with pytest.raises(exits.ManagerUnreachable, match="it is away"):
        status_at(exits.ManagerUnreachable("it is away"))
