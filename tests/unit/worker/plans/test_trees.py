"""A look at the sectors in persist stores when a worker starts."""

import os
import time
from pathlib import Path

import pytest
import structlog

from damocles.stores import layout
from damocles.stores.persist import PersistStore
from damocles.wire import sectors
from damocles.worker.plans import trees

SIZE = sectors.SectorSize.MIB8


def put(root: Path, number: int, rows: int, *, upgraded: bool = False, size: sectors.SectorSize = SIZE) -> Path:
    """Make the files of a sector, without content; return its first tree."""
    replica, cache = ("update", "update-cache") if upgraded else ("sealed", "cache")
    name = f"s-t010000-{number}"
    (root / cache / name).mkdir(parents=True)
    (root / replica).mkdir(exist_ok=True)
    tree = root / cache / name / layout.tree_r_last_names(size)[0]
    for path, length in ((root / replica / name, int(size)), (tree, layout.tree_r_last_bytes(size, rows))):
        path.touch()
        os.truncate(path, length)
    return tree


def test_sectors_with_other_trees_are_told_once(tmp_path, monkeypatch):
    """One of each kind is enough; those that fit are not mentioned."""
    put(tmp_path, 1, 2)
    put(tmp_path, 2, 1)
    put(tmp_path, 3, 1)
    upgraded = put(tmp_path, 4, 3, upgraded=True)
    sealed, other = trees.problems(tmp_path)
    assert "has 149792 bytes, as if it was made with FIL_PROOFS_ROWS_TO_DISCARD=1, and where that is 2" in sealed
    assert other.startswith(f"{upgraded} has 2336 bytes, as if it was made with FIL_PROOFS_ROWS_TO_DISCARD=3")
    monkeypatch.setenv("FIL_PROOFS_ROWS_TO_DISCARD", "1")
    sealed, _ = trees.problems(tmp_path)
    assert "has 18720 bytes, as if it was made with FIL_PROOFS_ROWS_TO_DISCARD=2, and where that is 1" in sealed


def test_the_parts_of_a_large_tree_are_known(tmp_path):
    """The first part tells as much as all."""
    tree = put(tmp_path, 1, 1, size=sectors.SectorSize.GIB32)
    (told,) = trees.problems(tmp_path)
    assert told.startswith(f"{tree} has ")


def test_other_damage_is_not_looked_for(tmp_path):
    """Cut and missing files are found where sectors are proved, and a store may be empty, or gone."""
    os.truncate(put(tmp_path, 1, 2), 77)
    (tmp_path / "cache" / "s-t010000-2").mkdir()
    (tmp_path / "cache" / "a file").touch()
    assert [] == list(trees.problems(tmp_path))
    assert [] == list(trees.problems(tmp_path / "nowhere"))


def test_only_some_sectors_are_looked_at(tmp_path, monkeypatch):
    """A store may have thousands."""
    monkeypatch.setattr(trees, "SECTORS", 3)
    for number in range(10):
        put(tmp_path, number, 2)
    seen = []
    monkeypatch.setattr(trees, "_problem", lambda cache, *_: seen.append(cache))
    assert [] == list(trees.problems(tmp_path))
    assert 3 == len(seen)


@pytest.mark.timeout(30)
def test_what_is_found_is_logged(tmp_path):
    """With the name of the store, and by a thread that nobody waits for."""
    put(tmp_path, 1, 1)
    with structlog.testing.capture_logs() as logs:
        trees.look([PersistStore(name="store1", path=tmp_path)])
        while not logs:
            time.sleep(0.01)
    assert ("store1", "warning") == (logs[0]["store"], logs[0]["log_level"])
