"""New sectors: of which miner the next one is, and under which number."""

from collections.abc import Callable, Collection, Container, Sequence
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection

from damocles.manager import errors, roster
from damocles.manager.db.engine import Database
from damocles.manager.sectors import commitments, ledger
from damocles.wire import seal

if TYPE_CHECKING:
    from damocles.manager.chain import terms

T = TypeVar("T")


def in_ledger(miner: "terms.Miner") -> ledger.Miner:
    """Return a miner of a chain as its sectors are given out."""
    table = miner.config.sector
    return ledger.Miner(
        id=miner.id,
        proof=miner.proof,
        max_number=table.max_number,
        above=table.above,
        enabled=table.enabled,
        takes_deals=table.enable_deals,
    )


class Giving:
    """Gives out new sectors. Miners take turns, so that none takes all threads; those that are `unfit` get none."""

    def __init__(
        self,
        database: Database,
        miners: Collection[ledger.Miner],
        commits: commitments.Commitments,
        clock: Callable[[], float],
        unfit: Callable[[], Container[int]] = frozenset,
    ) -> None:
        self._database = database
        self._miners = miners
        self._given = dict[int, int]()  # by miner: which of the sectors given out was its last
        self._count = 0
        self._commits = commits
        self._clock = clock
        self._unfit = unfit

    async def give(
        self,
        spec: seal.AllocateSectorSpec,
        receiver: ledger.Receiver,
        first: Callable[[Connection], T | None] = lambda _: None,
    ) -> T | seal.AllocatedSector | None:
        """Give out a sector of a miner that `spec` allows; `None` if there is none.

        What `first` finds goes before: it is called at once, and in the transaction that would give out a new one.

        Raises:
            errors.ManagerError: The receiver has too much already, or the chain cannot be asked.
        """
        unfit = self._unfit()
        turns = sorted(self._miners, key=lambda miner: self._given.get(miner.id, 0))
        allowed = [miner for miner in turns if ledger.may_allocate(miner, spec) and miner.id not in unfit]

        def look(tx: Connection) -> tuple[T | None, Sequence[ledger.Miner]]:
            found = first(tx)
            return found, () if found is not None else ledger.with_numbers(tx, allowed, receiver)

        found, able = await self._database.write(look)
        failure: errors.ManagerError | None = None
        for miner in able:
            # Before the transaction, since a chain answers over a network; and only now, when a number is to be given out.
            try:
                taken = await self._commits.taken(miner)
            except errors.ManagerError as error:
                failure = failure or error
                continue

            def give(
                tx: Connection, number: int = miner.id, taken: Container[int] = taken
            ) -> T | seal.AllocatedSector | None:
                if (found := first(tx)) is not None:
                    return found
                now = roster.find(self._miners, number)  # it may be another, or be gone, since the chain was asked
                if now is None or not ledger.may_allocate(now, spec):
                    return None
                return ledger.allocate(tx, now, receiver, self._clock(), taken=taken)

            if (given := await self._database.write(give)) is not None:
                if isinstance(given, seal.AllocatedSector):
                    self._count += 1
                    self._given[miner.id] = self._count
                return given
        if failure is not None:
            raise failure
        return found
