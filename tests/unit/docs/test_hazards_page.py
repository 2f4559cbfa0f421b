"""The page of hazards names tests that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reference" / "hazards.md"


def names_in(folder: Path) -> set[str]:
    """Return the names of the tests below a folder, those in classes too."""
    return {
        name
        for file in folder.rglob("test_*.py")
        for name in re.findall(r"^ *(?:async )?def (test_\w+)\(", file.read_text(), re.MULTILINE)
    }


def test_every_hazard_has_tests_that_exist():
    """Each row ends with the names of one or more tests that stand somewhere below `tests`."""
    rows = [line for line in PAGE.read_text().splitlines() if re.match(r"\| (?!what can go wrong)", line)]
    assert rows
    known = names_in(ROOT / "tests")
    for row in rows:
        found = re.fullmatch(r"\| [^|]+ \| [^|]+ \| (`test_\w+`(?:, `test_\w+`)*) \|", row)
        assert found, row
        assert set() == set(re.findall(r"test_\w+", found[1])) - known, row


def test_every_test_of_a_hazard_is_on_the_page():
    """The folders of these tests hold none that the page does not name."""
    shown = names_in(ROOT / "tests" / "unit" / "hazards") | names_in(ROOT / "tests" / "acceptance" / "hazards")
    assert shown
    assert set() == shown - set(re.findall(r"`(test_\w+)`", PAGE.read_text()))
