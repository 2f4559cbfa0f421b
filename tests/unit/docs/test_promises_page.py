"""The page of promises names tests that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reference" / "promises.md"


def test_every_promise_has_a_test_that_exists():
    """Each row ends with the name of one test, which stands once in a file below `tests`, and no row is without."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    names = [re.fullmatch(r"\|(?:.+#\d+\)| the same, .+) \|.+\| `(test_\w+)` \|", row) for row in rows]
    assert all(names), "a row has issues, or those of the row above, a promise, a test"
    found = [
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)\(", file.read_text(), re.MULTILINE)
    ]
    assert [1] * len(rows) == [found.count(match[1]) for match in names if match]


def test_every_test_of_a_promise_is_on_the_page():
    """A promise that is shown is also made: the package of these tests holds no other."""
    shown = {
        name
        for file in (ROOT / "tests" / "acceptance" / "promises").glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", file.read_text(), re.MULTILINE)
    }
    assert shown
    assert shown <= set(re.findall(r"`(test_\w+)`", PAGE.read_text()))
