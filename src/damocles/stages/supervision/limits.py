"""Who may start which stage now: limits, distances between starts, places at children, and named locks.

A claim names everything that a task needs, and gets all of it at once or nothing. So nobody holds one thing while
waiting for another, and two claims cannot block each other for ever, in whatever order their locks are written.
Claims are served first come, first served; a later one goes ahead only where that takes nothing from an earlier one.
What the machine has is part of it: `admission.grants` decides about that.
"""

import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import anyio

from damocles.stages.admission import grants

Sleep = Callable[[float], Awaitable[object]]


class PlacesGone(Exception):
    """No child is left that could do the task, and none will come back."""


class NeverFits(Exception):
    """The machine has less than the task needs, however long it waits; the message names the resource."""


@dataclass(slots=True, kw_only=True, eq=False)
class Place:
    """Room at one child: how many tasks it takes at a time (None: any number), and the locks that each needs."""

    name: str
    capacity: int | None = 1
    locks: tuple[str, ...] = ()
    # `closed` while its child restarts, `gone` when that will not come back.
    state: Literal["open", "closed", "gone"] = "closed"
    warm: bool = False  # the child is running: better than starting another
    taken: int = 0

    @property
    def free(self) -> int:
        """Tasks that can still be taken; 64 stands for any number, as in the original."""
        return (64 if self.capacity is None else self.capacity) - self.taken

    @property
    def has_room(self) -> bool:
        """Whether a task can be taken now."""
        return self.state == "open" and (self.capacity is None or self.free > 0)


class Claim:
    """What one task has got; `release` gives it back, once."""

    def __init__(self, desk: "Desk", stage: str, place: Place, request: grants.Request) -> None:
        self._desk: Desk | None = desk
        self.stage = stage
        self.place = place
        self.request = request

    def release(self) -> None:
        """Give everything back; a second call does nothing."""
        if self._desk is not None:
            desk, self._desk = self._desk, None
            desk._take_back(self)  # noqa: SLF001 - a claim is the desk's own


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """How many tasks of each stage run and wait, and how many may run at once where that is limited."""

    running: Mapping[str, int]
    waiting: Mapping[str, int]
    limits: Mapping[str, int]


@dataclass(slots=True, kw_only=True, eq=False)
class _Waiter:
    stage: str
    places: Sequence[Place]
    request: grants.Request
    never: str | None = None  # why it can never start
    reason: str = ""
    wake_at: float | None = None
    claim: Claim | None = None
    gone: bool = False
    news: anyio.Event = field(default_factory=anyio.Event)

    def tell(self, reason: str, wake_at: float | None = None) -> None:
        """Note why it waits; wake its task if that is new."""
        if (reason, wake_at) != (self.reason, self.wake_at):
            self.reason, self.wake_at = reason, wake_at
            self.news.set()


