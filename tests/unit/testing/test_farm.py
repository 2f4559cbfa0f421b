"""The farm of the acceptance tests leaves nothing behind."""

import pytest

from damocles.testing import farm


def test_the_manager_is_stopped_whatever_becomes_of_the_worker(tmp_path, monkeypatch):
    """A worker that does not end fails the test and does not leave the manager running."""
    stopped = []

    def stop(process):
        stopped.append(process)
        if process == "worker":
            msg = "a daemon did not end"
            raise AssertionError(msg)

    monkeypatch.setattr(farm, "stop", stop)
    with pytest.raises(AssertionError, match="did not end"):
        farm.Farm(tmp_path, manager="manager", worker="worker").__exit__()  # type: ignore[arg-type]
    assert ["worker", "manager"] == stopped
