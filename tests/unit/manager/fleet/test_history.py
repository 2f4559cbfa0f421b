"""One history of a sector out of journals and reports."""

from msgspec import structs

from damocles.manager.fleet import history
from damocles.wire import control

STATES = ("Empty", "Allocated", "DealsAcquired", "PieceAdded", "TreeDBuilt")


def step(number: int, worker: str, *, at: float | None = None, location: str = "/s1") -> control.HistoryEntry:
    """Make a step of a sector, ten seconds after the one before."""
    return control.HistoryEntry(
        at=number * 10.0 if at is None else at,
        worker=worker,
        location=location,
        plan="sealer",
        sector="s-t010000-1",
        attempt=1,
        prev=STATES[number - 1],
        state=STATES[number],
        event=f"step {number}",
        seconds=1.0,
    )


def report(number: int, worker: str, location: str = "/s1") -> control.HistoryEntry:
    """Make the report of a step, by the manager's clock and without what it does not know."""
    return structs.replace(step(number, worker, at=number * 10.0 + 0.3, location=location), plan="", seconds=None)


def who(entries: list[control.HistoryEntry]) -> list[tuple[str, str]]:
    """Return who made which step."""
    return [(entry.event, entry.worker) for entry in entries]


def test_a_step_is_told_once_by_the_worker_that_made_it() -> None:
    """The store went from w1 to w2 by a copy, and both tell what w1 did."""
    before = [step(1, "w1"), step(2, "w1")]
    moved = [step(number, "w2", location="/s2") for number in (1, 2, 3)]
    reported = [report(1, "w1"), report(2, "w1"), report(3, "w2", "/s2")]
    for told in (before + moved, moved + before, moved):
        entries = history.merged(told, reported)
        assert [("step 1", "w1"), ("step 2", "w1"), ("step 3", "w2")] == who(entries)
        assert [1.0] * 3 == [entry.seconds for entry in entries], "what the journals know is kept"


def test_a_step_that_nobody_reported_is_told_once_too() -> None:
    """A restart is in the journals alone."""
    told = [step(1, "w1"), step(2, "w1"), step(1, "w2"), step(2, "w2")]
    assert [("step 1", "w1"), ("step 2", "w1")] == who(history.merged(told, [report(1, "w1")]))


def test_what_is_in_no_journal_comes_from_the_reports() -> None:
    """The worker is gone, with its store."""
    told = [step(3, "w2", location="/s2")]
    entries = history.merged(told, [report(1, "w1"), report(2, "w1"), report(3, "w2", "/s2")])
    assert [("step 1", "w1"), ("step 2", "w1"), ("step 3", "w2")] == who(entries)


def test_the_same_step_made_again_stays_two() -> None:
    """A step back and the step after it are told as often as they were made."""
    told = [step(1, "w1"), step(1, "w1", at=300.0)]
    again = structs.replace(report(1, "w1"), at=300.4)
    assert 2 == len(history.merged(told, [report(1, "w1"), again]))
