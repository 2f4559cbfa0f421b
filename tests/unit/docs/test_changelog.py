"""Whatever has been written for the changelog gets into it."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_fragment_is_of_a_kind_that_is_printed():
    """A fragment of another kind would be dropped without a word."""
    kinds = {
        kind["directory"] for kind in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]["type"]
    }
    fragments = list((ROOT / "changelog.d").glob("[!.]*"))
    assert [] == [path.name for path in fragments if path.suffixes[-2].lstrip(".") not in kinds]
    assert fragments
