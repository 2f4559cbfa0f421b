"""Whose turn is next at busy resources: the database, and the workers.

First come, first served, with one exception: of each caller only a few requests are under way, and further ones wait for
these. So a token with many slow queries does not delay everybody else's.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from damocles.rpc.serving import places


class Turns:
    """So many of each caller at once, `each`; of the daemon itself any number."""

    def __init__(self, each: int) -> None:
        self._each = each
        self._own: dict[str, anyio.Semaphore] = {}
        self._there: Counter[str] = Counter()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Wait for the present caller's turn, and hold it while the block runs."""
        caller = places.CALLER.get()
        if caller is None:
            yield
            return
        own = self._own.setdefault(caller, anyio.Semaphore(self._each))
        self._there[caller] += 1
        try:
            async with own:
                yield
        finally:
            self._there[caller] -= 1
            if not self._there[caller]:
                del self._own[caller], self._there[caller]

    def most(self) -> int:
        """Return the highest number of requests of one caller, including those that wait."""
        return max(self._there.values(), default=0)
