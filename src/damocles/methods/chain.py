"""What an operator does on the chain, and what has become of it."""

from damocles.methods import rules
from damocles.methods.acts import AffairWanted, Answer, OrderSeen, Outcome, SectorMessage, UpkeepWanted
from damocles.methods.declaring import declared
from damocles.wire.proving import ChainSeen
from damocles.wire.sectors import SectorID


@declared("Damocles.ChainOperate", rules.OPERATE)
def operate(wanted: UpkeepWanted, /) -> Answer:
    """Order the messages of an act that keeps sectors up; a dry run shows them."""


@declared("Damocles.ChainAdminister", rules.ADMIN)
def administer(wanted: AffairWanted, /) -> Answer:
    """Order the messages of an act that costs money, or changes who decides; a dry run shows them."""


@declared("Damocles.ChainOrders", rules.READ)
def orders(ids: list[int] | None = None, /) -> list[OrderSeen]:
    """Return messages of the manager by their numbers; without any, those that are not over."""


@declared("Damocles.SectorMessages", rules.READ)
def of_sector(sector: SectorID, /) -> list[SectorMessage]:
    """Return what was handed in of a sector for a real chain, each with its message."""


@declared("Damocles.ChainSeen", rules.READ)
def seen() -> ChainSeen:
    """Return the chain at a glance: the node, its head, and the next deadline of each miner; `mock` has no look at its own."""


@declared("Damocles.ChainOutcomes", rules.READ)
def outcomes(ids: list[int], /) -> list[Outcome]:
    """Return what messages that landed have really done, from the state as it is now."""


@declared("Damocles.ChainReplace", rules.OPERATE)
def replace(order: int, /) -> OrderSeen:
    """Sign a message that waits to be executed again, with higher fees, and push it."""
