"""What a token holds ends with the token: a holder of a lease is notified of its end."""

import weakref
from typing import Protocol


class Holder(Protocol):
    """Holds something, like a connection, by a token."""

    def end(self) -> None:
        """Give it up."""


class Lease:
    """As long as one token is valid."""

    def __init__(self) -> None:
        self._holders: weakref.WeakSet[Holder] = weakref.WeakSet()

    def hold(self, holder: Holder) -> None:
        """Have `holder` end with the token."""
        self._holders.add(holder)

    def release(self, holder: Holder) -> None:
        """Have `holder` go on without."""
        self._holders.discard(holder)

    def end(self) -> None:
        """End all that is held: the token is no longer valid."""
        for holder in list(self._holders):
            holder.end()
