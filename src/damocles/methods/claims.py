"""Who works on a sector: attempts, and calls under them."""

from msgspec import Raw

from damocles.methods import rules
from damocles.methods.declaring import declared
from damocles.wire import control, seal
from damocles.wire.sectors import SectorID


@declared("Damocles.Allocate", rules.SEALING)
def allocate(spec: seal.AllocateSectorSpec, store: control.Store, /) -> control.Claimed | None:
    """Hand a sector to the sealing store with this identity."""


@declared("Damocles.Claim", rules.SEALING)
def claim(
    sector: SectorID,
    worker: str,
    location: str,
    last_known: int | None,
    ticket: seal.Ticket | None,
    store: control.Store,
    /,
) -> int:
    """Give the next attempt at a sector to a worker and return its number."""


@declared("Damocles.As", rules.UNDER_ATTEMPT)
def call_as(sector: SectorID, attempt: int, method: str, params: list[Raw], store: control.Store, /) -> Raw:
    """Run another method of `Venus` about the sector, if `attempt` is the present one at it, and `store` has it."""


@declared("Damocles.SectorAbort", rules.OPERATE)
def abort(sector: SectorID, reason: str = "", /) -> None:
    """Abort a sector whose worker will not come back, which frees what it had for others."""
