"""Stores are recognized by their marks."""

import os
import threading
from pathlib import Path

import pytest

from damocles import durable
from damocles.stores import identity, persist, sealing


@pytest.fixture
def memory(tmp_path: Path) -> identity.Memory:
    """Return the memory of a fresh home."""
    return identity.Memory(tmp_path / "home")


def test_every_new_store_has_a_mark_of_its_own(tmp_path: Path) -> None:
    """Sealing stores and persist stores are marked when they are made; made again, a persist store keeps its mark."""
    sealing.init(tmp_path / "sealing")
    for name in ("a", "b", "a"):
        persist.init(tmp_path / name)
    marks = [identity.mark_of(tmp_path / name) for name in ("sealing", "a", "b")]
    assert None not in marks
    assert len(set(marks)) == 3
    persist.init(tmp_path / "a")
    assert identity.mark_of(tmp_path / "a") == marks[1]


def test_a_store_without_a_mark_that_was_never_seen_is_marked_and_known(
    tmp_path: Path, memory: identity.Memory
) -> None:
    """A store from before there were marks gets one; from then on nothing else is taken in its place."""
    store = tmp_path / "store"
    store.mkdir()
    memory.admit(store)
    assert identity.mark_of(store) == memory.expected(store) is not None
    memory.admit(store)
    store.rename(tmp_path / "away")
    with pytest.raises(identity.NotTheStore, match=f"the store {store} cannot be read .* is the disk mounted"):
        memory.admit(store)
    store.mkdir()
    with pytest.raises(identity.NotTheStore, match=r"not the store that was there before .* but an unmarked folder"):
        memory.admit(store)
    assert [] == list(store.iterdir()), "the bare mount point is left as it is"
    identity.mark(store)
    with pytest.raises(
        identity.NotTheStore,
        match=rf"but another store .* damocles-worker store accept --home {tmp_path}/home {store}$",
    ):
        memory.admit(store)
    store.rename(tmp_path / "other")
    (tmp_path / "away").rename(store)
    memory.admit(store)


def test_a_replaced_store_is_taken_once_it_is_accepted(tmp_path: Path, memory: identity.Memory) -> None:
    """What is forgotten may be anything, and is known again from the next look on."""
    store = tmp_path / "store"
    persist.init(store)
    memory.admit(store)
    before = identity.mark_of(store)
    (store / identity.FILE_NAME).unlink()
    assert memory.forget(store) == before
    memory.admit(store)
    assert before != memory.expected(store) == identity.mark_of(store)


def test_a_store_from_another_machine_is_taken_with_its_mark(tmp_path: Path, memory: identity.Memory) -> None:
    """In a place that was never seen, or by a home that has seen nothing, every store is good."""
    persist.init(tmp_path / "store")
    mark = identity.mark_of(tmp_path / "store")
    memory.admit(tmp_path / "store")
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    memory.admit(tmp_path / "elsewhere")
    identity.Memory(tmp_path / "second home").admit(tmp_path / "elsewhere")
    assert mark == identity.mark_of(tmp_path / "elsewhere")


def test_what_may_not_be_written_to_is_not_marked(tmp_path: Path, memory: identity.Memory) -> None:
    """A readonly store is taken as it is; with a mark, which its owner has made, it is known."""
    store = tmp_path / "store"
    store.mkdir()
    memory.admit(store, may_mark=False)
    assert (None, None) == (identity.mark_of(store), memory.expected(store))
    mark = identity.mark(store)
    memory.admit(store, may_mark=False)
    assert mark == memory.expected(store)


def test_one_that_cannot_be_marked_is_taken(
    tmp_path: Path, memory: identity.Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk must not keep a store from being read."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    store = tmp_path / "store"
    store.mkdir()
    monkeypatch.setattr(durable, "write", full)
    memory.admit(store)
    assert ([], None) == (list(store.iterdir()), memory.expected(store))


@pytest.mark.parametrize("has_links", [True, False])
def test_workers_that_mark_a_store_at_once_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    """Whoever comes second takes the mark of the first; nothing else is left in the folder."""
    if not has_links:

        def link(*_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", link)
        identity.mark(tmp_path)  # without links only one after the other
    found: list[str] = []
    markers = [threading.Thread(target=lambda: found.append(identity.mark(tmp_path))) for _ in range(8)]
    for marker in markers:
        marker.start()
    for marker in markers:
        marker.join()
    assert {identity.mark_of(tmp_path)} == set(found)
    assert [identity.FILE_NAME] == [path.name for path in tmp_path.iterdir()]


def test_a_sealing_store_is_made_over_what_a_kill_has_left_of_a_mark(tmp_path: Path) -> None:
    """Parts of a mark do not make a folder somebody else's."""
    store = tmp_path / "store"
    store.mkdir()
    (store / f"{identity.FILE_NAME}.0.part").touch()
    identity.mark(store)
    sealing.init(store)
    with sealing.opened(store):
        pass


def test_a_damaged_memory_is_not_used(tmp_path: Path, memory: identity.Memory) -> None:
    """It costs the recognition, and not the store."""
    persist.init(tmp_path / "store")
    memory.admit(tmp_path / "store")
    (file,) = (tmp_path / "home" / identity.FOLDER).iterdir()
    file.write_text("{")
    memory.admit(tmp_path / "store")
    assert memory.expected(tmp_path / "store") == identity.mark_of(tmp_path / "store")
