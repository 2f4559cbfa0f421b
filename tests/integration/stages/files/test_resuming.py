"""The copy of a large file goes on where a killed one was, and never from another file."""

import os
from pathlib import Path

import pytest

from damocles.stages import job
from damocles.stages.files import copies, resuming
from damocles.wire import tasks

STEP = 1 << 20
SIZE = 5 * STEP + 12345


class Killed(BaseException):
    """The end of a process, in the middle of a copy."""


class Mortal(job.Job):
    """A job whose process is killed once so many bytes are copied."""

    def __init__(self, at_bytes: int) -> None:
        super().__init__()
        self._at_bytes = at_bytes

    def progress(self, done: int, total: int | None, unit: str = "B") -> None:
        """Die in time."""
        if done >= self._at_bytes:
            raise Killed


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make files of more than a MiB large ones, and return a list that gets the bytes of each piece that is copied."""
    monkeypatch.setattr(resuming, "STEP_BYTES", STEP)
    monkeypatch.setattr(copies, "_CHUNK_BYTES", STEP // 4)
    counts: list[int] = []
    real = os.sendfile

    def counting(target: int, source: int, offset: int, count: int) -> int:
        counts.append(real(target, source, offset, count))
        return counts[-1]

    monkeypatch.setattr(os, "sendfile", counting)
    return counts


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a file that no two parts of are alike."""
    path = tmp_path / "sealed"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Return where it is to be."""
    return tmp_path / "store/sealed/s-t01000-1"


def copy(source: Path, target: Path, attempt: int | None = None, dies_at: int | None = None) -> None:
    """Copy as a transfer does, under an attempt's number if it has one."""
    fence = None if attempt is None else tasks.Fence(str(target.parents[1] / ".fences/s-t01000-1"), attempt)
    route = tasks.Route({"uri": str(source)}, {"uri": str(target)})
    around = job.Job() if dies_at is None else Mortal(dies_at)
    copies.run(tasks.Transfer({}, [route], fence), around)


def killed(source: Path, target: Path, attempt: int | None = None, at: int = 4 * STEP - STEP // 2) -> Path:
    """Copy, be killed on the way, and return the part that is left."""
    with pytest.raises(Killed):
        copy(source, target, attempt, dies_at=at)
    (part,) = target.parent.glob(".s-t01000-1*part")
    return part


@pytest.mark.parametrize(("first", "second"), [(None, None), (3, 3), (3, 4)])
def test_a_copy_goes_on_behind_the_last_sync(source, target, sent, first, second):
    """By the same attempt or by a newer one, after a restart: what was synced is not copied again."""
    killed(source, target, first)
    sent.clear()
    copy(source, target, second)
    assert SIZE - 3 * STEP == sum(sent)
    assert source.read_bytes() == target.read_bytes()
    assert [target.name] == [path.name for path in target.parent.iterdir()]


def test_a_part_that_ends_at_a_step_may_lack_its_sync(source, target, sent):
    """The machine may have lost it: the step before counts."""
    part = killed(source, target)
    os.truncate(part, 3 * STEP)
    sent.clear()
    copy(source, target)
    assert SIZE - 2 * STEP == sum(sent)
    assert source.read_bytes() == target.read_bytes()


def test_what_a_power_cut_has_spoiled_is_copied_again(source, target, sent):
    """Zeros behind the last sync go; zeros before it, from a disk that lies about syncs, are seen."""
    part = killed(source, target)
    with part.open("r+b") as file:
        file.seek(3 * STEP)
        file.write(bytes(STEP // 4))
    copy(source, target)
    assert source.read_bytes() == target.read_bytes()
    part = killed(source, target)
    with part.open("r+b") as file:
        file.seek(3 * STEP - 100)
        file.write(bytes(100))
    sent.clear()
    copy(source, target)
    assert SIZE == sum(sent)
    assert source.read_bytes() == target.read_bytes()


@pytest.mark.parametrize("attempt", [None, 3])
def test_another_source_is_copied_from_its_beginning(source, target, sent, attempt):
    """The sector was sealed again meanwhile: nothing of the old replica may be in the new one."""
    killed(source, target, attempt)
    source.write_bytes(os.urandom(SIZE))
    os.utime(source, ns=(1, 1))
    sent.clear()
    copy(source, target, attempt)
    assert SIZE == sum(sent)
    assert source.read_bytes() == target.read_bytes()
    assert [target.name] == [path.name for path in target.parent.iterdir()]


def test_an_older_attempt_takes_nothing_from_a_newer_one(source, target, sent):
    """One that wakes up late has parts of its own, and leaves those of the newer one where they are."""
    part = killed(source, target, 4)
    sent.clear()
    copy(source, target, 3)
    assert SIZE == sum(sent)
    assert not part.exists(), "the one that has put its file there first has the last word on parts"
    copy(source, target, 4)
    assert source.read_bytes() == target.read_bytes()


def test_small_files_are_copied_whole(tmp_path, target, sent):
    """Up to a step there is nothing to go on from; the part has its plain name, and what is in it does not count."""
    source = tmp_path / "small"
    source.write_bytes(os.urandom(STEP))
    target.parent.mkdir(parents=True)
    (target.parent / ".s-t01000-1.part").write_bytes(bytes(2 * STEP))
    copy(source, target)
    assert STEP == sum(sent)
    assert source.read_bytes() == target.read_bytes()
