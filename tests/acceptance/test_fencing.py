"""A worker that was cut off comes back late: what belongs to another by then stays as it is."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from damocles.testing import farm
from damocles.testing.farm import Farm, wait_until

from . import plan_farms

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def persisted(f: Farm) -> dict[str, tuple[int, int, bytes]]:
    """Return inode, time and bytes of each file that is persisted."""
    found = [path for part in ("sealed", "cache") for path in (f.base / "persist" / part).rglob("*") if path.is_file()]
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def frozen(marks: Path, f: Farm) -> None:
    """Wait until a process has stopped itself, and stop the rest of the machine."""
    wait_until(lambda: list(marks.iterdir()), "the point is reached")
    assert f.worker is not None
    os.kill(f.worker.pid, signal.SIGSTOP)


def wake(f: Farm) -> None:
    """Let the worker and its children go on."""
    assert f.worker is not None
    with suppress(psutil.NoSuchProcess):  # has ended as it should, or the test fails for another reason
        for process in (*psutil.Process(f.worker.pid).children(recursive=True), psutil.Process(f.worker.pid)):
            process.send_signal(signal.SIGCONT)


def _told(farm_: Farm) -> list[dict[str, Any]] | None:
    rows = farm_.ask_manager("ListSectors", ["online", 0], list[dict[str, Any]])
    return rows if "No cached" in str(rows) else None


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("handler.before:PC2Done", id="submission"),
        pytest.param("sync:.s-t*", id="in the middle of a copy"),
        pytest.param("handler.after:PCLanded", id="report of a copy"),
    ],
)
def test_a_worker_that_was_frozen_changes_nothing_when_it_comes_back(tmp_path: Path, point: str) -> None:
    """SIGSTOP a worker, give its sector to another one, SIGCONT: files and records are those of the second."""
    marks = tmp_path / "marks"
    marks.mkdir()
    first = Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=1, seal_interval="1h")
    with first:
        first.start_manager()
        first.start_worker(DAMOCLES_FAILPOINTS=f"{point}=stop", DAMOCLES_FAILPOINTS_ONCE=str(marks))
        frozen(marks, first)
        second = first.moved(tmp_path / "second", "second-worker")
        try:
            second.start_worker()
            wait_until(
                lambda: second.thread(0).job_state == "C1Done" and "No cached" in (second.thread(0).last_error or ""),
                "the second worker goes on",
            )
            theirs = persisted(first)
            assert theirs
            # Its last report goes beside its work: the record is whole once it says why the thread stands still.
            row = wait_until(lambda: _told(first), "the manager hears why the second one waits")
            wake(first)
            wait_until(
                lambda: "is over: attempt" in (first.thread(0).last_error or ""), "the first one hears that it is late"
            )
            assert "abort the sector here" in (first.thread(0).last_error or "")
            assert first.thread(0).thread_state.state == "Paused"
            assert persisted(first) == theirs
            assert first.ask_manager("ListSectors", ["online", 0], list[dict[str, Any]]) == row
            assert second.worker is not None
            assert farm.stop(second.worker) == 0
            assert plan_farms.sector_of(second).pc2out is not None
        finally:
            if second.worker is not None:
                farm.stop(second.worker)
            wake(first)
