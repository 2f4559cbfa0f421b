"""The page about the architecture names what is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/explanation/architecture.md").read_text()
PACKAGE = ROOT / "src/damocles"


def test_every_file_that_is_named_exists():
    """A path in the text is one of a package or a module, below the package or below the layer that its row is about."""
    named = set(re.findall(r"`((?:damocles/)?[a-z_]+(?:/[a-z_*]+)*(?:\.py)?)`", PAGE))
    paths = {name.removeprefix("damocles/") for name in named if "/" in name or name.endswith(".py")}
    assert len(paths) > 30
    lost = {path for path in paths if not any(PACKAGE.glob(path)) and not any(PACKAGE.glob(f"*/{path}"))}
    assert lost == set()


def test_every_layer_is_told():
    """Each package of the program has its row."""
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    rows = set(re.findall(r"^\| `damocles/([a-z]+)", PAGE, re.MULTILINE))
    assert packages <= rows
