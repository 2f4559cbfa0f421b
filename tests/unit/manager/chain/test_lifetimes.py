"""When sectors end."""

import pytest

from damocles.manager.chain import lifetimes

DAY = lifetimes.DAY_EPOCHS
DELAY = 150
HEAD = 5_000_000
LEAST = HEAD + (30 + 180 + 1) * DAY + DELAY
MOST = HEAD + 1278 * DAY
PROOF = lifetimes.prove_by(HEAD, DELAY)


@pytest.mark.parametrize(
    ("days", "expiration"),
    [
        (540, HEAD + 538 * DAY),
        (0, MOST - 2 * DAY),
        (1, LEAST),  # so late that a proof at the last moment still makes half a year
        (36500, MOST),
    ],
)
def test_bounds(days: int, expiration: int) -> None:
    """A sector lives as long as is said, within what the actors take at any time up to the last for its proof."""
    assert expiration == lifetimes.expiration(HEAD, PROOF, lifetime_days=days)


def test_allocations_go_first() -> None:
    """A sector lives as long as its allocations want at least, and no longer than they may."""
    long = lifetimes.expiration(HEAD, PROOF, lifetime_days=200, terms=[(700 * DAY, 900 * DAY)])
    assert long - PROOF >= 700 * DAY
    short = lifetimes.expiration(HEAD, PROOF, lifetime_days=1000, terms=[(180 * DAY, 400 * DAY)])
    assert short == HEAD + 400 * DAY


def test_without_a_pre_commit() -> None:
    """A sector that is proven at once need not live longer for a proof that is late."""
    assert HEAD + (180 + 1) * DAY == lifetimes.expiration(HEAD, HEAD, lifetime_days=1)
