"""How long a prover has a window PoSt alone, when its manager was away meanwhile."""

import pytest

from damocles.manager.plans import wdpost_loans
from damocles.wire import wdpost
from damocles.wire.codec import Bytes32

LENT = 1_000


def lent(alone_seconds: int) -> wdpost.Record:
    """Return a job that a prover has got."""
    work = wdpost.Input(None, 1000, "2KiB", Bytes32(bytes(32)))
    made = wdpost.Record(
        id="j", deadline=3, partitions=[0], input=work, created_at=LENT, updated_at=LENT, alone_seconds=alone_seconds
    )
    return wdpost_loans.lent(made, "hangs", LENT)


@pytest.mark.parametrize("restarts", [[], [40], [40, 90], [40, 70, 95]])
def test_a_manager_that_begins_again_does_not_begin_to_count_again(restarts: list[int]) -> None:
    """A prover goes on while its manager is away: however often that was, another one gets the job when its time is over."""
    since = float(LENT + restarts[-1]) if restarts else 0.0
    assert not wdpost_loans.is_overdue(lent(100), 100.0, since, LENT + 99)
    assert wdpost_loans.is_overdue(lent(100), 100.0, since, LENT + 126)


def test_a_manager_that_was_away_first_waits_for_the_proof_that_could_not_be_handed_in() -> None:
    """It is a short while: provers repeat what was not answered."""
    since = float(LENT + 500)
    assert not wdpost_loans.is_overdue(lent(100), 100.0, since, since + 29)
    assert wdpost_loans.is_overdue(lent(100), 100.0, since, since + 31)
    assert wdpost_loans.is_overdue(lent(100), 10.0, since, since + 11), "never longer than it has the job alone"
