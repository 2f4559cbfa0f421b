"""A signal that comes again and again, for tasks that look anew each time that something has changed."""

from collections.abc import Callable

import anyio


class Pulse:
    """Wakes all who wait, at each beat."""

    def __init__(self) -> None:
        self.count = 0  # of beats so far
        self._next = anyio.Event()

    def beat(self) -> None:
        """Wake whoever waits now."""
        self.count += 1
        self._next.set()
        self._next = anyio.Event()

    async def wait(self, since: int | None = None) -> None:
        """Return at the next beat; at once if there was one since `count` was `since`."""
        if since is None or since == self.count:
            await self._next.wait()

    async def pass_on(self, call: Callable[[], None]) -> None:
        """Call something at each beat, for ever."""
        while True:
            await self.wait()
            call()
