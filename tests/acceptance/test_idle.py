"""What daemons do that have nothing to do."""

import time

import pytest

from damocles.testing import farm

WATCHED_SECONDS = 5.0
MOST_WAKES = 3


@pytest.mark.timeout(180)
def test_idle_daemons_sleep(tmp_path):
    """Between two pings, and two looks at the alerts, nothing wakes a manager or a worker every second."""
    with farm.Farm(tmp_path, parameters=tmp_path, max_sectors=0, ping_interval="1h", seal_interval="1h") as f:
        f.start_manager()
        f.start_worker()
        assert f.manager is not None
        assert f.worker is not None
        pids = (f.manager.pid, f.worker.pid)

        def sleeps() -> bool:
            before = [farm.wakes(pid) for pid in pids]
            time.sleep(WATCHED_SECONDS)
            return all(farm.wakes(pid) - count <= MOST_WAKES for pid, count in zip(pids, before, strict=True))

        # What comes after the start, or every half minute, may fall into the first windows.
        farm.wait_until(sleeps, f"five seconds with at most {MOST_WAKES} wakes", seconds=60)
