"""Handing out work on proven sectors: upgrades, rebuilds and unsealing.

The methods of `Venus` do not name the caller. Those of the same name in `Damocles` name the sealing store, which gets the
same work again if the answer was lost, and the number of the attempt that it may work under (see `claims`).
"""

from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

import msgspec
import structlog
from sqlalchemy import Connection

from damocles import methods
from damocles.manager.callers import holders
from damocles.manager.sectors import ledger
from damocles.rpc import core
from damocles.wire import codec, control, records, seal

log = structlog.get_logger(__name__)

Spec = TypeVar("Spec", seal.AllocateSectorSpec, seal.AllocateSnapUpSpec)
Given = TypeVar("Given", seal.AllocatedSnapUpSector, seal.SectorRebuildInfo, seal.SectorUnsealInfo)


def add(
    service: core.Service,
    to_anybody: methods.Method[[Spec], Given | None],
    to_store: methods.Method[[Spec, control.Store], control.Handed | None],
    allocate: Callable[[Spec, ledger.Receiver], Awaitable[tuple[Given, int] | None]],
) -> None:
    """Serve an allocating method in both namespaces.

    `allocate` chooses work as the specification says and hands it out; it returns it with the number of the attempt at its
    sector.
    """

    async def hand_out(spec: Spec, receiver: ledger.Receiver) -> tuple[Given, int] | None:
        handed = await allocate(spec, receiver)
        if handed is not None:
            given, attempt = handed
            name = to_anybody.name.partition(".")[2]
            log.info("work handed out", method=name, sector=str(given.sector.id), to=receiver.to, attempt=attempt)
        return handed

    async def from_anybody(call: core.Call, spec: Spec) -> Given | None:
        handed = await hand_out(spec, holders.receiver(call))
        return handed[0] if handed is not None else None

    async def from_store(call: core.Call, spec: Spec, store: control.Store) -> control.Handed | None:
        handed = await hand_out(spec, holders.receiver(call, store))
        return control.Handed(msgspec.Raw(codec.encode(handed[0])), handed[1]) if handed is not None else None

    # What stands for a type above is the type that is declared.
    from_anybody.__annotations__ |= {"spec": to_anybody.kinds[0], "return": to_anybody.returns}
    from_store.__annotations__ |= {"spec": to_store.kinds[0]}
    service.add(to_anybody, from_anybody)
    service.add(to_store, from_store)


def lost(tx: Connection, receiver: ledger.Receiver, job: records.Job) -> list[records.SectorState]:
    """Return the work that was handed to a store without any report since: the answer was lost."""
    return ledger.unheard(tx, receiver.to, job) if receiver.to.startswith(holders.STORE) else []


def allows(spec: seal.AllocateSectorSpec, miners: Collection[ledger.Miner], record: records.SectorState) -> bool:
    """Return whether a worker is willing to work on a sector, and its miner is ours."""
    return (
        (not spec.allowed_miners or record.id.miner in spec.allowed_miners)
        and (not spec.allowed_proofs or record.proof in spec.allowed_proofs)
        and any(miner.id == record.id.miner for miner in miners)
    )
