"""Looking after the parent cache."""

import fcntl
import hashlib
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from damocles import proofs
from damocles.stages import job, settings
from damocles.stages.files import parents

PROOF = "StackedDrg2KiBV1_1"
WHOLE = b"parents " * 448


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> parents.Cache:
    """Return a cache whose content is known."""
    monkeypatch.setitem(parents._DIGESTS, 5, hashlib.sha256(WHOLE).hexdigest())
    made = parents.of(PROOF, tmp_path)
    made.path.write_bytes(WHOLE)
    return made


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[parents.Cache]:
    """Return the caches that are read as a whole."""
    read, verify = list[parents.Cache](), parents.verify

    def watched(cache: parents.Cache, *arguments: Any) -> str | None:
        read.append(cache)
        return verify(cache, *arguments)

    monkeypatch.setattr(parents, "verify", watched)
    return read


def mend(cache: parents.Cache) -> list[object]:
    """Mend it; return what was said."""
    log = list[object]()
    parents.mend(cache, job.Job(log.append))
    return log


@pytest.mark.parametrize(
    ("proof", "name", "size_bytes"),
    [
        ("StackedDrg32GiBV1_1", "21981246c370f9d76c7a77ab273d94bde0ceb4e938292334960bce05585dc117", 56 << 30),
        ("StackedDrg64GiBV1_1", "4905486b7af19558ac3649bc6261411858b6add534438878c4ee3b29d8b9de0b", 112 << 30),
        ("StackedDrg512MiBV1", "2aa9c77c3e58259481351cc4be2079cc71e1c9af39700866545c043bfa30fb42", 896 << 20),
    ],
)
def test_the_files_of_large_sectors_are_known(proof: str, name: str, size_bytes: int) -> None:
    """Names are those of the library's manifest."""
    found = parents.of(proof, Path("/p"))
    assert (Path(f"/p/v28-sdr-parent-{name}.cache"), size_bytes) == (found.path, found.size_bytes)


def test_a_whole_cache_is_not_read(cache: parents.Cache, hashed: list[parents.Cache]) -> None:
    """It may have 56 GiB: nothing but its length is looked at."""
    assert [] == mend(cache)
    assert ([], WHOLE) == (hashed, cache.path.read_bytes())


def test_a_cache_that_is_too_long_is_fine(cache: parents.Cache) -> None:
    """The library reads what it needs."""
    cache.path.write_bytes(WHOLE + b"more")
    assert [] == mend(cache)
    assert cache.path.exists()


@pytest.mark.parametrize("length", [0, 1, 3583])
def test_a_cut_cache_is_removed(cache: parents.Cache, hashed: list[parents.Cache], length: int) -> None:
    """The library makes it anew when it is not there; what was wrong is in the log."""
    cache.path.write_bytes(WHOLE[:length])
    assert [
        f"parent cache {cache.path}: has {length} bytes, it should have 3584; it is made again",
    ] == mend(cache)
    assert ([], False) == (hashed, cache.path.exists())


def test_a_doubted_cache_is_read_once(cache: parents.Cache, hashed: list[parents.Cache]) -> None:
    """It is trusted again afterwards."""
    assert parents.doubt(cache, "C1 refused", job.Job())
    assert "C1 refused\n" == cache.marker.read_text()
    (said,) = mend(cache)
    assert f"parent cache {cache.path}: reading all 3584 bytes after a kill or a refusal of C1" == said
    assert [] == mend(cache)
    assert ([cache], WHOLE) == (hashed, cache.path.read_bytes())


def test_a_damaged_cache_is_removed(cache: parents.Cache) -> None:
    """One bit is enough."""
    cache.path.write_bytes(WHOLE[:-1] + b"!")
    parents.doubt(cache, "C1 refused", job.Job())
    assert (
        f"parent cache {cache.path}: is damaged: its digest is not the published one; it is made again"
        == mend(cache)[-1]
    )
    assert (False, b"") == (cache.path.exists(), cache.marker.read_bytes())


def test_what_is_not_here_is_not_doubted(cache: parents.Cache) -> None:
    """Another machine may have computed the layers."""
    cache.path.unlink()
    assert not parents.doubt(cache, "C1 refused", job.Job())
    assert not cache.marker.exists()


def test_where_nothing_can_be_written_a_cut_cache_is_an_error_that_says_what_to_do(cache: parents.Cache) -> None:
    """A whole one is used as it is."""
    cache.marker.mkdir()  # as good as a folder that is read-only, also for root
    assert [] == mend(cache)
    assert not parents.doubt(cache, "C1 refused", job.Job())
    cache.path.write_bytes(b"cut")
    with pytest.raises(proofs.FileUnusable) as caught:
        mend(cache)
    assert str(caught.value) == (
        f"{cache.path}: has 3 bytes, it should have 3584, and cannot be made again (Is a directory). Remove this parent"
        f" cache, and let the user of the worker write to {cache.folder}, or set FIL_PROOFS_PARENT_CACHE"
    )


def test_a_full_disk_is_told_before_the_library_dies_of_it(
    cache: parents.Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It writes into a mapping, where a full disk is a signal that ends the process."""
    cache.path.unlink()
    usage = shutil.disk_usage(cache.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=3583))
    with pytest.raises(
        proofs.FileUnusable, match="has 3583 bytes free, the parent cache needs 3584: make room, or set"
    ):
        mend(cache)


def test_whoever_makes_the_cache_is_waited_for(cache: parents.Cache) -> None:
    """A file that is growing in another process is not taken for a cut one; a task that nobody wants stops waiting."""
    cache.path.write_bytes(b"growing")
    maker = os.open(cache.marker, os.O_RDWR | os.O_CREAT)
    fcntl.flock(maker, fcntl.LOCK_EX)
    around = job.Job()
    threading.Timer(0.1, around.cancel).start()
    with pytest.raises(job.Cancelled):
        parents.mend(cache, around)
    assert b"growing" == cache.path.read_bytes()
    cache.path.write_bytes(WHOLE)
    threading.Timer(0.1, os.close, [maker]).start()
    assert [] == mend(cache)


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({}, "/var/tmp/filecoin-parents"),
        ({"FIL_PROOFS_CACHE_DIR": "/x/cd/"}, "/x/cd/filecoin-parents"),
        ({"FIL_PROOFS_CACHE_DIR": "/x/cd/x"}, "/x/cd/xfilecoin-parents"),
        ({"FIL_PROOFS_CACHE_DIR": "/x", "FIL_PROOFS_PARENT_CACHE": "/p"}, "/p"),
    ],
)
def test_the_folder_is_the_library_s(environment: dict[str, str], folder: str) -> None:
    """Both variables count, the base as a mere beginning of the path."""
    assert Path(folder) == settings.parent_cache(environment)


def test_the_library_s_file_of_settings_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read from the working folder, and the environment wins."""
    monkeypatch.chdir(tmp_path)
    Path("rust-fil-proofs.config.toml").write_text('parent_cache = "/from/file"\nrows_to_discard = 3\n')
    assert (Path("/from/file"), 3) == (settings.parent_cache({}), settings.rows_to_discard({}))
    assert 1 == settings.rows_to_discard({"FIL_PROOFS_ROWS_TO_DISCARD": "1"})
