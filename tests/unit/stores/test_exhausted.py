"""What a process lacks is no fault of a file: with no descriptor left nothing is taken for damaged or missing."""

import errno
import hashlib
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from damocles.sealing import failures
from damocles.stages import job
from damocles.stages.files import parents, replicas
from damocles.stores import exhausted, identity, journal, persist, sealing, space
from damocles.wire import tasks
from damocles.wire.codec import Bytes32
from damocles.worker.plans import local_files
from damocles.worker.serving import access


@contextmanager
def descriptors(left: int) -> Iterator[None]:
    """Let this process open so many files while the block runs."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(left + 1)]  # the lowest that are free
    for descriptor in taken:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[-1], limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_store_is_not_taken_for_another_one(tmp_path: Path) -> None:
    """What was seen in a place is not forgotten, whatever lies there now, and nobody is asked for a mount."""
    memory, place = identity.Memory(tmp_path / "home"), tmp_path / "place"
    persist.init(place)
    memory.admit(place)
    with descriptors(0), pytest.raises(identity.NotTheStore, match=r"Too many open files$"):
        memory.check(place)
    place.rename(tmp_path / "away")
    persist.init(place)
    with descriptors(0), pytest.raises(identity.NotTheStore, match=r"Too many open files$"):
        memory.admit(place)
    with pytest.raises(identity.NotTheStore, match="another store"):
        memory.check(place)


async def test_a_store_that_cannot_be_looked_at_is_not_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No alert says that a disk is not mounted, for want of a descriptor."""
    memory = identity.Memory(tmp_path / "home")
    persist.init(tmp_path / "place")
    memory.admit(tmp_path / "place")
    stores = space.Space({"s": tmp_path / "place"}, memory=memory)
    lacking = OSError(errno.EMFILE, "Too many open files")

    def read(*_: object) -> None:
        raise lacking

    with monkeypatch.context() as patched:
        patched.setattr(identity, "mark_of", read)
        assert ({}, {}) == (await stores.ask(), stores.missing)
    assert ["s"] == list(await stores.ask())


def test_a_store_of_the_original_is_not_taken_for_one_of_nobody(tmp_path: Path) -> None:
    """What cannot be told is no licence to begin a sector there."""
    meta = tmp_path / "meta"
    meta.mkdir()
    (meta / "CURRENT").write_text("MANIFEST-000005\n")
    with descriptors(0), pytest.raises(OSError, match="Too many open files"):
        sealing.not_ours(tmp_path)
    told = "CURRENT cannot be read: Too many open files"
    with descriptors(0), pytest.raises(sealing.StoreError, match=told), sealing.opened(tmp_path):
        pass


def test_a_sector_is_not_declared_faulty(tmp_path: Path) -> None:
    """A window PoSt fails as a whole, and goes to another worker."""
    replica = tasks.Replica(1, Bytes32(bytes(32)), str(tmp_path / "cache"), str(tmp_path / "sealed"))
    missing = FileNotFoundError(errno.ENOENT, "No such file or directory", replica.sealed_file)
    assert "No such file" in replicas.reason_of(missing, replica)
    lacking = OSError(errno.EMFILE, "Too many open files", replica.sealed_file)
    with pytest.raises(OSError, match="Too many open files"):
        replicas.reason_of(lacking, replica)


def test_a_parent_cache_is_not_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of many GiB, doubted or not, stays as it is; the stage fails and is tried again."""
    whole = b"parents " * 448
    monkeypatch.setitem(parents._DIGESTS, 5, hashlib.sha256(whole).hexdigest())
    cache = parents.of("StackedDrg2KiBV1_1", tmp_path)
    cache.path.write_bytes(whole)
    assert parents.doubt(cache, "C1 refused", job.Job())
    for left in (0, 1):  # the second is enough for the lock
        with descriptors(left), pytest.raises(OSError, match="Too many open files"):
            parents.mend(cache, job.Job())
    parents.mend(cache, job.Job())
    assert whole == cache.path.read_bytes()


async def test_file_work_is_done_again(tmp_path: Path) -> None:
    """A thread waits as after other failures that pass, and does not pause for good."""

    def work() -> None:
        raise OSError(errno.EMFILE, "Too many open files", str(tmp_path))

    with pytest.raises(failures.Temporary, match=f"Too many open files: {tmp_path}"):
        await local_files.in_thread(work)


def test_the_token_for_the_manager_is_kept(tmp_path: Path) -> None:
    """A worker goes on with the token that it has; one that is gone from the disk it does not send."""
    file = tmp_path / "token"
    file.write_text("dmc_one\n")
    token = access.ManagerToken(None, file)
    assert "dmc_one" == token()
    file.write_text("dmc_two\n")
    with descriptors(0):
        assert "dmc_one" == token()
    assert "dmc_two" == token()
    file.unlink()
    assert None is token()


def test_a_journal_that_cannot_be_opened_is_told_from_one_that_is_not_there(tmp_path: Path) -> None:
    """SQLite gives one reason for both: with descriptors left it is the file."""
    sealing.init(tmp_path / "store")
    with pytest.raises(sealing.StoreError) as missing, sealing.opened(tmp_path / "nowhere"):
        pass
    assert not exhausted.is_lacking(missing.value)
    file = tmp_path / "store" / "meta" / journal.FILE_NAME
    with descriptors(0):
        with pytest.raises(journal.JournalError) as lacking:
            journal.Journal(file)
        assert exhausted.is_lacking(lacking.value)
    (tmp_path / "folder").mkdir()
    with pytest.raises(journal.JournalError) as broken:
        journal.Journal(tmp_path / "folder")
    assert not exhausted.is_lacking(broken.value)


def test_causes_count() -> None:
    """An error that was made from another one is known by it."""
    made = identity.NotTheStore("cannot be told")
    made.__cause__ = OSError(errno.ENFILE, "Too many open files in system")
    assert exhausted.is_lacking(made)
    assert not exhausted.is_lacking(OSError(errno.EIO, "Input/output error"))
