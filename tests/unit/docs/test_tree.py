"""The tree of the source: no module, no folder becomes too large to be known, and each room says what it is for."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "src"
LONGEST_MODULE_LINES = 400
MOST_MODULES = 15


def rooms() -> dict[Path, list[Path]]:
    """Return the modules of each package, without its `__init__.py`."""
    return {
        init.parent: [module for module in init.parent.glob("*.py") if module != init]
        for init in SOURCE.rglob("__init__.py")
    }


def test_no_module_is_longer_than_can_be_read_at_once():
    """A module that is longer has two subjects, and is cut between them."""
    lines = {str(file.relative_to(SOURCE)): file.read_text().count("\n") for file in SOURCE.rglob("*.py")}
    assert {name: count for name, count in lines.items() if count > LONGEST_MODULE_LINES} == {}


def test_no_room_has_more_modules_than_one_keeps_in_mind():
    """A folder with more has a second subject, which gets a room of its own."""
    counts = {str(room.relative_to(SOURCE)): len(modules) for room, modules in rooms().items()}
    assert {name: count for name, count in counts.items() if count > MOST_MODULES} == {}


def test_every_room_says_what_it_is_for():
    """Each package has a docstring, and a folder with modules is a package."""
    silent = {room for room in rooms() if not ast.get_docstring(ast.parse((room / "__init__.py").read_text()))}
    folders = {module.parent for module in SOURCE.rglob("*.py")}
    assert silent | (folders - set(rooms())) == set()
