"""What is usual, learnt from reports."""

import itertools
from typing import NamedTuple

from damocles.manager.alerts.durations import Durations
from damocles.manager.alerts.seen import Typical


class Event(NamedTuple):
    """A row of `sector_events`, as far as it matters."""

    id: int
    number: int
    at: float
    prev: str
    next: str
    event: str = "Some"
    failure_level: str | None = None
    miner: int = 10000


def learnt(*steps: tuple[float, str, str], number: int = 1, event: str = "Some") -> dict[tuple[int, str, str], Typical]:
    """Return what one sector's steps teach."""
    numbers = itertools.count(1)
    durations = Durations()
    durations.feed(Event(next(numbers), number, at, prev, after, event) for at, prev, after in steps)
    return dict(durations.typical())


def test_a_state_lasts_from_its_beginning_to_the_next() -> None:
    """The time between two reports belongs to the state in between, by miner."""
    steps = [(0.0, "Empty", "Allocated"), (5.0, "Allocated", "TreeDBuilt"), (25.0, "TreeDBuilt", "PC1Done")]
    expected = {
        (10000, "Allocated", "TreeDBuilt"): Typical(5.0, 1),
        (10000, "TreeDBuilt", "PC1Done"): Typical(20.0, 1),
    }
    assert expected == learnt(*steps)


def test_the_median_is_of_all_sectors() -> None:
    """Sectors side by side are told apart, and the middle one of their times is the usual."""
    durations = Durations()
    numbers = itertools.count(1)
    durations.feed(Event(next(numbers), number, 0.0, "Empty", "Allocated") for number in range(5))
    durations.feed(
        Event(next(numbers), number, at, "Allocated", "Deals") for number, at in enumerate([9.0, 1.0, 5.0, 900.0, 2.0])
    )
    assert {(10000, "Allocated", "Deals"): Typical(5.0, 5)} == durations.typical()


def test_plans_that_share_a_state_are_told_apart() -> None:
    """What follows a state tells whose run it was: an upgrade's first stage says nothing of a new sector's."""
    durations = Durations()
    durations.feed([Event(1, 1, 0.0, "Empty", "Allocated"), Event(2, 1, 7.0, "Allocated", "PieceAdded")])
    durations.feed([Event(3, 2, 0.0, "Empty", "Allocated"), Event(4, 2, 1.0, "Allocated", "DealsAcquired")])
    upgrade = durations.spread("Allocated", ["PieceAdded"])
    assert upgrade is not None
    assert (1, 7.0) == (upgrade.runs, upgrade.median_seconds)
    assert None is durations.spread("Allocated", ["Unsealed"])


def test_a_run_that_failed_is_not_counted() -> None:
    """A failure and the hours of waiting for a person say nothing about the usual."""
    durations = Durations()
    durations.feed(
        [
            Event(1, 1, 0.0, "PC2Done", "C1Done"),
            Event(2, 1, 50.0, "C1Done", "C1Done", "Failed", "Permanent"),
            Event(3, 1, 9000.0, "C1Done", "C2Done"),
        ]
    )
    assert {} == durations.typical()


def test_a_gap_or_a_step_back_is_not_counted() -> None:
    """A report that does not follow the one before tells of no duration."""
    assert {} == learnt((0.0, "Empty", "Allocated"), (9.0, "PC1Done", "PC2Done"))


def test_reports_of_the_original_are_not_counted() -> None:
    """They come a stage late: the time between two of them is that of another stage."""
    assert {} == learnt((0.0, "Empty", "Allocated"), (5.0, "Allocated", "TreeDBuilt"), event="None")
