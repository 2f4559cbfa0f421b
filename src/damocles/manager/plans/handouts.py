"""Handing out work on proven sectors: upgrades, rebuilds and unsealing.

The methods of `Venus` do not say who asks. Those of the same name in `Damocles` name the sealing store, which gets the
same work again if the answer was lost, and the number of the attempt that it may work under (see `claims`).
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection

from damocles.manager.callers import holders
from damocles.manager.sectors import ledger
from damocles.rpc import core
from damocles.wire import codec, control, records, seal

log = structlog.get_logger(__name__)

# Chooses work as the specification says and hands it out; returns it with the number of the attempt at its sector.
Allocate = Callable[[Any, ledger.Receiver], Awaitable[tuple[Any, int] | None]]


def add(service: core.Service, name: str, spec_type: type, allocate: Allocate) -> None:
    """Serve an allocating method in both namespaces."""

    async def hand_out(spec: Any, receiver: ledger.Receiver) -> tuple[Any, int] | None:
        handed = await allocate(spec, receiver)
        if handed is not None:
            given, attempt = handed
            log.info("work handed out", method=name, sector=str(given.sector.id), to=receiver.to, attempt=attempt)
        return handed

    async def from_anybody(call: core.Call, spec: Any) -> Any:
        handed = await hand_out(spec, holders.receiver(call))
        return handed[0] if handed is not None else None

    async def from_store(call: core.Call, spec: Any, store: control.Store) -> control.Handed | None:
        handed = await hand_out(spec, holders.receiver(call, store))
        return control.Handed(msgspec.Raw(codec.encode(handed[0])), handed[1]) if handed is not None else None

    for handler in (from_anybody, from_store):
        handler.__annotations__["spec"] = spec_type
    service.add(f"Venus.{name}", from_anybody)
    service.add(f"Damocles.{name}", from_store)


def lost(tx: Connection, receiver: ledger.Receiver, job: records.Job) -> list[records.SectorState]:
    """Return the work that a store was handed and has never been heard of since: the answer was lost."""
    return ledger.unheard(tx, receiver.to, job) if receiver.to.startswith(holders.STORE) else []


def allows(spec: seal.AllocateSectorSpec, miners: Collection[ledger.Miner], record: records.SectorState) -> bool:
    """Return whether a worker is willing to work on a sector, and its miner is ours."""
    return (
        (not spec.allowed_miners or record.id.miner in spec.allowed_miners)
        and (not spec.allowed_proofs or record.proof in spec.allowed_proofs)
        and any(miner.id == record.id.miner for miner in miners)
    )
