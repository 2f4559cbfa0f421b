"""One look for all pages: made while somebody watches, shared by whoever asks, and not more often than it costs."""

import anyio
from tests.security.browsing import thread

from damocles.manager.dashboard import looks
from damocles.wire import control


class Fleet:
    """Counts how often it is looked at."""

    def __init__(self) -> None:
        self.looked = 0
        self.fails = False

    async def threads(self) -> control.FleetThreads:
        """Return nothing."""
        self.looked += 1
        await anyio.sleep(0)
        if self.fails:
            raise RuntimeError("told by nobody")
        return control.FleetThreads()

    async def workers(self) -> list[control.WorkerStatus]:
        """Return nothing."""
        return []

    def looks(self) -> looks.Looks:
        """Return what looks at it."""
        return looks.Looks(self.threads, self.workers, lambda: 7.0)


async def test_pages_share_a_look():
    """Many that ask at once are answered by one look, and so is whoever asks soon after."""
    fleet = Fleet()
    look = fleet.looks()
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(look.seen)
    assert (1, 1) == (fleet.looked, (await look.seen()).number)


async def test_after_an_act_it_looks_anew():
    """A page after an act shows what came of it."""
    fleet = Fleet()
    look = fleet.looks()
    await look.seen()
    look.forget()
    assert 2 == (await look.seen()).number


async def test_nobody_watches_nobody_looks(monkeypatch):
    """The workers are asked while somebody watches, and those who wait hear of each look."""
    monkeypatch.setattr(looks, "LEAST_SECONDS", 0.001)
    monkeypatch.setattr(looks, "REST_FACTOR", 0.0)
    fleet = Fleet()
    look = fleet.looks()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look.run)
        await anyio.wait_all_tasks_blocked()
        assert 0 == fleet.looked
        with look.watched():
            with anyio.fail_after(60):
                assert 3 <= (await look.after(2)).number
        await anyio.wait_all_tasks_blocked()
        before = fleet.looked
        for _ in range(10):
            await anyio.sleep(0.002)
        assert fleet.looked <= before + 1
        tasks.cancel_scope.cancel()


async def test_a_look_that_fails_is_followed_by_another(monkeypatch):
    """Whatever goes wrong at one look, the next one comes after the pause."""
    monkeypatch.setattr(looks, "LEAST_SECONDS", 0.001)
    fleet = Fleet()
    fleet.fails = True
    look = fleet.looks()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look.run)
        with look.watched(), anyio.fail_after(60):
            while fleet.looked < 3:
                await anyio.sleep(0.001)
            fleet.fails = False
            assert 1 == (await look.after(0)).number
        tasks.cancel_scope.cancel()


async def test_what_hangs_holds_up_no_page():
    """While a look waits for a worker that hangs, pages are made of the last one; after an act they wait for a new one."""
    fleet = Fleet()
    look = fleet.looks()
    first = await look.seen()
    look._looked -= 2 * looks.STALE_SECONDS
    hanging = anyio.Event()
    answering = fleet.threads

    async def hang() -> control.FleetThreads:
        await hanging.wait()
        return await answering()

    look._threads = hang
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look.seen)
        await anyio.wait_all_tasks_blocked()
        assert first is await look.seen()
        look.forget()
        with anyio.move_on_after(0.01) as waiting:
            await look.seen()
        assert waiting.cancelled_caught
        hanging.set()
    assert 2 == fleet.looked


async def test_a_large_fleet_is_not_looked_at_twice(monkeypatch):
    """Where a look is dear, pages show what the alerts have found; after an act, or when nobody else looks, an own look."""
    monkeypatch.setattr(looks, "LEAST_SECONDS", 0.001)
    monkeypatch.setattr(looks, "REST_FACTOR", 0.0)
    monkeypatch.setattr(looks, "DEAR_SECONDS", 0.0)
    fleet, now = Fleet(), 10.0
    others = looks.Found(5.0, [], control.FleetThreads())
    look = looks.Looks(fleet.threads, fleet.workers, lambda: now, others=lambda: others)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look.run)
        with look.watched(), anyio.fail_after(60):
            first = await look.after(0)
            assert (1, 10.0) == (fleet.looked, first.at)
            others = looks.Found(40.0, [], control.FleetThreads())
            borrowed = await look.after(first.number)
            assert (1, 40.0) == (fleet.looked, borrowed.at)
            assert borrowed is await look.seen()
            now = 50.0
            look.forget()
            assert 50.0 == (await look.after(borrowed.number)).at
            assert 2 == fleet.looked
        tasks.cancel_scope.cancel()


async def test_the_first_page_of_a_large_fleet_waits_for_no_look(monkeypatch):
    """Whoever opens one sees what somebody else has just found, as long as that is not old and nothing was done since."""
    monkeypatch.setattr(looks, "LARGE_THREADS", 1)
    monkeypatch.setattr(looks, "STALE_SECONDS", 0.0)
    fleet, now = Fleet(), 100.0
    others = looks.Found(90.0, [], control.FleetThreads(threads=[thread()]))
    look = looks.Looks(fleet.threads, fleet.workers, lambda: now, others=lambda: others)
    first = await look.seen()
    assert (0, 90.0) == (fleet.looked, first.at)
    assert first is await look.seen()
    others = looks.Found(99.0, [], others.threads)
    assert 99.0 == (await look.seen()).at
    look.forget()
    assert (100.0, 1) == ((await look.seen()).at, fleet.looked)
    now = 1000.0
    assert (1000.0, 2) == ((await look.seen()).at, fleet.looked)
