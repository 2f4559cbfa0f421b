"""The miners as they are now, in one place: a value that is replaced as a whole.

    miners = Roster(found)          # whoever needs them is given this, and iterates at each turn instead of copying
    miners.replace(others)          # from now on, for everybody at once
    Mapped(miners, lambda one: …)   # the same, as others look at it

A turn that takes more than one step looks once, at its beginning.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Generic, Protocol, TypeVar


class Numbered(Protocol):
    """What has the number of a miner."""

    @property
    def id(self) -> int:
        """The number."""


N = TypeVar("N", bound=Numbered)
T = TypeVar("T")


class Roster(Collection[N]):
    """Miners, each with another number. It may be replaced on one thread while others iterate: these go on with what was."""

    def __init__(self, miners: Iterable[N] = ()) -> None:
        self._now = tuple(miners)

    def replace(self, miners: Iterable[N]) -> None:
        """Let these be the miners, and no others."""
        self._now = tuple(miners)

    def __iter__(self) -> Iterator[N]:
        return iter(self._now)

    def __len__(self) -> int:
        return len(self._now)

    def __contains__(self, one: object) -> bool:
        return one in self._now


class Mapped(Collection[T], Generic[N, T]):
    """Something of each miner, as the miners are whenever it is asked."""

    def __init__(self, miners: Collection[N], of: Callable[[N], T]) -> None:
        self._miners = miners
        self._of = of

    def __iter__(self) -> Iterator[T]:
        return map(self._of, self._miners)

    def __len__(self) -> int:
        return len(self._miners)

    def __contains__(self, one: object) -> bool:
        return any(one == of for of in self)


def find(miners: Iterable[N], number: int) -> N | None:
    """Return the miner of a number, if it is among them."""
    return next((miner for miner in miners if miner.id == number), None)
