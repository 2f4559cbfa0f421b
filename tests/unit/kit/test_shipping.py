"""How both programs are shipped fits what is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_no_page_names_a_version_of_ours_that_would_go_stale() -> None:
    """A wheel is named by a pattern; what it is called today is seen in `dist`."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]
    named = {page.name: re.findall(r"damocles(?:[_-]proofs)?-\d[\w.]*", page.read_text()) for page in pages}
    assert {} == {name: found for name, found in named.items() if found}


def test_the_image_is_built_by_targets_and_files_that_are_there() -> None:
    """Its stages are of images with a version, and make what the Makefile has."""
    text = (ROOT / "Dockerfile").read_text()
    assert [":" in image for image in re.findall(r"^FROM (\S+)", text, re.MULTILINE)] == [True, True]
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)$", text, re.MULTILINE)) == {"packages"} <= targets
    (pinned,) = re.findall(r"zensical==([\d.]+)", text)
    assert f'"zensical=={pinned}"' in (ROOT / "pyproject.toml").read_text()
