"""What stages wrote: by number, with its sector, and after a restart."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog.testing

from damocles.sealing.sectors import Sector
from damocles.wire import seal
from damocles.wire.sectors import SectorID
from damocles.worker import logbook

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
    opened(tmp_path, clock)(0, "pc1", 11, "one")
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
    assert ["one", "two"] == await texts(book)
    assert ["stages' output is not kept"] == [entry["event"] for entry in told if entry["log_level"] == "warning"]


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
