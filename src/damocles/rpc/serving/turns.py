"""Who is next where much is asked for: at the database, and at the workers.

First come, first served, but for one thing: whoever asks for much at once waits for its own. Of each caller only some are
under way, so that a token with many slow questions does not hold up everybody else's.
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
        """Wait for the turn of whoever makes the call under way, and have it while the block runs."""
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
        """Return how many of whoever has the most are there, those that wait too."""
        return max(self._there.values(), default=0)
