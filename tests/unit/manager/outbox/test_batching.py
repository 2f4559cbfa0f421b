"""Sectors wait for each other, never too long, and a bad one costs the others nothing."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damocles.chain.amounts import Amount
from damocles.manager.outbox import batching, node
from damocles.manager.outbox.batching import Rule, Waiting

LOW, HIGH = Amount(100), Amount(1000)
RULE = Rule(at_least=4, at_most=8, wait_epochs=120, margin_epochs=240, wait_above=Amount(500))
EPOCH = 10_000


def sectors(count: int, *, waited: int = 0, left: int = 3000) -> list[Waiting]:
    """Return sectors that have waited, and have so many epochs left."""
    return [Waiting(number=number, since=EPOCH - waited, last=EPOCH + left) for number in range(count)]


@pytest.mark.parametrize(
    ("waiting", "base_fee", "sizes"),
    [
        ([], LOW, []),
        (sectors(3), LOW, []),
        (sectors(4), LOW, [4]),
        (sectors(3, waited=120), LOW, [3]),
        (sectors(9), LOW, [5, 4]),
        (sectors(16), LOW, [8, 8]),
        (sectors(16, waited=500), HIGH, []),
        (sectors(3, left=240), HIGH, [3]),
        ([*sectors(8), Waiting(number=99, since=EPOCH, last=EPOCH + 100)], HIGH, [5, 4]),
    ],
)
def test_a_batch_is_sent_when_it_is_time(waiting: list[Waiting], base_fee: Amount, sizes: list[int]) -> None:
    """Enough of them, one that has waited, or one that comes due; a high base fee holds up all but the last."""
    assert sizes == [len(batch) for batch in batching.batches(waiting, EPOCH, base_fee, RULE)]


def test_what_is_due_first_goes_first() -> None:
    """The sector with the fewest epochs left is in the first message."""
    waiting = [*sectors(10), Waiting(number=99, since=EPOCH, last=EPOCH + 100)]
    assert 99 in batching.batches(waiting, EPOCH, HIGH, RULE)[0]


def test_an_aggregate_has_no_small_rest() -> None:
    """Sectors that would make a batch with too few are left for the next one."""
    rule = Rule(fewest=4, at_least=4, at_most=5)
    assert [5] == [len(batch) for batch in batching.batches(sectors(6), EPOCH, LOW, rule)]
    assert [] == batching.batches(sectors(3, waited=500, left=1), EPOCH, LOW, rule)


def test_a_rule_that_never_acts_is_refused() -> None:
    """More sectors than a message holds would be waited for without end."""
    with pytest.raises(ValueError, match="a batch of 300 sectors or more does not fit between 1 and 256"):
        Rule(at_least=300)


waiting = st.builds(
    Waiting,
    number=st.integers(0, 10_000),
    since=st.integers(EPOCH - 400, EPOCH),
    last=st.integers(EPOCH, EPOCH + 1000),
)
rules = st.tuples(st.integers(1, 5), st.integers(0, 10), st.integers(0, 20)).map(
    lambda n: Rule(fewest=n[0], at_least=n[0] + n[1], at_most=n[0] + n[1] + n[2])
)


@given(st.lists(waiting, max_size=80, unique_by=lambda one: one.number), rules, st.integers(1, 1000))
def test_batches_hold_their_limits(waiting: list[Waiting], rule: Rule, base_fee: int) -> None:
    """No sector is sent twice, no batch is too large or too small, and nobody is sent whose turn comes after one that waits."""
    made = batching.batches(waiting, EPOCH, Amount(base_fee), rule)
    sent = [number for batch in made for number in batch]
    assert len(sent) == len(set(sent))
    assert all(rule.fewest <= len(batch) <= rule.at_most for batch in made)
    last = {one.number: one.last for one in waiting}
    kept = set(last) - set(sent)
    assert not made or max(last[n] for n in sent) <= min((last[n] for n in kept), default=math.inf)


@given(st.lists(waiting, min_size=1, max_size=40, unique_by=lambda one: one.number), rules)
def test_the_epoch_that_is_shown_is_when_the_rule_acts(waiting: list[Waiting], rule: Rule) -> None:
    """At that epoch there is a batch, if there are enough for one at all."""
    epoch = batching.acts_at(waiting, rule)
    assert epoch is not None
    assert bool(batching.batches(waiting, epoch, LOW, rule)) == (len(waiting) >= rule.fewest)


@given(st.integers(1, 60), st.sets(st.integers(0, 59), max_size=6), st.integers(0, 60))
async def test_a_bad_sector_is_found_and_the_others_go_on(count: int, bad: set[int], most: int) -> None:
    """Who fails alone is named, all others are in batches that pass, and few estimates are needed for a few bad ones."""
    asked = 0

    async def estimate(numbers: Sequence[int]) -> int:
        nonlocal asked
        asked += 1
        if bad.intersection(numbers):
            raise node.WouldFail("already proven")
        if most and len(numbers) > most:
            raise node.WouldFail("insufficient funds")
        return len(numbers)

    good, failing = await batching.without_bad(range(count), estimate)

    assert bad.intersection(range(count)) == set(failing)
    assert sorted(set(range(count)) - bad) == sorted(number for group, _ in good for number in group)
    assert all(len(group) == estimated for group, estimated in good)
    if not most:
        assert len(good) <= 1
        assert asked <= 1 + 3 * len(failing) * max(1, math.ceil(math.log2(count)))
