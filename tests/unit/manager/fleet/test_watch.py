"""Live, late and lost workers."""

import anyio
import pytest
import structlog.testing
from sqlalchemy import exc

from damocles.manager.fleet import watch as fleet_watch
from damocles.manager.fleet import workers
from damocles.manager.fleet.watch import LATE, LIVE, LOST
from damocles.wire.fleet import WorkerInfo


class Registry:
    """A clock, and the registry of a manager whose watch hears every ping."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0
        self.pings: dict[str, float] = {}
        self.broken = False
        self.watch = self.started()

    def started(self, expiration_seconds: float = 600.0) -> fleet_watch.Watch:
        """Return the watch of a manager that starts now."""
        return fleet_watch.Watch(self.rows, lambda: self.now, expiration_seconds)

    async def rows(self) -> list[workers.Row]:
        """Read the registry."""
        if self.broken:
            raise exc.OperationalError("select", {}, Exception("disk I/O error"))
        return [workers.Row(WorkerInfo(name, f"{name}:17890"), at) for name, at in self.pings.items()]

    def ping(self, name: str = "w") -> None:
        """Let a worker ping."""
        self.pings[name] = self.now
        self.watch.heard(name)

    def status(self, name: str = "w", expiration_seconds: float | None = None) -> str:
        """Return a worker's status."""
        row = workers.Row(WorkerInfo(name, ""), self.pings[name])
        return self.watch.describe(row, expiration_seconds).status

    def transitions(self, name: str = "w") -> list[str]:
        """Return a worker's statuses so far."""
        row = workers.Row(WorkerInfo(name, ""), self.pings[name])
        return [transition.status for transition in self.watch.describe(row).transitions]


@pytest.fixture
def registry() -> Registry:
    """A registry without workers."""
    return Registry()


async def test_two_missed_pings_make_a_worker_late_and_silence_makes_it_lost(registry):
    """Without other knowledge pings are due each 30 s: after 75 s a worker is late, after ten minutes lost."""
    registry.ping()
    for seconds, status in ((74, LIVE), (2, LATE), (523, LATE), (2, LOST)):
        registry.now += seconds
        await registry.watch.check()
        assert status == registry.status(), registry.now
    registry.ping()
    assert LIVE == registry.status()
    assert [LIVE, LATE, LOST, LIVE] == registry.transitions()


async def test_a_ping_at_another_manager_counts_as_soon_as_its_row_is_read(registry):
    """A worker that pings another manager on the same database is live here, too, from the row alone."""
    registry.ping()
    for _ in range(4):
        registry.now += 30
        registry.pings["w"] = registry.now  # which this watch does not hear
        assert LIVE == registry.status()
    registry.now += 74
    assert LIVE == registry.status()
    registry.now += 2
    await registry.watch.check()
    assert LATE == registry.status()
    registry.pings["new"] = registry.now
    assert LIVE == registry.status("new")


@pytest.mark.parametrize("interval", [1.0, 120.0])
async def test_the_interval_is_learnt_from_the_pings(registry, interval):
    """After some pings late means two and a half of their intervals."""
    for _ in range(5):
        registry.ping()
        registry.now += interval
    registry.now -= interval
    registry.now += 2.4 * interval
    assert LIVE == registry.status()
    registry.now += 0.2 * interval
    assert LATE == registry.status()


async def test_an_interval_that_is_told_counts(registry):
    """A worker pings whenever something changes; late it is by the interval that it tells, if that is one."""
    for _ in range(6):
        registry.now += 1.0
        registry.watch.pinged(workers.Row(WorkerInfo("w", "w:1", ping_seconds=30.0), registry.now))
    registry.pings["w"] = registry.now
    registry.now += 74
    assert LIVE == registry.status()
    registry.now += 2
    assert LATE == registry.status()
    for nonsense in (0.0, -1.0, 1e300, float("nan")):
        registry.watch.pinged(workers.Row(WorkerInfo("w", "w:1", ping_seconds=nonsense), registry.now))
        assert 0 < registry.watch.describe(workers.Row(WorkerInfo("w", ""), registry.now)).interval_seconds < 100


async def test_an_outage_and_a_restart_do_not_change_the_interval(registry):
    """One long and one short gap between pings are not taken for the interval."""
    for gap in (10, 10, 10, 300, 2, 0):
        registry.ping()
        registry.now += gap
    row = workers.Row(WorkerInfo("w", ""), registry.now)
    assert 10 == registry.watch.describe(row).interval_seconds


async def test_transitions_are_logged(registry):
    """Each change of status is one line that names the worker."""
    with structlog.testing.capture_logs() as lines:
        registry.ping()
        registry.now += 700
        await registry.watch.check()
        registry.ping()
    assert [
        ("info", "worker joined", None),
        ("error", "worker status", LOST),
        ("info", "worker status", LIVE),
    ] == [(line["log_level"], line["event"], line.get("status")) for line in lines]
    assert {"w"} == {line["worker"] for line in lines}


async def test_another_expiration_may_be_asked_for(registry):
    """Whoever asks may be less patient than the manager; that changes nothing for others."""
    registry.ping()
    registry.now += 5
    assert (LOST, LIVE) == (registry.status(expiration_seconds=1), registry.status())


async def test_time_without_a_manager_does_not_count(registry):
    """After an hour of downtime, workers that had pinged until the end are live, one that had not is as late as then."""
    registry.pings = {"well": registry.now, "late": registry.now - 100, "lost": registry.now - 5000}
    registry.now += 3600
    registry.watch = registry.started()
    await registry.watch.load()
    assert {"well": LIVE, "late": LATE, "lost": LOST} == {name: registry.status(name) for name in registry.pings}
    registry.now += 80
    await registry.watch.check()
    assert (LATE, [LATE]) == (registry.status("well"), registry.transitions("well"))


async def test_pings_to_another_manager_count(registry):
    """Before a worker is called late, the shared registry is read."""
    registry.ping()
    registry.now += 70
    registry.pings["w"] = registry.now
    registry.now += 10
    await registry.watch.check()
    assert (LIVE, [LIVE]) == (registry.status(), registry.transitions())


async def test_a_removed_worker_is_forgotten(registry):
    """Removed here or by another manager, it leaves no events."""
    registry.ping("a")
    registry.ping("b")
    registry.watch.forget("a")
    del registry.pings["a"], registry.pings["b"]
    await registry.watch.check()
    registry.pings = {"a": registry.now, "b": registry.now}
    assert ([], []) == (registry.transitions("a"), registry.transitions("b"))


async def test_a_registry_that_cannot_be_read_does_not_end_the_watch(registry):
    """The watch goes by the pings it has heard."""
    registry.ping()
    registry.now += 100
    registry.broken = True
    await registry.watch.check()
    assert LATE == registry.status()


async def test_the_timer_goes_off_by_itself(registry):
    """A worker becomes lost without anybody asking, also one that joins later and is due sooner."""
    watch = fleet_watch.Watch(registry.rows, anyio.current_time, expiration_seconds=0.05)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.run)
        await anyio.wait_all_tasks_blocked()
        with structlog.testing.capture_logs() as lines:
            registry.pings["w"] = anyio.current_time()
            watch.heard("w")
            with anyio.fail_after(60):
                while not any(line.get("status") == LOST for line in lines):
                    await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
