"""The helper's relation to the cluster: joining it, having places there, and what keeps it from that, in one line."""

import importlib
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

import anyio
import anyio.to_thread

from damocles.stages.far import actor, door, settings, slots

RETRY_SECONDS = 3.0
_REFUSED_RETRY_SECONDS = 20.0  # after what a person has to mend, and Ray takes long to find
_LOOK_SECONDS = 2.0
_HEAD_MISSES = 3


class Cluster:
    """The cluster of a group. `why` is what it lacks now, empty if nothing; `changed` is called when that changes."""

    def __init__(self, group: settings.Group, changed: Callable[[], None]) -> None:
        self._group = group
        self._changed = changed
        self._driver: Any = None
        self.joined = anyio.Event()
        self.why = f"joining the Ray cluster at {group.address}"
        self.is_refused = False  # rather than just not there yet
        self.is_headless = False

    def say(self, why: str, *, refused: bool = True) -> None:
        """Tell why nothing can be sent there; nothing if it can."""
        if (why, refused) != (self.why, self.is_refused):
            self.why, self.is_refused = why, refused
            self._changed()

    async def run(self) -> None:
        """Join, for as long as it takes; then watch the head."""
        await self._join()
        self.joined.set()
        misses = 0
        while True:
            await anyio.sleep(_LOOK_SECONDS)
            try:
                await anyio.to_thread.run_sync(self._driver.reach, self._group.address)
                misses = 0
            except self._driver.Unusable:
                misses += 1
            if misses >= _HEAD_MISSES and not self.is_headless:
                # Ray ends this process within a minute anyway, without a word.
                self.is_headless = True
                self.say(f"the head of the Ray cluster at {self._group.address} is gone")

    async def _join(self) -> None:
        while True:
            pause = RETRY_SECONDS
            try:
                os.environ.update(settings.environment(self._group))
                self._driver = await anyio.to_thread.run_sync(_imported)
                await anyio.to_thread.run_sync(self._driver.reach, self._group.address)
                pause = _REFUSED_RETRY_SECONDS
                await anyio.to_thread.run_sync(self._driver.join, self._group)
                if self._group.insecure or not await anyio.to_thread.run_sync(door.is_open, self._group.address):
                    self.say("", refused=False)
                    return
                await anyio.to_thread.run_sync(self._driver.leave)
                self.say(
                    f"the Ray cluster at {self._group.address} lets in anybody, without a token: start it with"
                    " damocles-worker ray up, or say insecure = true"
                )
            except settings.NoToken as error:
                self.say(str(error))
            except ImportError as error:
                self.say(f"{settings.NO_RAY} ({error})")
            except Exception as error:
                if self._driver is None or not isinstance(error, self._driver.Unusable):
                    raise
                self.say(str(error))
            await anyio.sleep(pause)

    async def slot(self) -> slots.Slot:
        """Wait until the cluster has room for one more place of the group, and return it."""
        while True:
            await self.joined.wait()
            if await self._has_what_it_takes() and (slot := await self._placed()) is not None:
                self.say("", refused=False)
                return slot
            await anyio.sleep(RETRY_SECONDS)

    async def _has_what_it_takes(self) -> bool:
        if self.is_headless:
            return False
        try:
            lacking = await anyio.to_thread.run_sync(self._driver.lacking, self._group)
        except self._driver.LOST as error:
            lacking = f"the Ray cluster at {self._group.address} does not answer: {type(error).__name__}"
        if lacking:
            self.say(lacking)
        return not lacking

    async def _placed(self) -> slots.Slot | None:
        far = await anyio.to_thread.run_sync(self._driver.Far, self._group)
        about: actor.About | None = None
        problem = ""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._tell_wait)
                about = await far.about()
                tasks.cancel_scope.cancel()
        except* Exception as group:  # noqa: BLE001 - Ray's errors are many; whatever it is, there is no actor
            problem = f"no actor starts on the Ray cluster: {_cause(group)}"
        if about is not None:
            problem = mismatch(about)
        if about is None or problem:
            self.say(problem)
            await anyio.to_thread.run_sync(far.close)
            return None
        return slots.Slot(place=far, host=about.host, stamp=about.stamp, lease_seconds=self._group.lease_seconds)

    async def _tell_wait(self) -> None:
        """Tell what a start that takes long waits for."""
        while True:
            await anyio.sleep(_LOOK_SECONDS * 5)
            if await self._has_what_it_takes():
                self.say(f"{self._group.about} of the Ray cluster, all in use", refused=False)


def mismatch(about: actor.About) -> str:
    """Return how what is installed there differs from what is here; nothing if it does not."""
    here, there = actor.versions(), {"damocles": about.damocles, "python": about.python}
    if here == there:
        return ""
    texts = [f"damocles {each['damocles']} and Python {each['python']}" for each in (there, here)]
    return f"{about.host} has {texts[0]}, here are {texts[1]}: they have to be the same"


def _cause(group: BaseExceptionGroup) -> str:
    error = group.exceptions[0]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"[:300]


def _imported() -> ModuleType:
    return importlib.import_module("damocles.stages.far.driver")
