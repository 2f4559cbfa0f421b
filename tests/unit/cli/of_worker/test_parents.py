"""`damocles-worker params parents`."""

import hashlib
import json
from pathlib import Path

import pytest

from damocles.cli import worker
from damocles.stages.files import parents

WHOLE = b"parents " * 448


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> parents.Cache:
    """Return a cache whose content is known, in the folder of this process."""
    monkeypatch.setenv("FIL_PROOFS_PARENT_CACHE", str(tmp_path))
    monkeypatch.setitem(parents._DIGESTS, 5, hashlib.sha256(WHOLE).hexdigest())
    made = parents.of("StackedDrg2KiBV1_1")
    made.path.write_bytes(WHOLE)
    return made


def seen(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, list[tuple[str, str, str | None]]]:
    """Return the exit code, and each cache with its status and problem."""
    code = worker.main(["params", "parents", *options, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is (code == 0)
    return code, [(one["proof"], one["status"], one["problem"]) for one in told["caches"]]


def test_a_whole_cache_is_listed_and_verified(cache, capsys):
    """Only with `--verify` it is read; then it is trusted again."""
    assert (0, [("StackedDrg2KiBV1_1", "present", None)]) == seen(capsys)
    cache.marker.write_text("unfinished\n")
    assert (0, [("StackedDrg2KiBV1_1", "unverified", None)]) == seen(capsys)
    assert (0, [("StackedDrg2KiBV1_1", "ok", None)]) == seen(capsys, "--verify")
    assert (b"", WHOLE) == (cache.marker.read_bytes(), cache.path.read_bytes())


def test_a_damaged_cache_is_removed_when_it_is_verified(cache, capsys):
    """And not before: looking changes nothing."""
    cache.path.write_bytes(WHOLE[:-1] + b"!")
    assert (0, [("StackedDrg2KiBV1_1", "present", None)]) == seen(capsys)
    problem = "is damaged: its digest is not the published one"
    assert (1, [("StackedDrg2KiBV1_1", "removed", problem)]) == seen(capsys, "--verify")
    assert not cache.path.exists()


def test_a_cut_cache_is_told_with_what_will_come_of_it(cache, capsys):
    """People read which file it is, and that nothing has to be done."""
    cache.path.write_bytes(WHOLE[:100])
    assert 1 == worker.main(["params", "parents", "--sector-size", "2KiB"])
    told = capsys.readouterr()
    assert "StackedDrg2KiBV1_1" in told.out
    assert f"error: {cache.path}: has 100 bytes, it should have 3584; the next PC1 makes it again" in told.err


def test_a_cache_without_a_published_digest_stays(cache, capsys):
    """Of the length alone nobody can say that it is whole, nor that it is not."""
    cache.path.unlink()
    synthetic = parents.of("StackedDrg2KiBV1_1_Feat_SyntheticPoRep")
    synthetic.path.write_bytes(bytes(3584))
    synthetic.marker.write_text("unfinished\n")
    assert (0, [("StackedDrg2KiBV1_1_Feat_SyntheticPoRep", "unverified", None)]) == seen(capsys, "--verify")
    assert "unfinished\n" == synthetic.marker.read_text()


def test_other_sizes_are_left_out(cache, capsys):
    """A size can be chosen."""
    assert (0, []) == seen(capsys, "--sector-size", "32GiB")
