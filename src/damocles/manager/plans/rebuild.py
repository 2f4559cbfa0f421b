"""Sectors whose files are lost and have to be made again.

A sector that waits for this is online, and nobody has it.
"""

from collections.abc import Callable, Collection

import msgspec
import structlog
from sqlalchemy import Connection

from damocles import methods
from damocles.manager import errors
from damocles.manager.chain import interface
from damocles.manager.db.engine import Database
from damocles.manager.plans import handouts
from damocles.manager.sectors import ledger
from damocles.rpc import core
from damocles.wire import codec, records, seal
from damocles.wire.sectors import SectorID

log = structlog.get_logger(__name__)


class Rebuilds:
    """Handlers of the API, for tools and for workers."""

    def __init__(
        self, database: Database, miners: Collection[ledger.Miner], chain: interface.Chain, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._miners = miners
        self._chain = chain
        self._clock = clock

    def register(self, service: core.Service) -> None:
        """Serve the methods."""
        service.add(methods.proven.set_for_rebuild, self.set_for_rebuild)
        handouts.add(service, methods.proven.allocate_rebuild, methods.proven.hand_out_rebuild, self._allocate)

    async def set_for_rebuild(self, sector: SectorID, options: seal.RebuildOptions) -> bool:
        """Put a sector into the queue; also again for one that waits, or that was handed out without any report.

        Raises:
            errors.ManagerError: It cannot be rebuilt; the text says why.
        """
        on_chain = await self._chain.sector(sector)
        if on_chain is None or not on_chain.proven:
            raise errors.ManagerError(f"{sector} cannot be rebuilt: it is not on the chain")

        def ask(tx: Connection) -> None:
            record = ledger.find(tx, sector)
            if record is None:
                raise errors.ManagerError(f"{sector} cannot be rebuilt: the manager has no record of it")
            check(record, options)
            ledger.reopen(tx, msgspec.structs.replace(record, need_rebuild=True), ledger.NOBODY, self._clock())

        await self._database.write(ask)
        log.info("sector waits for its rebuild", sector=str(sector))
        return True

    async def _allocate(
        self, spec: seal.AllocateSectorSpec, receiver: ledger.Receiver
    ) -> tuple[seal.SectorRebuildInfo, int] | None:
        return await self._database.write(lambda tx: allocate(tx, self._miners, spec, receiver, self._clock()))


def check(record: records.SectorState, options: seal.RebuildOptions) -> None:
    """Refuse a sector that cannot be rebuilt.

    Raises:
        errors.ManagerError: The text says why.
    """
    sector = record.id
    if record.pre_commit is None and record.ticket is None:
        raise errors.ManagerError(f"{sector} cannot be rebuilt: invalid ticket info")
    if not record.finalized and not (record.need_rebuild and record.latest_state is None):
        raise errors.ManagerError(f"{sector} cannot be rebuilt: it is being worked on")
    if record.upgraded and record.upgrade_public is None:
        raise errors.ManagerError(f"{sector} cannot be rebuilt: its CommR from before the upgrade is not known")
    has_pieces = bool(record.pieces or record.deals)
    if record.imported and has_pieces and not options.pieces_available:
        raise errors.ManagerError(f"{sector} cannot be rebuilt: sector with unavailable deal pieces")


def allocate(
    tx: Connection,
    miners: Collection[ledger.Miner],
    spec: seal.AllocateSectorSpec,
    receiver: ledger.Receiver,
    now: float,
) -> tuple[seal.SectorRebuildInfo, int] | None:
    """Hand out the sector that `spec` allows and has waited longest, with the number of the attempt at it.

    A store that was handed one and has not reported on it gets the same again.
    """
    for record in handouts.lost(tx, receiver, records.Job.REBUILD):
        return _info(record), ledger.reopen(tx, record, receiver, now)
    for record in ledger.unheard(tx, ledger.NOBODY.to, records.Job.REBUILD):
        if handouts.allows(spec, miners, record):
            return _info(record), ledger.reopen(tx, record, receiver, now)
    return None


def _info(record: records.SectorState) -> seal.SectorRebuildInfo:
    # The ticket of the pre-commit is the one that the chain knows; a worker may have fetched a later one.
    ticket = record.pre_commit.ticket if record.pre_commit is not None else record.ticket
    assert ticket is not None
    return seal.SectorRebuildInfo(
        sector=seal.AllocatedSector(record.id, record.proof),
        ticket=ticket,
        legacy_pieces=codec.from_builtins(record.deals, list[seal.LegacyDeal]) if record.deals else None,
        pieces=record.pieces,
        is_upgraded=record.upgraded,
        upgrade_public=record.upgrade_public if record.upgraded else None,
    )
