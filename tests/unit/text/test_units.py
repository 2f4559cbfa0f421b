"""Durations and times in the one spelling that people see."""

import pytest

from damocles.text import units


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-90.0, "-1m30s"),
        (-1e308, "-∞"),
        (0, "0s"),
        (0.0004, "0s"),
        (0.0417, "41ms"),
        (1.9, "1s"),
        (42, "42s"),
        (60, "1m"),
        (78.9, "1m18s"),
        (3605, "1h"),
        (7385, "2h3m"),
        (86400 * 3 + 3600 * 4 + 50, "3d4h"),
        (86400 * 800, "2y69d"),
        (1e18, "∞"),
        (float("nan"), "∞"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds, text):
    """What is less than those is no matter to people."""
    assert text == units.brief_duration(seconds)


@pytest.mark.parametrize(
    ("days", "text"), [(0, "09-21 14:13:20Z"), (100, "06-13 14:13:20Z"), (400, "2025-08-17T14:13:20Z")]
)
def test_a_time_has_its_year_where_that_is_in_doubt(days, text):
    """Within half a year month, day and time are enough; `Z` says that it is UTC."""
    assert text == units.brief_moment(1_790_000_000 - days * 86400, 1_790_000_000)


def test_a_time_that_no_calendar_has_is_shown_as_it_is():
    """Neither a year is cut from it nor is it an error."""
    assert "@1e+18" == units.brief_moment(1e18, 1e18)


def test_of_many_names_the_first_are_written():
    """As many as are wanted, and how many more there are."""
    assert ["", "a", "a, b", "a, b and 2 more"] == [units.some(names, 2) for names in ("", "a", "ab", "abcd")]
