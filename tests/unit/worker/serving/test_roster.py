"""What is different from the configuration of a worker: stores that were added and released while it ran."""

from pathlib import Path

import pytest

from damocles.stores import persist, sealing
from damocles.worker.config import load
from damocles.worker.serving import roster

CONFIG = """
[worker]
home = "{base}/home"
[sector_manager]
rpc_client.addr = "http://127.0.0.1:1789"
[[sealing_thread]]
location = "{base}/one"
[[attached]]
name = "p1"
location = "{base}/p1"
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return a folder with stores and the home of a worker."""
    (tmp_path / "home").mkdir()
    for name in ("one", "two"):
        sealing.init(tmp_path / name)
    for name in ("p1", "p2"):
        persist.init(tmp_path / name)
    return tmp_path


def loaded(base: Path, more: str = "") -> load.Loaded:
    """Return the configuration of the worker."""
    (base / "worker.toml").write_text(CONFIG.format(base=base) + more.format(base=base))
    return load.load(base / "worker.toml")


async def noted(base: Path, changes: roster.Changes) -> roster.Book:
    """Return the book of a worker that has been started again."""
    await roster.Book(base / "home").write(changes)
    return roster.Book(base / "home")


def two(base: Path) -> roster.Changes:
    """Return that a store of each kind was added."""
    added = (
        roster.Added(kind="sealing", location=f"{base}/two", plan="snapup"),
        roster.Added(kind="persist", location=f"{base}/p2", name="p2", read_only=True),
    )
    return roster.Changes(added)


async def test_a_restart_keeps_what_was_added(base: Path) -> None:
    """Behind what the configuration has, so that numbers of threads stay."""
    found = (await noted(base, two(base))).applied(loaded(base))
    threads = [(str(one.location), one.plan) for one in found.config.sealing_thread]
    assert [(f"{base}/one", "sealer"), (f"{base}/two", "snapup")] == threads
    assert [("p1", False), ("p2", True)] == [(one.name, one.read_only) for one in found.persist_stores]


async def test_the_configuration_catches_up(base: Path) -> None:
    """What it has by now is its own, and what it no longer has need not be left out: both are forgotten."""
    gone = roster.Released(kind="sealing", location=f"{base}/elsewhere")
    book = await noted(base, roster.Changes(two(base).added, (gone,)))
    both = '[[sealing_thread]]\nlocation = "{base}/two"\n[[attached]]\nname = "p2"\nlocation = "{base}/p2"\n'
    found = book.applied(loaded(base, both))
    assert roster.Changes() == book.changes
    assert ["sealer", "sealer"] == [one.plan for one in found.config.sealing_thread]
    assert [("p1", False), ("p2", False)] == [(one.name, one.read_only) for one in found.persist_stores]


async def test_a_restart_keeps_what_was_released(base: Path) -> None:
    """As long as the configuration still names the store."""
    gone = roster.Released(kind="sealing", location=f"{base}/one", finish=True)
    book = await noted(base, roster.Changes((), (gone,)))
    book.applied(loaded(base))
    assert gone == book.released(base / "one")
    assert book.released(base / "two") is None


def test_a_damaged_file_keeps_no_worker_from_starting(base: Path) -> None:
    """It is as if there were none."""
    (base / "home" / roster.FILE_NAME).write_bytes(b'{"added":[')
    assert roster.Changes() == roster.Book(base / "home").changes
