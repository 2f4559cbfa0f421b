"""Workers of the original and ours stay off each other's sealing stores."""

import errno
from pathlib import Path

import pytest

from damocles import durable
from damocles.stores import journal, sealing


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a new sealing store."""
    sealing.init(tmp_path / "store")
    return tmp_path / "store"


def is_refused_by_rocksdb(store: Path) -> bool:
    """Return whether RocksDB, which opens or makes a database where there is none, refuses to: by its first check."""
    current = store / "meta" / "CURRENT"
    return current.exists() and not current.read_bytes().endswith(b"\n")


def test_the_original_s_database_cannot_be_opened_in_a_store_of_ours(store: Path) -> None:
    """A new store has a mark that RocksDB refuses, and ours go on as before."""
    assert is_refused_by_rocksdb(store)
    with sealing.opened(store):
        pass
    assert sealing.not_ours(store) is None


def test_an_older_store_is_guarded_once_it_is_opened(store: Path) -> None:
    """A store that was made before there was the mark gets it from the first worker that opens it."""
    (store / "meta" / "CURRENT").unlink()
    with sealing.opened(store):
        assert is_refused_by_rocksdb(store)


def test_a_disk_that_takes_no_mark_keeps_nobody_from_a_store(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk the mark comes another time; the thread opens its store all the same."""
    (store / "meta" / "CURRENT").unlink()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(durable, "write", full)
        with sealing.opened(store) as opened:
            assert opened.location == store
    assert not (store / "meta" / "CURRENT").exists()
    with sealing.opened(store):
        assert is_refused_by_rocksdb(store)


def test_a_beginning_with_the_mark_is_finished_and_a_database_is_not_replaced(store: Path) -> None:
    """A store whose making was killed behind the mark is made; one with a database of the original is not touched."""
    (store / sealing.HOLDER).unlink()
    sealing.init(store)
    current = store / "meta" / "CURRENT"
    current.write_text("MANIFEST-000005\n")
    (store / sealing.HOLDER).unlink()
    with pytest.raises(sealing.StoreError, match="is not empty"):
        sealing.init(store)
    assert current.read_text() == "MANIFEST-000005\n"


def test_a_store_that_both_have_used_is_refused_with_the_way_out(store: Path) -> None:
    """A database of the original beside a journal of ours is not gone over: both may have files in `data`."""
    current = store / "meta" / "CURRENT"
    current.write_text("MANIFEST-000005\n")
    for name in ("cache/s-t010000-7", "cache/s-t010000-8"):
        (store / "data" / name).mkdir(parents=True)
    both = r"\(s-t010000-7, s-t010000-8\): stop .* then delete .*/meta/CURRENT$"
    with pytest.raises(sealing.StoreError, match=both), sealing.opened(store):
        pass
    current.unlink()
    with sealing.opened(store):
        assert is_refused_by_rocksdb(store)


def test_the_mark_alone_makes_no_store_of_the_original(store: Path) -> None:
    """A store of ours that lost its journal is told as that, and not as one of the original."""
    (store / "data/cache/s-t010000-7").mkdir(parents=True)
    (store / "meta" / journal.FILE_NAME).unlink()
    assert "no journal that knows them" in (sealing.not_ours(store) or "")
