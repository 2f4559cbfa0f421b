"""The managers of a worker, as `status` shows them."""

from damocles.cli.overview import of_worker
from damocles.wire.control import ManagerSeen

NOW = 1_800_000_000.0


def test_the_manager_that_is_used_comes_first() -> None:
    """Since when it answers, and why the others would not be used now; what is well and not used needs no line."""
    seen = [
        ManagerSeen(url="http://one", in_use=False, error="connection refused"),
        ManagerSeen(url="http://two", in_use=True, answered_since=NOW - 60),
        ManagerSeen(url="http://three", in_use=False),
    ]
    used, rests = of_worker.lines_of_managers(seen, NOW)
    assert used.startswith("http://two answers since ")
    assert "http://one rests: connection refused" == rests


def test_a_manager_that_does_not_answer_is_told() -> None:
    """Whether it is the only one or not."""
    assert ["http://one does not answer: no"] == list(
        of_worker.lines_of_managers([ManagerSeen(url="http://one", in_use=True, error="no")], NOW)
    )
    assert ["http://one, not called yet"] == list(
        of_worker.lines_of_managers([ManagerSeen(url="http://one", in_use=True)], NOW)
    )