class Desk:
    """Hands out claims.

    Args:
        concurrent: How many tasks of a stage may run at a time.
        staggered: How many seconds lie at least between two starts of a stage.
        locks: How many tasks may hold a named lock at a time.
        capacity: What the machine has for tasks (see `grants`).
        now: Clock in seconds.
        sleep: Waits that many seconds of the same clock.

    Raises:
        ValueError: A limit is below 1, so that nothing could ever start.
    """

    def __init__(
        self,
        *,
        concurrent: Mapping[str, int],
        staggered: Mapping[str, float],
        locks: Mapping[str, int],
        capacity: grants.Amounts | None = None,
        now: Callable[[], float] = anyio.current_time,
        sleep: Sleep = anyio.sleep,
    ) -> None:
        for what, limits in (("concurrent limit of stage", concurrent), ("capacity of lock", locks)):
            for name, limit in limits.items():
                if limit < 1:
                    raise ValueError(f"{what} {name} is {limit}: nothing could ever start, use 1 or more")
        self._concurrent = concurrent
        self._staggered = staggered
        self._locks = locks
        self._capacity = capacity or {}
        self._numbers = itertools.count()
        self._granted: dict[int, grants.Request] = {}
        self._now = now
        self._sleep = sleep
        self._running: dict[str, int] = {}
        self._held: dict[str, int] = {}
        self._last_start: dict[str, float] = {}
        self._waiting: dict[_Waiter, None] = {}

    def check_locks(self, names: Sequence[str]) -> None:
        """Raise `ValueError` if a lock has no capacity."""
        for name in names:
            if name not in self._locks:
                raise ValueError(
                    f"lock {name} is not in processors.ext_locks ({', '.join(self._locks) or 'which is empty'})"
                )

    def occupancy(self) -> Occupancy:
        """Return how the limits are used at the moment."""
        return Occupancy(
            running=dict(self._running),
            waiting=Counter(waiter.stage for waiter in self._waiting),
            limits=self._concurrent,
        )

    def granted(self) -> list[grants.Request]:
        """Return what runs at the moment and takes something of the machine, oldest first."""
        return [one for one in self._granted.values() if one.needs]

    async def claim(
        self,
        stage: str,
        places: Sequence[Place],
        on_wait: Callable[[str], None],
        *,
        needs: grants.Amounts | None = None,
        label: str = "",
    ) -> Claim:
        """Wait for everything that a task of `stage` at one of `places` needs.

        `on_wait` is called with what the task waits for, whenever that changes. `needs` is what it takes of the machine, and
        `label` its name for others that wait for it.

        Raises:
            PlacesGone: All places are gone.
            NeverFits: The machine has less than it needs.
        """
        request = grants.Request(number=next(self._numbers), label=label or stage, needs=needs or {})
        waiter = _Waiter(stage=stage, places=places, request=request)
        self._waiting[waiter] = None
        try:
            self.changed()
            reported = ""
            while waiter.claim is None and not waiter.gone and waiter.never is None:
                if waiter.reason != reported:
                    reported = waiter.reason
                    on_wait(reported)
                await self._wait_for_news(waiter)
        except BaseException:
            if waiter.claim is not None:
                waiter.claim.release()
            raise
        finally:
            if waiter in self._waiting:
                del self._waiting[waiter]
                self.changed()  # others may have stood behind it
        if waiter.never is not None:
            raise NeverFits(waiter.never)
        if waiter.claim is None:
            raise PlacesGone
        return waiter.claim

    async def _wait_for_news(self, waiter: _Waiter) -> None:
        news = waiter.news = anyio.Event()
        if waiter.wake_at is None:
            await news.wait()
            return
        async with anyio.create_task_group() as tasks:

            async def wake(seconds: float) -> None:
                await self._sleep(seconds)
                self.changed()
                news.set()

            tasks.start_soon(wake, max(0.0, waiter.wake_at - self._now()))
            await news.wait()
            tasks.cancel_scope.cancel()

    def changed(self) -> None:
        """Look through the waiting claims; call this after the state of a place has changed."""
        reserved: set[tuple[str, str]] = set()  # stages and locks that an earlier claim is next in line for
        kept: dict[
            str, str
        ] = {}  # of those stages, what is told where the machine lacks something for the earlier claim
        machine = grants.Round(self._capacity, self._granted.values())
        for waiter in list(self._waiting):
            self._consider(waiter, reserved, kept, machine)

    def _consider(
        self, waiter: _Waiter, reserved: set[tuple[str, str]], kept: dict[str, str], machine: grants.Round
    ) -> None:
        stage = waiter.stage
        limit = self._concurrent.get(stage)
        if ("stage", stage) in reserved or (limit is not None and self._running.get(stage, 0) >= limit):
            reserved.add(("stage", stage))
            waiter.tell(kept.get(stage) or (f"slot of {stage} (limit {limit})" if limit else f"start of {stage}"))
            return
        distance = self._staggered.get(stage, 0.0)
        start_at = self._last_start.get(stage, float("-inf")) + distance
        if self._now() < start_at:
            reserved.add(("stage", stage))
            waiter.tell(f"start of {stage} ({distance:g}s after the last one)", start_at)
            return
        if all(place.state == "gone" for place in waiter.places):
            waiter.gone = True
            waiter.news.set()
            return
        roomy = [place for place in waiter.places if place.has_room]
        if not roomy:
            up = sum(place.state == "open" for place in waiter.places)
            waiter.tell(f"child of {stage} ({up} busy)" if up else f"child of {stage} (restarting)")
            return
        for place in sorted(roomy, key=lambda place: (place.free, place.warm), reverse=True):
            if all(self._is_free(name, reserved) for name in place.locks):
                decision = machine.decide(waiter.request)
                if decision.starts:
                    self._grant(waiter, place)
                elif decision.never:
                    waiter.never = decision.why
                    waiter.news.set()
                else:
                    waiter.tell(decision.why)
                    kept[stage] = f"start of {stage} ({waiter.request.label} is next, and waits for {decision.lacks})"
                    reserved.add(("stage", stage))
                    reserved.update(("lock", name) for name in place.locks)
                return
        missing = [name for name in roomy[0].locks if not self._is_free(name, reserved)]
        waiter.tell("lock " + ", ".join(missing))
        reserved.update(("lock", name) for place in roomy for name in place.locks)

    def _is_free(self, lock: str, reserved: set[tuple[str, str]]) -> bool:
        return ("lock", lock) not in reserved and self._held.get(lock, 0) < self._locks[lock]

    def _grant(self, waiter: _Waiter, place: Place) -> None:
        self._running[waiter.stage] = self._running.get(waiter.stage, 0) + 1
        self._last_start[waiter.stage] = self._now()
        place.taken += 1
        for name in place.locks:
            self._held[name] = self._held.get(name, 0) + 1
        self._granted[waiter.request.number] = waiter.request
        waiter.claim = Claim(self, waiter.stage, place, waiter.request)
        del self._waiting[waiter]
        waiter.news.set()

    def _take_back(self, claim: Claim) -> None:
        self._running[claim.stage] -= 1
        del self._granted[claim.request.number]
        claim.place.taken -= 1
        for name in claim.place.locks:
            self._held[name] -= 1
        self.changed()
