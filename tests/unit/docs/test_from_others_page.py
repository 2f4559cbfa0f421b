"""The page for those who come from elsewhere leads to commands that are there."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[3] / "docs/reference/from-others.md").read_text()
REFERENCE = "".join(
    (Path(__file__).parents[3] / f"docs/reference/commands-{name}.md").read_text() for name in ("worker", "manager")
)
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line]


def of_ours(cell: str) -> list[str]:
    """Return the commands in the right column, without what a reader puts in."""
    found = re.findall(r"`(damocles-(?:worker|manager) [^`]+)`", cell)
    return [re.split(r" (?:-|[A-Z\d]|s-t)", command)[0] for command in found]


@pytest.mark.parametrize("command", sorted({command for row in ROWS for command in of_ours(row[1])}))
def test_every_command_of_ours_is_there(command: str) -> None:
    """As the reference has it; test_commands.py parses it with its options."""
    assert re.search(rf"^#+ {command}$", REFERENCE, re.MULTILINE), command


def test_each_command_of_theirs_has_an_answer() -> None:
    """With a command of ours, or with the word that there is none, and why."""
    assert len(ROWS) > 60
    tables = re.findall(r"\| their command \| ours \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE)
    theirs = [line.strip("| ").split(" | ") for table in tables for line in table.splitlines()]
    assert len(theirs) > 40
    assert [] == [row for row in theirs if not (of_ours(row[1]) or row[1].startswith(("none: ", "the same")))]
