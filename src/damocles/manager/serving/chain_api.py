"""What operators do on the chain, served: `methods.chain`, and what the original's command line has of it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from damocles import methods
from damocles.methods.acts import AffairWanted, Answer, OrderSeen, Outcome, SectorMessage, UpkeepWanted
from damocles.rpc import core
from damocles.wire import records, seal
from damocles.wire.sectors import SectorID

if TYPE_CHECKING:
    from damocles.manager.upkeep.doing import Doing


class ChainAPI:
    """Handlers of the methods; `doing` returns what does the work."""

    def __init__(self, doing: "Callable[[], Doing]") -> None:
        self._doing = doing

    def register(self, service: core.Service) -> None:
        """Serve the methods."""
        service.add(methods.chain.operate, self.operate)
        service.add(methods.chain.administer, self.administer)
        service.add(methods.chain.orders, self.orders)
        service.add(methods.chain.of_sector, self.of_sector)
        service.add(methods.chain.outcomes, self.outcomes)
        service.add(methods.chain.replace, self.replace)
        service.add(methods.records.terminate_sector, self.terminate_sector)
        service.add(methods.records.poll_termination, self.poll_termination)

    async def operate(self, wanted: UpkeepWanted) -> Answer:
        """Keep sectors up."""
        return await self._doing().do(wanted.act, dry_run=wanted.dry_run)

    async def administer(self, wanted: AffairWanted) -> Answer:
        """Do what costs money, or changes who decides."""
        return await self._doing().do(wanted.act, dry_run=wanted.dry_run)

    async def orders(self, ids: list[int] | None = None) -> list[OrderSeen]:
        """Return messages of this manager."""
        return await self._doing().orders(ids)

    async def of_sector(self, sector: SectorID) -> list[SectorMessage]:
        """Return what was handed in of a sector."""
        return await self._doing().of_sector(sector)

    async def outcomes(self, ids: list[int]) -> list[Outcome]:
        """Return what messages have done."""
        return await self._doing().outcomes(ids)

    async def replace(self, order: int) -> OrderSeen:
        """Make a message dearer."""
        return await self._doing().replace(order)

    async def terminate_sector(self, sector: SectorID) -> seal.Submitted:
        """Order the termination of a sector."""
        return await self._doing().terminate(sector)

    async def poll_termination(self, sector: SectorID) -> records.TerminateInfo:
        """Return how a termination stands."""
        return await self._doing().termination(sector)
