"""Journals of earlier releases open, and their sectors go on."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from damocles.sealing import events, planner, validity
from damocles.stores import exports, journal, sealing
from damocles.testing import happenings

from ..hazards.conftest import Scene, until

GOLDEN = Path(__file__).parents[2] / "golden" / "journals"
FILES = sorted(GOLDEN.glob("*/*.sql"))
LIMITS = planner.Limits(max_retries=2)


@pytest.fixture(params=FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def file(request) -> Path:
    """Return one of the journals, as SQL."""
    found: Path = request.param
    return found


@pytest.fixture
def location(file: Path, tmp_path: Path) -> Path:
    """Return a store that has the journal."""
    location = tmp_path / "store"
    sealing.init(location)
    book = location / "meta" / journal.FILE_NAME
    for part in book.parent.glob(f"{book.name}*"):
        part.unlink()
    database = sqlite3.connect(book)
    database.executescript(file.read_text())
    database.close()
    return location


def test_the_journals_are_of_several_releases():
    """None is lost."""
    assert len({file.parent for file in FILES}) >= 4
    assert {file.stem.partition("-")[0] for file in FILES} == set(planner.PLANS) - {"wdpost"}  # which keeps none


def test_a_sector_goes_on_to_its_end(location: Path, file: Path) -> None:
    """What follows is recorded behind what was there, and nothing contradicts itself on the way."""
    plan, _, state = file.stem.partition("-")
    before = list(journal.read(location))
    assert before
    with sealing.opened(location) as store:
        sector = store.journal.load()
        assert sector is not None
        assert (plan, state) == (sector.plan, sector.state)
        event: events.Event = events.Restart()
        for count in range(60):
            at = 1_800_000_000.0 + count
            after, todo = planner.step(sector, event, LIMITS, at)
            assert [] == validity.flaws_of_step(after, todo[-1])
            if not planner.is_passing(sector, after):
                store.journal.record(sector, event, after, at=at)
            sector = after
            if sector.job_id is None:
                break
            event = happenings.success(planner.PLANS[plan], sector, todo[-1])
        assert sector.job_id is None
        assert sector == store.journal.load()
    lines = list(journal.read(location))
    assert before == lines[: len(before)]
    assert "Finalized" == lines[-1].event


async def test_a_thread_takes_it_up(location: Path, file: Path) -> None:
    """Its sector is in the state in which the older worker left it, paused if it was."""
    plan, _, state = file.stem.partition("-")
    scene = Scene(location)
    scene.settings = replace(scene.settings, plan=plan)
    scene.gate.closed, scene.gate.unready = False, "the test"
    async with scene.running() as thread:
        await until(lambda: thread.mind.is_loaded)
        assert (plan, state, "s-t010000-7") == (thread.sector.plan, thread.sector.state, str(thread.sector.id))
        assert (state == "PC1Done") is (thread.sector.paused_at is not None)


def test_it_is_exported_whole(location: Path) -> None:
    """What `store export` writes of it holds the sector and all its history."""
    (store,) = exports.read(exports.lines(location))
    (head,) = [part for part in journal.contents(location) if isinstance(part, journal.Head)]
    assert head == store.head
    assert list(journal.read(location)) == list(store.entries)
