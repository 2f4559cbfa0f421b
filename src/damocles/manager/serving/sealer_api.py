"""The API of the manager (`Venus.*`) for workers and tools: wire names to what they do.

Those of upgrades, rebuilds, unsealing and window PoSts are in modules of their own. Methods that are nowhere answer
"method not found".
"""

from collections.abc import Callable, Collection

import anyio.to_thread
import msgspec
import structlog
from sqlalchemy import Connection

import damocles
from damocles import methods
from damocles.manager import errors
from damocles.manager.callers import holders
from damocles.manager.db import identity
from damocles.manager.db.engine import Database
from damocles.manager.fleet import watch as fleet_watch
from damocles.manager.fleet import workers
from damocles.manager.plans import snapup, unseal
from damocles.manager.sectors import commitments, deals, giving, ledger, stores
from damocles.rpc import core
from damocles.rpc import errors as rpc_errors
from damocles.text import redaction
from damocles.wire import exports, fleet, records, seal
from damocles.wire.sectors import SealProof, SectorID

log = structlog.get_logger(__name__)


class SealerAPI:
    """Handlers of the API; each call that changes something is one transaction."""

    def __init__(
        self,
        *,
        miners: Collection[ledger.Miner],
        database: Database,
        commits: commitments.Commitments,
        persist: stores.Stores,
        market: deals.Deals,
        new: giving.Giving,
        watch: fleet_watch.Watch,
        clock: Callable[[], float],
    ) -> None:
        self._miners = miners
        self._database = database
        self._commits = commits
        self._persist = persist
        self._market = market
        self._new = new
        self._watch = watch
        self._clock = clock

    def register(self, service: core.Service) -> None:
        """Serve the API under its wire names."""
        service.add(methods.sealer.allocate_sector, self.allocate_sector)
        service.add(methods.sealer.acquire_deals, self.acquire_deals)
        service.add(methods.sealer.assign_ticket, self._commits.assign_ticket)
        service.add(methods.sealer.submit_pre_commit, self._commits.submit_pre_commit)
        service.add(methods.sealer.poll_pre_commit, self._commits.poll_pre_commit_state)
        service.add(methods.sealer.submit_persisted, self.submit_persisted)
        service.add(methods.sealer.submit_persisted_ex, self.submit_persisted_ex)
        service.add(methods.sealer.wait_seed, self.wait_seed)
        service.add(methods.sealer.submit_proof, self._commits.submit_proof)
        service.add(methods.sealer.poll_proof, self._commits.poll_proof_state)
        service.add(methods.sealer.report_state, self.report_state)
        service.add(methods.sealer.report_finalized, self.report_finalized)
        service.add(methods.sealer.report_aborted, self.report_aborted)
        service.add(methods.sealer.reserve_space, self.store_reserve_space)
        service.add(methods.sealer.store_info, self.store_basic_info)
        service.add(methods.records.release_reserved, self.store_release_reserved)
        service.add(methods.util.list_stores, self.store_list)
        service.add(methods.sealer.worker_ping, self.worker_ping)
        service.add(methods.fleet.find_ping, self.worker_get_ping_info)
        service.add(methods.fleet.list_pings, self.worker_ping_info_list)
        service.add(methods.records.list_sectors, self.list_sectors)
        service.add(methods.records.find_sector, self.find_sector)
        service.add(methods.records.find_sector_in_all_states, self.find_sector_in_all_states)
        service.add(methods.util.get_info, self.get_info)
        service.add(methods.util.version, self.version)
        service.add(methods.util.database, self.database)
        service.add(methods.sealer.why_no_deals, self.why_no_deals)
        service.add(methods.fleet.remove_ping, self.worker_ping_info_remove)

    # A sector's life ------------------------------------------------------------------------------------------------

    async def allocate_sector(self, call: core.Call, spec: seal.AllocateSectorSpec) -> seal.AllocatedSector | None:
        """Hand out a new sector; see `giving`.

        The request does not name the caller. If the answer is lost, the sector is listed with the address it
        was sent to and without a report.
        """
        receiver = holders.receiver(call)
        allocated: seal.AllocatedSector | None = await self._new.give(spec, receiver)
        if allocated is not None:
            log.info("sector allocated", sector=str(allocated.id), to=receiver.to)
        return allocated

    async def acquire_deals(self, sector: SectorID, spec: seal.AcquireDealsSpec) -> list[seal.SectorPiece] | None:
        """Give deals to a sector: pieces that fill it, none if there are too few, null if this manager has no market.

        Asked again, the answer is the same.
        """
        record = await self._database.read(lambda tx: ledger.load(tx, sector))
        if record.pieces or not self._market.is_open or not self._takes_deals(sector.miner):
            return record.pieces
        offers = await self._commits.possible(sector, await self._market.offers())

        def acquire(tx: Connection) -> list[seal.SectorPiece]:
            record = ledger.load(tx, sector)
            if record.pieces:
                return record.pieces
            found = deals.assign(tx, seal.AllocatedSector(sector, record.proof), spec, offers, self._clock())
            if found:
                ledger.save(tx, msgspec.structs.replace(record, pieces=found), self._clock())
            return found

        given = await self._database.write(acquire)
        log.info("deals acquired", sector=str(sector), deals=sum(not piece.is_filler for piece in given))
        return given

    def _takes_deals(self, miner: int) -> bool:
        return any(known.takes_deals for known in self._miners if known.id == miner)

    async def why_no_deals(self, spec: seal.AcquireDealsSpec, sector_bytes: int) -> str:
        """Return why there are no deals for a sector, for threads that wait for some; empty if there are."""
        return await self._market.why_none(self._database, spec, sector_bytes)

    async def wait_seed(self, sector: SectorID, proof: int) -> seal.WaitSeedResp:
        """Return the seed, or how long to wait for it."""
        try:
            kind = SealProof(proof)
        except ValueError as error:
            raise errors.ManagerError(str(error)) from error
        return await self._commits.wait_seed(sector, kind)

    async def submit_persisted(self, sector: SectorID, store: str) -> bool:
        """Take note of a sector's files, as workers before the upgrades asked for it."""
        return await self.submit_persisted_ex(sector, store, False)

    async def submit_persisted_ex(self, sector: SectorID, store: str, is_upgrade: bool) -> bool:
        """Check that a sector's files are in a store, and remember the store."""
        record = await self._database.read(lambda tx: ledger.load(tx, sector))
        size = SealProof(record.proof).size
        await anyio.to_thread.run_sync(self._persist.check_files, sector, size, store, is_upgrade)

        def place(tx: Connection) -> None:
            ledger.load(tx, sector)
            ledger.place_files(tx, sector, store, upgrade=is_upgrade)

        await self._database.write(place)
        log.info("sector persisted", sector=str(sector), store=store, is_upgrade=is_upgrade)
        return True

    async def report_state(
        self, call: core.Call, sector: SectorID, report: seal.ReportStateReq
    ) -> seal.SectorStateResp:
        """Keep a worker's report, and who it was; answer whether the sector has ended."""
        now, caller = self._clock(), call.caller
        return await self._database.write(lambda tx: ledger.report(tx, sector, report, now, caller), durable=False)

    async def report_finalized(self, sector: SectorID) -> None:
        """End a sector that is finished.

        Raises:
            errors.ManagerError: It was to be sealed, and its proof is not on the chain, nor on its way there.
        """
        await self._commits.check_proven(sector)

        def finalize(tx: Connection) -> None:
            unseal.close(tx, sector, "the worker finished without reporting the piece", self._clock())
            snapup.worker_finished(tx, sector, self._clock())
            stores.release(tx, sector)

        await self._database.write(finalize)
        log.info("sector finalized", sector=str(sector))

    async def report_aborted(self, sector: SectorID, reason: str) -> None:
        """End an aborted sector; one that is on the chain is as it was before the work on it.

        Raises:
            errors.ManagerError: Its proof is on its way to the chain.
        """
        proven, reason = await self._commits.is_proven(sector), redaction.kept(reason)
        await self._database.write(lambda tx: snapup.abandoned(tx, sector, reason, self._clock(), proven=proven))
        log.warning("sector aborted", sector=str(sector), reason=reason, proven=proven)

    # Stores ---------------------------------------------------------------------------------------------------------

    async def store_reserve_space(
        self, sector: SectorID, size_bytes: seal.Bytes, candidates: list[str] | None
    ) -> seal.StoreBasicInfo | None:
        """Choose a store for a sector's files and keep the space for it; none has room for more than a sector can have."""
        usage = await anyio.to_thread.run_sync(self._persist.usage)

        def reserve(tx: Connection) -> seal.StoreBasicInfo | None:
            if size_bytes > stores.most_bytes(ledger.load(tx, sector)):
                return None
            return self._persist.reserve(tx, sector, size_bytes, candidates or (), usage=usage, now=self._clock())

        store = await self._database.write(reserve)
        log.info("space reserved", sector=str(sector), size_bytes=size_bytes, store=store.name if store else None)
        return store

    async def store_basic_info(self, name: str) -> seal.StoreBasicInfo | None:
        """Return a store by name."""
        return self._persist.basic_info(name)

    async def store_release_reserved(self, sector: SectorID) -> bool:
        """Release a sector's reservation; return whether there was one."""
        return await self._database.write(lambda tx: stores.release(tx, sector))

    async def store_list(self) -> list[records.StoreDetails] | None:
        """Return the stores with their space."""
        usage = await anyio.to_thread.run_sync(self._persist.usage)
        return await self._database.read(lambda tx: self._persist.details(tx, usage))

    # Workers --------------------------------------------------------------------------------------------------------

    async def worker_ping(self, call: core.Call, info: fleet.WorkerInfo) -> None:
        """Keep a ping, and the token by which the worker may be called.

        Raises:
            errors.ManagerError: It cannot be kept, or there are too many names that no token vouches for.
        """
        now, is_good, vouched = self._clock(), True, call.worker is not None
        try:
            await self._database.write(
                lambda tx: workers.ping(tx, info, now, call.handed, vouched=vouched), durable=False
            )
        except rpc_errors.DiskFails:
            raise  # heard all the same: nobody must be taken for lost because our disk is full
        except BaseException:
            is_good = False
            raise
        finally:
            if is_good:
                self._watch.pinged(workers.Row(info, now, call.handed))

    async def worker_get_ping_info(self, name: str) -> fleet.PingInfo | None:
        """Return the last ping of a worker."""
        return await self._database.read(lambda tx: workers.find(tx, name))

    async def worker_ping_info_list(self) -> list[fleet.PingInfo]:
        """Return the last pings of all workers by name."""
        return await self._database.read(workers.select_all)

    async def worker_ping_info_remove(self, name: str) -> None:
        """Forget a worker."""
        await self._database.write(lambda tx: workers.remove(tx, name))
        self._watch.forget(name)

    # Questions ------------------------------------------------------------------------------------------------------

    async def list_sectors(self, state: exports.State, job: records.Job) -> list[records.SectorState]:
        """Return the records of a state and job class, by miner and number."""
        return await self._database.read(lambda tx: ledger.select_all(tx, online=state == "online", job=job))

    async def find_sector(self, state: exports.State, sector: SectorID) -> records.SectorState:
        """Return the record of a sector that is in a state."""
        found = await self._database.read(lambda tx: ledger.find(tx, sector, online=state == "online"))
        if found is None:
            raise errors.ManagerError(f"load state from {state}: key not found")
        return found

    async def find_sector_in_all_states(self, sector: SectorID) -> records.SectorState:
        """Return the record of a sector."""
        found = await self._database.read(lambda tx: ledger.find(tx, sector))
        if found is None:
            raise errors.ManagerError("key not found")
        return found

    async def get_info(self, miner: int) -> records.MinerInfo:
        """Return a miner of this manager."""
        for known in self._miners:
            if known.id == miner:
                return known.info()
        raise errors.ManagerError(f"miner id '{miner}' not found")

    async def database(self) -> str:
        """Return the identity of the database, as it is now: another one may have taken its place."""
        return await self._database.read(identity.load)

    async def version(self) -> str:
        """Return the version in the original's form; `prod` is its word for real proofs."""
        return f"v{damocles.__version__}-prod-python"
