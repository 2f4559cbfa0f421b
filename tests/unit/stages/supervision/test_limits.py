"""Claims: who gets what, in which order, and what the others are told."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import anyio
import anyio.abc
import pytest

from damocles.stages.supervision import limits


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.time = 0.0
        self._moved = anyio.Event()

    def now(self) -> float:
        """Tell the time."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """Wait until time has moved that far."""
        end = self.time + seconds
        while self.time < end:
            await self._moved.wait()

    async def advance(self, seconds: float) -> None:
        """Move time, and let everybody react."""
        self.time += seconds
        self._moved.set()
        self._moved = anyio.Event()
        await anyio.wait_all_tasks_blocked()


class Tasks:
    """Claims made by tasks, and what became of them."""

    def __init__(self, desk: limits.Desk, group: anyio.abc.TaskGroup) -> None:
        self.desk = desk
        self.group = group
        self.got: dict[str, limits.Claim] = {}
        self.order: list[str] = []
        self.waits: dict[str, list[str]] = {}
        self.scopes: dict[str, anyio.CancelScope] = {}

    async def start(self, name: str, stage: str, places: Sequence[limits.Place], **needs: int) -> None:
        """Let a task ask for a claim."""

        async def run() -> None:
            with anyio.CancelScope() as scope:
                self.scopes[name] = scope
                claim = await self.desk.claim(
                    stage, places, lambda what: self.waits.setdefault(name, []).append(what), needs=needs, label=name
                )
                self.got[name] = claim
                self.order.append(name)

        self.group.start_soon(run)
        await anyio.wait_all_tasks_blocked()

    async def release(self, name: str) -> None:
        """Let a task give its claim back."""
        self.got.pop(name).release()
        await anyio.wait_all_tasks_blocked()

    async def cancel(self, name: str) -> None:
        """Cancel a task that waits."""
        self.scopes[name].cancel()
        await anyio.wait_all_tasks_blocked()


@contextlib.asynccontextmanager
async def claiming(desk: limits.Desk) -> AsyncIterator[Tasks]:
    """Let tasks make claims; those that still wait at the end are cancelled."""
    async with anyio.create_task_group() as group:
        yield Tasks(desk, group)
        group.cancel_scope.cancel()


def place(name: str = "child", **kwargs: Any) -> limits.Place:
    """Return a place whose child runs."""
    return limits.Place(name=name, state="open", **kwargs)


def make_desk(
    clock: Clock | None = None,
    concurrent: Mapping[str, int] | None = None,
    staggered: Mapping[str, float] | None = None,
    locks: Mapping[str, int] | None = None,
    capacity: Mapping[str, int] | None = None,
) -> limits.Desk:
    """Return a desk on a clock that stands still unless moved."""
    clock = clock or Clock()
    return limits.Desk(
        concurrent=concurrent or {},
        staggered=staggered or {},
        locks=locks or {},
        capacity=capacity,
        now=clock.now,
        sleep=clock.sleep,
    )


async def test_limit_is_kept_and_served_in_order() -> None:
    """A limit of one lets one through, the rest in the order of arrival, and says what they wait for."""
    async with claiming(make_desk(concurrent={"c2": 1})) as tasks:
        for name in "abc":
            await tasks.start(name, "c2", [place()])
        assert ["a"] == tasks.order
        assert {"b": ["slot of c2 (limit 1)"], "c": ["slot of c2 (limit 1)"]} == tasks.waits
        await tasks.release("a")
        await tasks.release("b")
        assert ["a", "b", "c"] == tasks.order


async def test_stages_do_not_wait_for_each_other() -> None:
    """The limit of one stage is no business of another."""
    async with claiming(make_desk(concurrent={"c2": 1})) as tasks:
        await tasks.start("a", "c2", [place()])
        await tasks.start("b", "pc1", [place()])
        assert ["a", "b"] == tasks.order


async def test_most_free_place_is_taken() -> None:
    """Of several children with room, the one with the most free capacity gets the task; a running one before others."""
    small, big = place("small", capacity=1), place("big", capacity=3)
    async with claiming(make_desk()) as tasks:
        await tasks.start("a", "pc2", [small, big])
        await tasks.start("b", "pc2", [small, big])
        assert ["big", "big"] == [tasks.got[name].place.name for name in "ab"]
        cold, warm = place("cold"), place("warm", warm=True)
        await tasks.start("c", "c2", [cold, warm])
        assert "warm" == tasks.got["c"].place.name


async def test_first_place_to_free_serves_the_first_waiter() -> None:
    """When all are busy, whichever frees first takes the task, not the first one in the configuration."""
    one, two = place("one"), place("two")
    async with claiming(make_desk()) as tasks:
        await tasks.start("a", "pc2", [one, two])
        await tasks.start("b", "pc2", [one, two])
        await tasks.start("c", "pc2", [one, two])
        assert ["child of pc2 (2 busy)"] == tasks.waits["c"]
        busy = {tasks.got[name].place.name: name for name in "ab"}
        await tasks.release(busy["two"])
        assert "two" == tasks.got["c"].place.name


async def test_locks_in_opposite_order_do_not_block_each_other() -> None:
    """Two groups that list the same locks in different order never wait for each other for good."""
    ab, ba = place("ab", locks=("a", "b"), capacity=None), place("ba", locks=("b", "a"), capacity=None)
    async with claiming(make_desk(locks={"a": 1, "b": 1})) as tasks:
        for round_ in range(5):
            await tasks.start(f"x{round_}", "pc2", [ab])
            await tasks.start(f"y{round_}", "c2", [ba])
        for _ in range(10):
            assert 1 == len(tasks.got)
            await tasks.release(next(iter(tasks.got)))
        assert [f"{who}{round_}" for round_ in range(5) for who in "xy"] == tasks.order


async def test_waiter_for_two_locks_is_not_overtaken_for_ever() -> None:
    """Who waits for two locks gets both, although others keep asking for one of them."""
    both, only_a, only_b = place(locks=("a", "b")), place(locks=("a",), capacity=9), place(locks=("b",), capacity=9)
    async with claiming(make_desk(locks={"a": 1, "b": 1})) as tasks:
        await tasks.start("a1", "pc2", [only_a])
        await tasks.start("both", "c2", [both])
        await tasks.start("b1", "pc2", [only_b])
        assert ["lock a"] == tasks.waits["both"]
        assert "b1" not in tasks.got
        await tasks.release("a1")
        assert "both" in tasks.got


async def test_nothing_is_held_while_waiting() -> None:
    """A task that waits for a lock holds neither the slot of its stage nor a place at a child."""
    gpu, other = place("gpu", locks=("gpu0",)), place("other")
    async with claiming(make_desk(concurrent={"pc2": 1}, locks={"gpu0": 1})) as tasks:
        await tasks.start("c2", "c2", [place(locks=("gpu0",))])
        await tasks.start("waits", "pc2", [gpu])
        await tasks.start("goes", "pc2", [other])
        assert ["lock gpu0"] == tasks.waits["waits"]
        assert "goes" in tasks.got


async def test_cancelled_waiter_leaves_no_trace() -> None:
    """Who is cancelled while waiting frees the way for those behind."""
    async with claiming(make_desk(locks={"a": 1, "b": 1})) as tasks:
        await tasks.start("a1", "x", [place(locks=("a",))])
        await tasks.start("both", "y", [place(locks=("a", "b"))])
        await tasks.start("b1", "z", [place(locks=("b",))])
        assert "b1" not in tasks.got
        await tasks.cancel("both")
        assert "b1" in tasks.got


async def test_starts_keep_their_distance() -> None:
    """Starts of a staggered stage lie at least the interval apart, also when a running task ends in between."""
    clock = Clock()
    async with claiming(make_desk(clock, staggered={"pc1": 60})) as tasks:
        for name in "abc":
            await tasks.start(name, "pc1", [place()])
        assert ["start of pc1 (60s after the last one)"] == tasks.waits["b"]
        await tasks.release("a")
        await clock.advance(59)
        assert ["a"] == tasks.order
        await clock.advance(1)
        assert ["a", "b"] == tasks.order
        await clock.advance(59)
        assert ["a", "b"] == tasks.order
        await clock.advance(1)
        assert ["a", "b", "c"] == tasks.order


async def test_cancelled_while_staggered() -> None:
    """Waiting for the distance can be cancelled, and does not count as a start."""
    clock = Clock()
    async with claiming(make_desk(clock, staggered={"pc1": 60})) as tasks:
        for name in "abc":
            await tasks.start(name, "pc1", [place()])
        await tasks.cancel("b")
        await clock.advance(60)
        assert ["a", "c"] == tasks.order


async def test_closed_place_takes_nobody_until_it_opens() -> None:
    """A child that restarts gets no task; the waiter is told, and goes on when the child is back."""
    child = limits.Place(name="child")
    desk = make_desk()
    async with claiming(desk) as tasks:
        await tasks.start("a", "pc2", [child])
        assert ["child of pc2 (restarting)"] == tasks.waits["a"]
        child.state = "open"
        desk.changed()
        await anyio.wait_all_tasks_blocked()
        assert "a" in tasks.got


async def test_waiting_ends_when_all_places_are_gone() -> None:
    """Nobody waits for children that will not come back."""
    child = place(capacity=1)
    desk = make_desk()
    claim = await desk.claim("pc2", [child], print)
    async with anyio.create_task_group() as group:

        async def wait() -> None:
            with pytest.raises(limits.PlacesGone):
                await desk.claim("pc2", [child], lambda _: None)

        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        child.state = "gone"
        desk.changed()
    claim.release()
    assert 0 == child.taken


async def test_second_release_does_nothing() -> None:
    """Releasing twice does not free what somebody else holds."""
    child = place()
    desk = make_desk()
    first = await desk.claim("pc2", [child], print)
    first.release()
    await desk.claim("pc2", [child], print)
    first.release()
    assert 1 == child.taken


def test_limit_of_zero_is_refused() -> None:
    """A limit that lets nothing through is a mistake, not a way to wait for ever."""
    with pytest.raises(ValueError, match="concurrent limit of stage pc1 is 0"):
        make_desk(concurrent={"pc1": 0})
    with pytest.raises(ValueError, match="capacity of lock gpu0 is 0"):
        make_desk(locks={"gpu0": 0})


async def test_machine_and_limits_hold_together() -> None:
    """A task starts when its slot is free and the machine has room, and hears which of them it waits for."""
    async with claiming(make_desk(concurrent={"c2": 1}, capacity={"cores": 4})) as tasks:
        await tasks.start("pc1", "pc1", [place()], cores=3)
        await tasks.start("a", "c2", [place()], cores=2)
        await tasks.start("b", "c2", [place()], cores=1)
        assert ["pc1"] == tasks.order
        assert {
            "a": ["cores (needs 2, 1 free; pc1 holds 3)"],
            "b": ["start of c2 (a is next, and waits for cores)"],
        } == tasks.waits
        assert [{"cores": 3}] == [request.needs for request in tasks.desk.granted()]
        await tasks.release("pc1")
        assert ["pc1", "a"] == tasks.order
        await tasks.release("a")
        assert ["pc1", "a", "b"] == tasks.order


async def test_slot_is_kept_for_who_waits_for_the_machine() -> None:
    """Else small tasks of the same stage would take it over and over, and the large one would never start."""
    async with claiming(make_desk(concurrent={"pc1": 1}, locks={"l": 1}, capacity={"memory": 10})) as tasks:
        await tasks.start("pc2", "pc2", [place()], memory=5)
        await tasks.start("large", "pc1", [place(locks=("l",))], memory=10)
        await tasks.start("small", "pc1", [place()], memory=1)
        await tasks.start("lock", "c2", [place(locks=("l",))])
        assert ["pc2"] == tasks.order
        await tasks.release("pc2")
        assert ["pc2", "large"] == tasks.order


async def test_cancelled_in_the_queue_lets_the_others_go_on() -> None:
    """Whoever stood behind a large task starts when that does not want to any more."""
    async with claiming(make_desk(capacity={"memory": 10})) as tasks:
        await tasks.start("a", "pc2", [place()], memory=5)
        await tasks.start("large", "pc1", [place()], memory=10)
        await tasks.start("small", "c1", [place()], memory=1)
        assert {
            "large": ["memory (needs 10B, 5B free; a holds 5B)"],
            "small": ["memory (large is next, and needs 10B)"],
        } == (tasks.waits)
        tasks.scopes["large"].cancel()
        await anyio.wait_all_tasks_blocked()
        assert ["a", "small"] == tasks.order


async def test_what_never_fits_is_refused_at_once() -> None:
    """It does not wait, and keeps nobody waiting."""
    desk = make_desk(capacity={"memory": 10})
    with pytest.raises(limits.NeverFits, match="needs 11B of memory, this machine has 10B"):
        await desk.claim("pc1", [place()], lambda _: None, needs={"memory": 11})
    assert [] == desk.granted()
    await desk.claim("pc1", [place()], lambda _: None, needs={"memory": 10})
    assert 1 == len(desk.granted())
