"""Where a miner's sectors are: the partitions of its deadlines, and when each deadline opens.

    layout = await layout.read(view, miner)
    layout.cycle.opens(7)                 # the epoch at which deadline 7 opens next, or has opened

`StateMinerProvingDeadline` of a miner whose sectors are all gone answers a deadline far from the present one. The cycle
here goes by the miner's offset in the proving period, which never changes.
"""

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from damocles.chain.addresses import Address
from damocles.chain.bitfields import Bitfield
from damocles.lotus.miners import Partition, Period
from damocles.lotus.view import View

Place = tuple[int, int]  # deadline and partition


class Standing(enum.StrEnum):
    """How a sector stands on the chain."""

    NOWHERE = "not on the chain"  # never there, or compacted after its end
    PRE_COMMITTED = "pre-committed"
    UNPROVEN = "unproven"  # until its first window PoSt it has no power
    ACTIVE = "active"
    FAULTY = "faulty"
    RECOVERING = "recovering"
    DEAD = "terminated"  # or expired; its record on the chain stays as it was


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """The proving period of a miner, in epochs, as it is at `epoch`; `start` may lie ahead for a new miner."""

    epoch: int
    start: int
    window: int
    count: int
    challenge_lookback: int
    declaration_cutoff: int

    @classmethod
    def of(cls, period: Period, epoch: int) -> "Cycle":
        """Return the period in which an epoch lies."""
        start = epoch - (epoch - period.period_start) % period.period_epochs
        return cls(
            epoch=epoch,
            start=start,
            window=period.window_epochs,
            count=period.deadlines,
            challenge_lookback=period.challenge_lookback,
            declaration_cutoff=period.declaration_cutoff,
        )

    @property
    def period_epochs(self) -> int:
        """Length of the period."""
        return self.window * self.count

    @property
    def current(self) -> int:
        """The deadline that is open."""
        return (self.epoch - self.start) // self.window

    def opens(self, deadline: int) -> int:
        """Return the epoch at which a deadline opens next, or has opened if it is open."""
        opens = self.start + deadline * self.window
        return opens if opens + self.window > self.epoch else opens + self.period_epochs

    def is_mutable(self, deadline: int) -> bool:
        """Return whether sectors can be terminated: the deadline is neither open nor the next."""
        return self.opens(deadline) - self.epoch > self.window

    def takes_declarations(self, deadline: int) -> bool:
        """Return whether faults and recoveries can be declared, which ends some epochs before the deadline opens."""
        return self.opens(deadline) - self.epoch > self.declaration_cutoff


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Partitions by deadline and number, in this order."""

    cycle: Cycle
    partitions: Mapping[Place, Partition]

    def of_deadline(self, deadline: int) -> Iterator[tuple[int, Partition]]:
        """Yield the partitions of a deadline with their numbers."""
        return ((place[1], one) for place, one in self.partitions.items() if place[0] == deadline)

    def place(self, number: int) -> Place | None:
        """Return where a sector is, also a dead one that is not compacted."""
        return next((place for place, one in self.partitions.items() if number in one.all), None)

    def by_place(self, numbers: Iterable[int]) -> tuple[dict[Place, Bitfield], Bitfield]:
        """Return sectors by their places, and those that have none."""
        wanted = Bitfield(numbers)
        found = {place: here for place, one in self.partitions.items() if (here := wanted & one.all)}
        nowhere = wanted
        for here in found.values():
            nowhere -= here
        return found, nowhere

    def standing(self, number: int) -> Standing:
        """Return how a sector stands; a pre-committed one is in no partition."""
        place = self.place(number)
        return Standing.NOWHERE if place is None else standing(self.partitions[place], number)


def standing(partition: Partition, number: int) -> Standing:
    """Return how a sector of a partition stands. A recovering one is faulty too, as the chain counts."""
    if number in partition.recovering:
        return Standing.RECOVERING
    if number in partition.faulty:
        return Standing.FAULTY
    if number in partition.active:
        return Standing.ACTIVE
    return Standing.UNPROVEN if number in partition.live else Standing.DEAD


def _nothing(_done: int) -> None:
    """Show no progress."""


async def read(
    view: View, miner: Address, deadlines: Iterable[int] | None = None, on_read: Callable[[int], None] = _nothing
) -> Layout:
    """Return the partitions of all or some deadlines; `on_read` is called with the number of deadlines read.

    Raises:
        errors.NotThere: It is no miner.
    """
    cycle = Cycle.of(await view.period(miner), view.epoch)
    partitions: dict[Place, Partition] = {}
    for done, deadline in enumerate(range(cycle.count) if deadlines is None else deadlines, start=1):
        for number, one in enumerate(await view.partitions(miner, deadline)):
            partitions[deadline, number] = one
        on_read(done)
    return Layout(cycle=cycle, partitions=partitions)
