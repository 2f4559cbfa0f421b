"""The API of the manager for the original's command line: questions about sectors, and what an operator does to one."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import anyio.to_thread
import msgspec
import structlog
from sqlalchemy import Connection

from damocles import methods
from damocles.manager import errors, miner_config
from damocles.manager.chain import interface
from damocles.manager.config import model
from damocles.manager.db.engine import Database
from damocles.manager.plans import snapup, unseal
from damocles.manager.sectors import calls, deals, ledger, stores
from damocles.manager.serving import moves
from damocles.rpc import core
from damocles.wire import control, exports, proving, records, seal, wdpost
from damocles.wire.codec import CID
from damocles.wire.sectors import SectorID, SectorSize

log = structlog.get_logger(__name__)


class CliAPI:
    """Handlers of the API; each call that changes something is one transaction."""

    def __init__(
        self,
        *,
        database: Database,
        chain: interface.Chain,
        persist: stores.Stores,
        imports: moves.Moves,
        miners: Collection[ledger.Miner],
        market: deals.Deals,
        clock: Callable[[], float],
        configs: Callable[[int], model.Miner | None] = lambda _: None,
    ) -> None:
        self._configs = configs
        self._miners = miners
        self._market = market
        self._database = database
        self._chain = chain
        self._persist = persist
        self._imports = imports
        self._clock = clock

    def register(self, service: core.Service) -> None:
        """Serve the API under its wire names."""
        service.add(methods.util.get_ticket, self.get_ticket)
        service.add(methods.util.get_seed, self.get_seed)
        service.add(methods.util.window_challenge, self.get_window_challenge)
        service.add(methods.util.post_commit, self.get_post_commit)
        service.add(methods.records.times, self.times)
        service.add(methods.records.find_sectors_with_deal, self.find_sectors_with_deal)
        service.add(methods.records.find_sector_with_piece, self.find_sector_with_piece)
        service.add(methods.records.sector_indexer_find, self.sector_indexer_find)
        service.add(methods.records.proving_sector_info, self.proving_sector_info)
        service.add(methods.records.check_provable, self.check_provable)
        service.add(methods.util.get_miner_config, self.get_miner_config)
        service.add(methods.records.import_sector, self._imports.import_sector)
        service.add(methods.records.restore_sector, self.restore_sector)
        service.add(methods.records.finalize_sector, self.finalize_sector)
        service.add(methods.records.remove_sector, self.remove_sector)

    # Randomness -----------------------------------------------------------------------------------------------------

    async def get_ticket(self, _tipset: list[CID] | None, epoch: int, miner: int) -> seal.Ticket:
        """Return the sealing randomness of an epoch; it is that of the head, whichever tipset is named."""
        await self._check_epoch(epoch)
        return seal.Ticket(await self._chain.ticket(miner, epoch), epoch)

    async def get_seed(self, _tipset: list[CID] | None, epoch: int, miner: int) -> seal.Seed:
        """Return the challenge randomness of an epoch."""
        await self._check_epoch(epoch)
        return seal.Seed(await self._chain.seed(miner, epoch), epoch)

    async def get_window_challenge(self, _tipset: list[CID] | None, epoch: int, miner: int) -> proving.Randomness:
        """Return the randomness of the window PoSts of a deadline with this challenge epoch."""
        await self._check_epoch(epoch)
        return proving.Randomness(epoch, await self._chain.window_challenge(miner, epoch))

    async def get_post_commit(self, _tipset: list[CID] | None, epoch: int) -> proving.Randomness:
        """Return the randomness by which a window PoSt shows that it is of this chain."""
        await self._check_epoch(epoch)
        return proving.Randomness(epoch, await self._chain.post_commit(epoch))

    async def _check_epoch(self, epoch: int) -> None:
        head = await self._chain.head()
        if not 0 <= epoch <= head:
            raise errors.ManagerError(f"there is no randomness of epoch {epoch} (yet): the head is {head}")

    # Questions ------------------------------------------------------------------------------------------------------

    async def times(self, after: SectorID | None = None) -> list[control.SectorTimes]:
        """Return since when sectors are in their states, by miner and number: the first ones, or those that follow one."""
        return await self._database.read(lambda tx: calls.times(tx, after))

    async def find_sectors_with_deal(self, state: exports.State, deal: int) -> list[records.SectorState] | None:
        """Return the sectors in a state that hold a deal of the built-in market; null if there are none."""
        if deal == 0:
            raise errors.ManagerError("empty deal id")
        found = [record for record in await self._records(state) if deal in _deals(record)]
        return found or None

    async def find_sector_with_piece(self, state: exports.State, piece: CID) -> records.SectorState | None:
        """Return the last sector in a state that holds a piece."""
        found = [record for record in await self._records(state) if piece in _pieces(record)]
        return found[-1] if found else None

    async def sector_indexer_find(self, kind: proving.FilesOf, sector: SectorID) -> proving.Location:
        """Return in which persist stores the files of a sector, or of its upgrade, are."""
        store = await self._database.read(lambda tx: ledger.files(tx, sector, upgrade=kind == "upgrade"))
        return proving.Location(store is not None, wdpost.Accesses(store or "", store or ""))

    async def proving_sector_info(self, sector: SectorID) -> proving.SectorInfo:
        """Return what the chain and the stores have of a proven sector; what the chain does not keep is zero."""
        on_chain = await self._chain.sector(sector)
        record = await self._database.read(lambda tx: ledger.find(tx, sector))
        if on_chain is None or not on_chain.proven or record is None or record.pre_commit is None:
            raise errors.ManagerError(f"{sector} is not proven on the chain")
        upgrade = record.upgraded_info if record.upgrade_landed_epoch is not None else None
        store = await self._database.read(lambda tx: ledger.files(tx, sector, upgrade=upgrade is not None))
        if store is None:
            raise errors.ManagerError(f"get private info: get location for {sector}: object not found")
        sealed_cid = upgrade.sealed_cid if upgrade is not None else None
        return proving.SectorInfo(
            on_chain=proving.OnChain(
                number=sector.number,
                proof=int(on_chain.proof_type),
                sealed_cid=sealed_cid or record.pre_commit.comm_r,
                key_cid=record.pre_commit.comm_r if sealed_cid is not None else None,
            ),
            private=self._persist.private(sector, store, is_upgrade=upgrade is not None),
        )

    async def check_provable(
        self,
        miner: int,
        post_proof: int,
        infos: list[proving.Extended] | None,
        strict: bool,
        state_check: bool,
    ) -> dict[str, str]:
        """Return by number why sectors cannot be proved: a file is missing, or the record contradicts the chain."""
        if strict:
            raise errors.ManagerError(
                "not supported by this manager: CheckProvable: a strict check (--slow) reads the sectors;"
                " `damocles-manager util worker wdpost make` lets the workers prove them"
            )
        size = list(SectorSize)[post_proof % len(SectorSize)]
        bad = {}
        for info in infos or ():
            reason = await self._flaw(SectorID(miner, info.number), size, info, state_check=state_check)
            if reason is not None:
                bad[str(info.number)] = reason
        return bad

    async def get_miner_config(self, miner: int) -> dict[str, Any]:
        """Return the configuration of a miner, or what it would be without a table."""
        if (table := self._configs(miner)) is not None:
            return miner_config.of_table(table)
        for known in self._miners:
            if known.id == miner:
                seconds = self._chain.network.block_seconds
                return miner_config.of(known, has_deals=self._market.is_open, block_seconds=seconds)
        raise errors.ManagerError(f"config for miner actor {miner} not found")

    async def _flaw(
        self, sector: SectorID, size: SectorSize, info: proving.Extended, *, state_check: bool
    ) -> str | None:
        is_upgrade = info.key_cid is not None
        store = await self._database.read(lambda tx: ledger.files(tx, sector, upgrade=is_upgrade))
        if store is None:
            return f"get private info: get location for {sector}: object not found"
        if self._persist.root(store) is None:
            return f"not checked: this manager does not have the store {store}"
        try:
            await anyio.to_thread.run_sync(self._persist.check_files, sector, size, store, is_upgrade)
        except errors.ManagerError as error:
            return error.message
        if not state_check:
            return None
        record = await self._database.read(lambda tx: ledger.find(tx, sector, online=False))
        return proving.contradiction(info, record)

    async def _records(self, state: exports.State) -> Sequence[records.SectorState]:
        return await self._database.read(lambda tx: ledger.select_all(tx, online=state == "online"))

    # What an operator does to a sector ------------------------------------------------------------------------------

    async def restore_sector(self, sector: SectorID, forced: bool) -> None:
        """Bring an aborted sector back into progress; by force any that has ended.

        It belongs to the worker that goes on with it first.
        """

        def restore(tx: Connection) -> None:
            record = _offline(tx, sector)
            if not forced and (record.pieces or record.deals):
                raise errors.ManagerError("sector with deals can not be normally restored")
            if not forced and not record.abort_reason:
                raise errors.ManagerError("sector is not aborted, can not be normally restored")
            reason = record.abort_reason if forced else ""
            ledger.reopen(tx, msgspec.structs.replace(record, abort_reason=reason), ledger.NOBODY, self._clock())

        await self._database.write(restore)
        log.warning("sector restored by an operator", sector=str(sector), forced=forced)

    async def finalize_sector(self, sector: SectorID) -> None:
        """End a sector that is on the chain, whatever its worker thinks."""
        if not await self._chain.lives(sector):
            raise errors.ManagerError(f"{sector} is not proven on the chain: it cannot be finished, but aborted")

        def finalize(tx: Connection) -> None:
            record = ledger.load(tx, sector)
            if ledger.job_of(record) is records.Job.SNAPUP and record.upgraded_info is None:
                raise errors.ManagerError(f"{sector} is being upgraded: abort that, the sector stays as it was")
            unseal.close(tx, sector, "finished by an operator", self._clock())
            snapup.worker_finished(tx, sector, self._clock())
            stores.release(tx, sector)

        await self._database.write(finalize)
        log.warning("sector finished by an operator", sector=str(sector))

    async def remove_sector(self, sector: SectorID) -> None:
        """Delete the files of a sector that has ended and is not alive on the chain; a second call does nothing.

        Files go before the record does: a removal that was cut off is done again.

        Raises:
            errors.ManagerError: It is in progress, alive, or in a store that this manager does not have.
        """
        record = await self._database.read(lambda tx: _offline(tx, sector))
        if record.removed:
            return
        if await self._chain.lives(sector):
            raise errors.ManagerError(f"{sector} is alive on the chain, and its files are needed to prove it")
        for is_upgrade in (False, True):
            store = await self._database.read(lambda tx, up=is_upgrade: ledger.files(tx, sector, upgrade=up))  # type: ignore[misc]
            if store is not None:
                await anyio.to_thread.run_sync(self._persist.remove_files, sector, store, is_upgrade)

        def mark(tx: Connection) -> None:
            ledger.save(tx, msgspec.structs.replace(_offline(tx, sector), removed=True), self._clock())

        await self._database.write(mark)
        log.warning("sector removed by an operator", sector=str(sector))


def _offline(tx: Connection, sector: SectorID) -> records.SectorState:
    record = ledger.find(tx, sector, online=False)
    if record is None:
        raise errors.ManagerError("load state from offline: key not found")
    return record


def _deals(record: records.SectorState) -> set[int]:
    """Return the deals of the built-in market that a sector holds."""
    legacy = {deal["ID"] for deal in record.deals or () if "ID" in deal}
    return legacy | {piece.deal.deal_id for piece in record.pieces or ()}


def _pieces(record: records.SectorState) -> set[str]:
    legacy = ((deal.get("Piece") or {}).get("Cid") or {} for deal in record.deals or ())
    return {cid["/"] for cid in legacy if "/" in cid} | {str(piece.piece.cid) for piece in record.pieces or ()}
