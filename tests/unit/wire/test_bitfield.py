"""Sets of sector numbers in JSON."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damocles.wire import bitfield


@pytest.mark.parametrize(
    ("numbers", "runs"), [({1, 2, 3, 10}, [1, 3, 6, 1]), (set(), [0]), ({0}, [0, 1]), ({0, 1, 5}, [0, 2, 3, 1])]
)
def test_runs_are_those_of_go_bitfield(numbers, runs):
    """Lengths of runs by turns, the first one of numbers that are not in the set."""
    assert runs == bitfield.runs(numbers)


@given(st.sets(st.integers(0, 1000)))
def test_a_set_survives(numbers):
    """Reading gives what was written."""
    assert sorted(numbers) == bitfield.members(bitfield.runs(numbers))
