"""What is worth a line of the log."""

import pytest

from damocles import logs


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("its head 0 is 2644 epochs old", "its head 12 is 2645 epochs old", True),
        ("12.5 FIL are missing", "9 FIL are missing", True),
        ("its head 0 is 2644 epochs old", "it does not answer", False),
        (None, "it does not answer", False),
    ],
)
def test_what_has_only_grown_older_is_not_news(before: str | None, after: str, *, expected: bool) -> None:
    """A node that is away for a day makes one line, not one for each epoch; another reason makes another."""
    assert expected == logs.alike(after, before)
