"""Waiting for the end of a drain."""

import pytest

from damocles.cli.terminal import exits
from damocles.cli.threads import drains
from damocles.wire import control

DRAINING = control.Drain(on=True, busy=["s-t010000-1", "s-t010000-2"], paused=["s-t010000-2"])
STUCK = control.Drain(on=True, busy=["s-t010000-2"], paused=["s-t010000-2"])


def test_a_drain_that_waits_for_paused_threads_alone_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    """What is left will not end by itself: the command says so, and how to go on, with an exit code for scripts."""
    with pytest.raises(exits.Failed, match="paused, and will not end by themselves: s-t010000-2; resume or abort them"):
        drains.wait(DRAINING, lambda: STUCK, as_json=False)
    assert "draining, still in progress: s-t010000-1, s-t010000-2" in capsys.readouterr().out


@pytest.mark.parametrize("paused", [[], ["s-t010000-1"]])
def test_a_deadline_that_came_first_is_said(paused: list[str]) -> None:
    """What the deadline has paused is named as that."""
    begun = control.Drain(on=True, busy=["s-t010000-1"], deadline=2e9)
    over = control.Drain(on=True, busy=["s-t010000-1"], paused=paused)
    with pytest.raises(exits.Failed, match="the deadline has passed; paused at their next boundary: s-t010000-1"):
        drains.wait(begun, lambda: over, as_json=False)


def test_how_many_are_paused_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Beside what is in work."""
    drains.show(DRAINING, as_json=False)
    assert "draining; 2 in progress: s-t010000-1, s-t010000-2 (1 of them paused)\n" == capsys.readouterr().out
