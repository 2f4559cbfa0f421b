"""The page for contributors is a map: what it names is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()


def test_every_path_that_is_named_exists():
    """Folders and files, in the text, in tables and in commands."""
    named = set(re.findall(r"(?<![\w/.-])((?:[\w-]+/)+(?:[\w-]+\.\w+)?|[\w-]+\.(?:toml|lock))(?![\w/])", PAGE))
    assert len(named) > 50
    assert [] == sorted(path for path in named if not (ROOT / path).exists())


def test_every_room_of_the_source_has_a_row():
    """A package of the source, of the tests or of the repository that a newcomer meets is on the map."""
    rooms = [path.parent for path in ROOT.glob("src/damocles/*/__init__.py")]
    rooms += [path for path in ROOT.glob("tests/*/") if path.is_dir() and any(path.glob("**/*.*"))]
    lost = [f"{room.relative_to(ROOT)}/" for room in rooms if room.name != "__pycache__"]
    assert [] == [room for room in lost if f"`{room}`" not in PAGE]
