"""What stages wrote: by number, with its sector, and after a restart."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
import structlog.testing

from damocles.sealing.sectors import Sector
from damocles.wire import seal
from damocles.wire.sectors import SectorID
from damocles.worker.serving import logbook

SECTOR = Sector(plan="sealer", allocated=seal.AllocatedSector(SectorID(10000, 2), 5))


@dataclass
class Thread:
    """A thread with a sector."""

    location: Path
    index: int = 0
    sector: Sector = SECTOR


class Clock:
    """A time that goes on by a second each time it is asked."""

    def __init__(self, now: float = 1_790_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time."""
        self.now += 1
        return self.now


def opened(store: Path, clock: Clock) -> logbook.Logbook:
    """Return the logbook of a worker that was just started."""
    book = logbook.Logbook(clock)
    book.know([Thread(store)])
    return book


async def texts(book: logbook.Logbook, after: int = 0) -> list[str]:
    """Return what a log has."""
    return [line.text for line in await book.read(0, after, 0.0)]


async def test_lines_outlive_the_worker(tmp_path):
    """After a restart the lines from before come first, with their sector, and following goes on behind the last."""
    (tmp_path / "meta").mkdir()
    clock = Clock()
    before = opened(tmp_path, clock)
    before(0, "pc1", 11, "one")
    before(0, "pc2", 12, "two")
    before.written()

    after = opened(tmp_path, clock)
    assert ["one", "two"] == await texts(after)
    after(0, "c2", 13, "three")
    lines = await after.read(0, 0, 0.0)
    assert [("pc1", "one"), ("pc2", "two"), ("c2", "three")] == [(line.stage, line.text) for line in lines]
    assert {"s-t010000-2"} == {line.sector for line in lines}
    assert ["two", "three"] == await texts(after, lines[0].number)
    assert ["three"] == await texts(after, lines[1].number)
    assert [] == await texts(after, lines[2].number)


async def test_the_file_is_bounded(tmp_path, monkeypatch):
    """A store keeps a file and the one before it, of a size each; the newest lines are among them."""
    monkeypatch.setattr(logbook, "FILE_BYTES", 1000)
    (tmp_path / "meta").mkdir()
    clock = Clock()
    book = opened(tmp_path, clock)
    for number in range(100):
        book(0, "pc1", 11, f"line {number}")
    book.written()
    kept = list((tmp_path / "meta").iterdir())
    assert {"stages.log", "stages.log.1"} >= {file.name for file in kept}
    assert sum(file.stat().st_size for file in kept) < 2500
    found = await texts(opened(tmp_path, clock))
    assert [f"line {number}" for number in range(100 - len(found), 100)] == found
    assert len(found) > 5


async def test_half_a_line_is_passed_over(tmp_path):
    """A power cut in the middle of a line takes this line only."""
    (tmp_path / "meta").mkdir()
    clock = Clock()
    before = opened(tmp_path, clock)
    before(0, "pc1", 11, "one")
    before.written()
    with (tmp_path / "meta" / logbook.FILE_NAME).open("ab") as file:
        file.write(b'{"number": 17')
    assert ["one"] == await texts(opened(tmp_path, clock))


async def test_a_store_that_cannot_be_written_is_told_once(tmp_path):
    """The lines are in memory, and the worker's log says once that they are not kept."""
    (tmp_path / "meta" / logbook.FILE_NAME).mkdir(parents=True)
    book = opened(tmp_path, Clock())
    with structlog.testing.capture_logs() as told:
        book(0, "pc1", 11, "one")
        book(0, "pc1", 11, "two")
        book.written()
    assert ["one", "two"] == await texts(book)
    assert ["stages' output is not kept"] == [entry["event"] for entry in told if entry["log_level"] == "warning"]


async def test_a_disk_that_hangs_holds_up_nobody(tmp_path, monkeypatch):
    """Lines for it wait, up to a number, and are in memory; those of other stores are written."""
    monkeypatch.setattr(logbook, "LINES_PER_THREAD", 3)
    for name in ("hangs", "well"):
        (tmp_path / name / "meta").mkdir(parents=True)
    os.mkfifo(tmp_path / "hangs/meta" / logbook.FILE_NAME)  # opening it waits for a reader
    book = logbook.Logbook(Clock())
    book.know([Thread(tmp_path / "hangs"), Thread(tmp_path / "well", index=1)])
    for number in range(20):
        book(0, "pc1", 11, f"line {number}")
    book(1, "pc1", 12, "well")
    deadline = time.monotonic() + 10
    while not (file := tmp_path / "well/meta" / logbook.FILE_NAME).exists() or b"well" not in file.read_bytes():
        assert time.monotonic() < deadline
        await anyio.sleep(0.01)
    assert "line 19" == [line.text for line in book._lines[0]][-1]
    with (tmp_path / "hangs/meta" / logbook.FILE_NAME).open("rb"):
        book.written()


@pytest.mark.parametrize(("lines", "length", "kept"), [(6000, 1, 5000), (1000, 4000, 500), (10, 1_000_000, 10)])
async def test_the_last_lines_are_kept(lines, length, kept):
    """As many as there may be and as fit into two million characters, each of at most 4,000, and of each thread."""
    book = logbook.Logbook(lambda: 0.0)
    for _ in range(lines):
        book(0, "PC1", 7, "x" * length)
    book(1, "PC1", 7, "another thread")
    found = await book.read(0, 0, 0.0)
    assert list(range(lines - kept + 1, lines + 1)) == [line.number for line in found]
    assert ["another thread"] == [line.text for line in await book.read(1, 0, 0.0)]


def test_a_line_is_an_event_of_the_workers_log(tmp_path):
    """What a stage says is the event itself, its stage, process and thread behind it; a failure is an error."""
    book = opened(tmp_path, Clock())
    with structlog.testing.capture_logs() as told:
        book(0, "pc1", 11, "layer 3 of 11")
        book(0, "c2", 12, "task 1 failed: No cached parameters found for x")
    assert [
        {"event": "layer 3 of 11", "log_level": "info", "stage": "pc1", "pid": 11, "thread": 0},
        {
            "event": "task 1 failed: No cached parameters found for x",
            "log_level": "error",
            "stage": "c2",
            "pid": 12,
            "thread": 0,
        },
    ] == told
