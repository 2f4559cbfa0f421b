"""A virtual clock: an event loop in which waiting takes no time and everything happens in a fixed order."""

import asyncio
import selectors
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

T = TypeVar("T")

EPOCH = 1_700_000_000.0  # the wall clock when a simulation begins


class Stuck(Exception):
    """Every task waits for another one: nothing can ever happen again."""


class _Selector(selectors.DefaultSelector):
    """Looks at the sockets and jumps to the next timer instead of waiting for it."""

    loop: "Loop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise Stuck
            self.loop.now += max(timeout, 0.0)
        return ready


class Loop(asyncio.SelectorEventLoop):
    """An event loop on virtual time."""

    def __init__(self) -> None:
        selector = _Selector()
        selector.loop = self
        self.now = 0.0
        super().__init__(selector)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self.now


def wall_clock() -> float:
    """Return the unix time of the simulation."""
    return EPOCH + anyio.current_time()


async def _inline(work: Callable[..., T], *arguments: Any, **_: Any) -> T:
    """Stand for `anyio.to_thread.run_sync`: the same, in this thread, with points before and after to be killed at."""
    await anyio.lowlevel.checkpoint()
    result = work(*arguments)
    await anyio.lowlevel.checkpoint()
    return result


def run(main: Callable[[], Any], loop: Callable[[], Loop] = Loop) -> Any:
    """Run an async function to its end in virtual time."""
    real = anyio.to_thread.run_sync
    anyio.to_thread.run_sync = _inline  # type: ignore[assignment]
    try:
        return anyio.run(main, backend_options={"loop_factory": loop})
    finally:
        anyio.to_thread.run_sync = real
