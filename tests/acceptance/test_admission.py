"""A worker in a control group of its own, that leaves it 4 GiB."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from damocles.testing.farm import Farm, cli, wait_until

from .promises import stages
from .promises.stages import PATIENCE_SECONDS, Hand

LIMIT = 4 << 30
COST = '\n[processors.costs.c2."2KiB"]\nmemory = "2.5GiB"\n'
_MEMORY = Path("/sys/fs/cgroup/memory")  # version 1; of version 2, the folder above


def own_group() -> Path:
    """Return the folder of this process's own group."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    by_controller = {name: path for _, names, path in lines for name in names.split(",")}
    if _MEMORY.is_dir():
        return _MEMORY / by_controller["memory"].lstrip("/")
    return _MEMORY.parent / by_controller[""].lstrip("/")


@pytest.fixture
def limited() -> Iterator[Path]:
    """Return a control group with 4 GiB, made for the test."""
    top = _MEMORY if _MEMORY.is_dir() else _MEMORY.parent
    group = top / f"damocles-test-{os.getpid()}"
    limit = group / ("memory.limit_in_bytes" if _MEMORY.is_dir() else "memory.max")
    try:
        group.mkdir()
    except OSError:
        pytest.skip("no control group can be made here")
    try:
        if not limit.exists():
            pytest.skip("control groups have no limit of memory here")
        limit.write_text(str(LIMIT))
        yield group
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text(), "the group is left")
        group.rmdir()


@contextmanager
def within(group: Path) -> Iterator[None]:
    """Start processes in a group, by being there for a moment."""
    before = own_group()
    (group / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield
    finally:
        (before / "cgroup.procs").write_text(str(os.getpid()))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_c2_never_run_at_once_where_there_is_memory_for_one(limited: Path, tmp_path: Path) -> None:
    """The limit for C2 is two, and the group's memory is for one: one runs, the other waits, and hears for what."""
    hand = Hand(tmp_path / "hand")
    with Farm(tmp_path, threads=2, parameters=tmp_path, max_sectors=2, processors=hand.processors("c2") + COST) as f:
        f.config.write_text(f.config.read_text().replace("c2 = 1", "c2 = 2"))
        f.start_manager()
        hand.hold("c2")
        with within(limited):
            f.start_worker()
        hand.held("c2", 1)
        (waits,) = wait_until(
            lambda: [one for one in stages.details(f) if one.waiting and "memory" in one.waiting.what],
            "one waits for memory",
            PATIENCE_SECONDS,
        )
        (runs,) = (one for one in stages.details(f) if one.info.thread_state.state == "Running")
        assert waits.waiting is not None
        line = f"memory (needs 2.5GiB, 1.5GiB free; C2 of {runs.sector} holds 2.5GiB)"
        assert line == waits.waiting.what
        assert "4GiB" in cli("damocles-worker", "hwinfo", "-c", str(f.config)).stdout
        assert 1 == len(hand.pids("c2", "begun"))
        hand.release("c2")
        for index in (0, 1):  # without parameters: but each has had its turn
            stages.unproven(f, index)
        assert 2 == len(hand.pids("c2", "begun"))
