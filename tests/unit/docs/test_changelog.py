"""Whatever has been written for the changelog gets into it, and a release is in it."""

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


def test_the_changelog_has_the_release_that_the_programs_name():
    """A version is only set together with a release; what has changed since waits in fragments."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    proofs = [tomllib.loads((ROOT / f"proofs/{name}.toml").read_text()) for name in ("pyproject", "Cargo")]
    assert [version, version] == [proofs[0]["project"]["version"], proofs[1]["package"]["version"]]
    assert f"# damocles {version} (" in (ROOT / "CHANGELOG.md").read_text()
