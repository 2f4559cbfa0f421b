"""What is counted of sectors for metrics, from the rows of reports."""

import itertools
from collections.abc import Iterable
from typing import NamedTuple

from damocles.manager.alerts.durations import Durations
from damocles.manager.alerts.progress import Progress

SIZES = {"10000": 2048}


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


def counted(steps: Iterable[tuple[int, float, str, str]], since: float = 0.0) -> dict[str, float]:
    """Return the samples that reports of sectors lead to, those of buckets left out."""
    numbers = itertools.count(1)
    progress = Progress(since)
    Durations(progress).feed(Event(next(numbers), number, at, prev, after) for number, at, prev, after in steps)
    return {
        f"{sample.name.removeprefix('damocles_manager_')} {' '.join(sample.labels.values())}": sample.value
        for family in progress.families(SIZES)
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }


def test_at_first_everything_is_counted_as_none() -> None:
    """A counter that began with the first sector would hide that one from `increase`."""
    assert {
        "sectors_ended_total 10000 finished": 0,
        "sectors_ended_total 10000 aborted": 0,
        "sealed_bytes_total 10000": 0,
    } == counted([])


def test_sectors_that_end_and_their_times_are_counted() -> None:
    """By outcome; the bytes are of those that were sealed, not of an upgrade, which the chain has already."""
    steps = [
        (1, 0.0, "C2Done", "ProofSubmitted"),
        (1, 60.0, "ProofSubmitted", "Finished"),
        (2, 61.0, "PC1Done", "Aborted"),
        (3, 62.0, "SnapDone", "Finished"),
    ]
    found = counted(steps)
    assert (2, 1, 2048) == (
        found["sectors_ended_total 10000 finished"],
        found["sectors_ended_total 10000 aborted"],
        found["sealed_bytes_total 10000"],
    )
    assert (1, 60.0) == (found["state_seconds_count ProofSubmitted"], found["state_seconds_sum ProofSubmitted"])


def test_an_end_that_is_told_twice_is_one() -> None:
    """A worker whose report got no answer sends it again."""
    steps = [(1, 1.0, "ProofSubmitted", "Finished"), (1, 2.0, "ProofSubmitted", "Finished")]
    assert 1 == counted(steps)["sectors_ended_total 10000 finished"]


def test_a_manager_counts_what_came_since_its_start() -> None:
    """Reports from before are read for what is usual; counted twice, they would be sectors that nobody has sealed."""
    steps = [
        (1, 0.0, "C2Done", "ProofSubmitted"),
        (1, 5.0, "ProofSubmitted", "Finished"),
        (2, 6.0, "C2Done", "ProofSubmitted"),
        (2, 11.0, "ProofSubmitted", "Finished"),
    ]
    found = counted(steps, since=10.0)
    assert (1, 1) == (found["sectors_ended_total 10000 finished"], found["state_seconds_count ProofSubmitted"])


def test_states_that_a_worker_makes_up_have_no_series() -> None:
    """They would be without end."""
    steps = [(1, 0.0, "Empty", "Mine"), (1, 5.0, "Mine", "Yours"), (1, 6.0, "Yours", "Finished")]
    assert not [name for name in counted(steps) if name.startswith("state_seconds")]
