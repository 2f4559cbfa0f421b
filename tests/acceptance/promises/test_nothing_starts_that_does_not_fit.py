"""What a machine has no memory or room for waits for it, and says so."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from damocles.testing.farm import Farm, cli, stop, wait_until
from damocles.wire import control

from . import stages
from .stages import PATIENCE_SECONDS, Hand

MEMORY = """
[processors.admission]
memory = "4GiB"
[processors.costs.pc1."2KiB"]
memory = "3GiB"
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_stages_that_do_not_fit_together_wait_for_memory(tmp_path: Path) -> None:
    """Three PC1 of 3 GiB on a machine with 4: one runs, the others name it, and all are done in the end, one by one."""
    hand = Hand(tmp_path / "hand")
    with Farm(tmp_path, threads=3, parameters=tmp_path, max_sectors=3, processors=hand.processors("pc1") + MEMORY) as f:
        f.start_manager()
        hand.hold("pc1")
        f.start_worker()
        hand.held("pc1", 1)
        next_one, other = wait_until(lambda: _waits_of_two(f), "two wait for the memory of one", PATIENCE_SECONDS)
        (running,) = (one for one in stages.details(f) if one.info.thread_state.state == "Running")
        line = f"memory (needs 3GiB, 1GiB free; PC1 of {running.sector} holds 3GiB)"
        assert next_one.waiting is not None
        assert other.waiting is not None
        assert line == next_one.waiting.what
        assert f"start of pc1 (PC1 of {next_one.sector} is next, and waits for memory)" == other.waiting.what
        assert line in cli(*stages.ours(f, "list", "--why")).stdout
        granted = f"granted  +3GiB +memory, to PC1 of {running.sector}"
        shown = cli("damocles-worker", "hwinfo", "-c", str(f.config)).stdout
        assert re.search(granted.replace("  +", " +"), shown), shown
        assert len(hand.pids("pc1", "begun")) == 1
        hand.release("pc1")
        for index in range(3):
            stages.unproven(f, index)
        assert {"PC1": 1, "Failed": 1} == stages.counts(f, 0, "PC1", "Failed")


def _waits_of_two(f: Farm) -> list[control.ThreadDetail] | None:
    """Return the two threads that wait for memory, if there are two, the one first that lacks it itself."""
    waits = [one for one in stages.details(f) if one.waiting is not None and "memory" in one.waiting.what]
    return sorted(waits, key=lambda one: one.waiting.what if one.waiting else "") if len(waits) == 2 else None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a file system of its own with 96 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(place)], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_disk_keeps_its_room_for_a_sector_over_a_restart(small_disk: Path, tmp_path: Path) -> None:
    """Two stores on a disk for one sector of 8MiB, which takes 58: the second thread begins none, before and after a restart."""
    hand = Hand(tmp_path / "hand")
    with Farm(
        small_disk, threads=2, size="8MiB", parameters=tmp_path, processors=hand.processors("pc1"), seal_interval="1s"
    ) as f:
        f.start_manager()
        hand.hold("pc1")
        for runs in (1, 2):
            f.start_worker()
            hand.held("pc1", runs)
            told = wait_until(
                lambda: [one for one in stages.details(f) if one.waiting and "room in" in one.waiting.what],
                "one waits for room",
                PATIENCE_SECONDS,
            )
            (waiting,) = told
            assert waiting.sector is None
            assert waiting.waiting is not None
            assert "kept for sectors in other stores on its disk" in waiting.waiting.what
            assert shutil.disk_usage(small_disk).free > 58 << 20, "what is free would have done"
            assert f.worker is not None
            stop(f.worker)
