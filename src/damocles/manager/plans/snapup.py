"""Upgrades of sectors: which may be upgraded, with which deals, and the way of their proofs onto the chain.

A sector that is upgraded stays online until its message has landed and its worker has finished. One task watches the
messages that are under way; while there are none it waits.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Container, Sequence

import anyio
import anyio.to_thread
import msgspec
import structlog
from sqlalchemy import Connection

from damocles import beside, methods, pulse
from damocles.chain.bitfields import Bitfield
from damocles.manager import errors
from damocles.manager.chain import interface
from damocles.manager.db.engine import Database
from damocles.manager.plans import candidates, handouts, unseal
from damocles.manager.sectors import deals, ledger, stores
from damocles.rpc import core
from damocles.rpc import errors as rpc_errors
from damocles.sealing.states import State
from damocles.wire import commitments, records, seal
from damocles.wire.codec import CID
from damocles.wire.sectors import SealProof, SectorID

log = structlog.get_logger(__name__)

_DEADLINES = 48


class Upgrades:
    """Handlers of the API, for tools and for workers. Made by `open_upgrades`.

    No upgrade begins of a miner that is `unfit`: nobody could send its proof. What began before goes on.
    """

    def __init__(
        self,
        *,
        database: Database,
        miners: Collection[ledger.Miner],
        chain: interface.Chain,
        persist: stores.Stores,
        market: deals.Deals,
        clock: Callable[[], float],
        unfit: Callable[[], Container[int]] = frozenset,
    ) -> None:
        self._database = database
        self._miners = miners
        self._unfit = unfit
        self._chain = chain
        self._persist = persist
        self._market = market
        self._clock = clock
        self._sent = pulse.Pulse()
        self._unfollowed: set[str] = set()  # messages that will never land, or that nobody wants to be followed

    def register(self, service: core.Service) -> None:
        """Serve the methods."""
        service.add(methods.proven.fetch_candidates, self.fetch)
        service.add(methods.proven.candidates, self.candidates)
        handouts.add(service, methods.proven.allocate_upgrade, methods.proven.hand_out_upgrade, self._allocate)
        service.add(methods.proven.why_no_upgrade, self.why_no_upgrade)
        service.add(methods.proven.submit_upgrade, self.submit)
        service.add(methods.proven.cancel_upgrade, self.cancel)

    async def fetch(self, miner: int, deadline: int | None = None) -> seal.SnapUpFetchResult:
        """Make candidates of all sectors of a miner that are proven, hold no deals and are not in progress.

        Nobody looks in which deadlines they are: the given one, or the first, gets them all.
        """
        found = await self._database.write(lambda tx: candidates.fetch(tx, miner, deadline or 0))
        log.info("candidates for upgrades", miner=miner, total=found.total, new=found.diff)
        return found

    async def candidates(self, miner: int) -> list[list[int] | None]:
        """Return the candidates of each deadline as a bitfield, null where there are none."""
        by_deadline = await self._database.read(lambda tx: candidates.by_deadline(tx, miner))
        return [Bitfield(by_deadline[i]).runs() if i in by_deadline else None for i in range(_DEADLINES)]

    async def _allocate(
        self, spec: seal.AllocateSnapUpSpec, receiver: ledger.Receiver
    ) -> tuple[seal.AllocatedSnapUpSector, int] | None:
        offers, fit, now = await self._market.offers(), self._fit(), self._clock()
        return await self._database.write(lambda tx: allocate(tx, fit, spec, receiver, offers=offers, now=now))

    def _fit(self) -> list[ledger.Miner]:
        unfit = self._unfit()
        return [miner for miner in self._miners if miner.id not in unfit]

    async def why_no_upgrade(self, spec: seal.AllocateSnapUpSpec) -> str:
        """Return why there is no sector to upgrade, for threads that wait for one; empty if there is one."""

        def first(miners: Collection[ledger.Miner]) -> Awaitable[records.SectorState | None]:
            return self._database.write(lambda tx: next(candidates.allowed(tx, miners, spec.sector), None))

        if (found := await first(self._fit())) is None:
            if (some := await first(self._miners)) is None:
                return "no sector is a candidate: `damocles-manager util sealer snap fetch` makes some"
            return f"nobody can send messages for f0{some.id.miner} now, or pay for them: `damocles-manager alerts list` says why"
        return await self._market.why_none(self._database, spec.deals, int(SealProof(found.proof).size))

    async def submit(self, sector: SectorID, content: seal.SnapUpProof) -> seal.Submitted:
        """Check and verify an upgrade, and hand it to the chain.

        The same commitments again are a duplicate, others are refused.

        Raises:
            errors.Unverifiable: The proof cannot be checked now; the worker may send it again.
        """
        if not content.proof:
            return seal.Submitted(seal.SubmitResult.REJECTED, "empty proof is invalid")
        record = await self._database.read(lambda tx: ledger.load(tx, sector))
        answer = _known(record, content) or await self._check(record, content)
        if answer is None:
            answer = await self._database.write(lambda tx: self._send(tx, sector, content))
            await self._chain.handed_in(sector)
        is_good = answer.res in {seal.SubmitResult.ACCEPTED, seal.SubmitResult.DUPLICATE}
        if is_good:
            self._unfollowed.discard(record.upgrade_message_id or "")
            self._sent.beat()
        say = log.info if is_good else log.warning
        result = seal.SubmitResult(answer.res).name.lower()
        say("upgrade submitted", sector=str(sector), result=result, reason=answer.desc)
        return answer

    async def cancel(self, sector: SectorID) -> None:
        """Follow the message of an upgrade no more, until the manager is started again or the proof handed in again.

        It cannot be called back: if it lands, the sector is upgraded, which the manager notes once it follows it again.
        """
        record = await self._database.read(lambda tx: ledger.load(tx, sector))
        if not _is_handed_in(record):
            raise errors.ManagerError(
                f"no upgrade of {sector} has been submitted: `sectors abort` ends one in progress"
            )
        if record.upgrade_landed_epoch is None and record.upgrade_message_id:
            self._unfollowed.add(record.upgrade_message_id)
            log.warning("message of an upgrade is not followed any more", sector=str(sector))

    async def _check(self, record: records.SectorState, content: seal.SnapUpProof) -> seal.Submitted | None:
        proof = SealProof(record.proof)
        assert record.upgrade_public is not None
        try:
            await anyio.to_thread.run_sync(
                self._persist.check_files, record.id, proof.size, content.access_instance, True
            )
        except errors.ManagerError as error:
            return seal.Submitted(seal.SubmitResult.FILES_MISSED, f"not all files persisted: {error.message}")
        try:
            allocated = seal.AllocatedSector(record.id, record.proof)
            await self._chain.check_update(allocated, record.upgrade_public.comm_r, content)
        except interface.Refused as error:
            return seal.Submitted(seal.SubmitResult.REJECTED, str(error))
        return None

    def _send(self, tx: Connection, sector: SectorID, content: seal.SnapUpProof) -> seal.Submitted:
        record = ledger.load(tx, sector)
        known = _known(record, content)
        if known is not None:
            return known
        try:
            cid = self._chain.send_update(tx, seal.AllocatedSector(sector, record.proof), content, record.pieces or ())
        except interface.Refused as error:
            return seal.Submitted(seal.SubmitResult.MISMATCHED, str(error))
        self._unfollowed.discard(str(cid))  # its id may follow from its content, and be that of one that was lost
        info = records.UpgradedInfo(
            access_instance=content.access_instance,
            sealed_cid=commitments.sealed_cid(content.comm_r),
            unsealed_cid=commitments.unsealed_cid(content.comm_d),
            proof=content.proof,
        )
        ledger.place_files(tx, sector, content.access_instance, upgrade=True)
        changed = msgspec.structs.replace(record, upgraded_info=info, upgrade_message_id=str(cid))
        ledger.save(tx, changed, self._clock())
        return seal.Submitted(seal.SubmitResult.ACCEPTED)

    # The way onto the chain -----------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Follow the messages under way until cancelled. Whatever fails is tried again a block later."""
        while True:
            sent = self._sent.count
            try:
                look_again = await self._follow_all()
            # The task is the daemon's: it must outlive a database without room, and whatever else.
            except rpc_errors.DiskFails:
                look_again = True
            except Exception:
                log.exception("upgrades: not followed; trying again")
                look_again = True
            # Another manager may have sent one, and have died.
            look_again = look_again or self._database.is_shared
            network = self._chain.network
            with anyio.move_on_after(min(network.block_seconds, network.look_seconds) if look_again else None):
                await self._sent.wait(since=sent)

    async def _follow_all(self) -> bool:
        """Check each message once; return whether there was one."""
        under_way = await self._database.read(_under_way)
        waiting = [record for record in under_way if record.upgrade_message_id not in self._unfollowed]
        for record in waiting:
            try:
                await self._follow(record)
            except rpc_errors.DiskFails:
                raise
            except Exception:
                log.exception("upgrade not followed; trying again", sector=str(record.id))
        return bool(waiting)

    async def _follow(self, record: records.SectorState) -> None:
        assert record.upgrade_message_id is not None
        polled = await self._chain.message(CID(record.upgrade_message_id))
        match polled.state:
            case seal.OnChainState.LANDED:
                epoch = await self._chain.head()
                await self._database.write(lambda tx: land(tx, record.id, epoch, self._clock()))
                log.info("upgrade landed", sector=str(record.id), epoch=epoch)
            case seal.OnChainState.FAILED:
                log.warning("message of an upgrade failed, sending it again", sector=str(record.id), reason=polled.desc)
                await self._database.write(lambda tx: self._send_again(tx, record.id))
                await self._chain.handed_in(record.id)
            case seal.OnChainState.PENDING | seal.OnChainState.PACKED:
                pass
            case state:
                self._unfollowed.add(record.upgrade_message_id)
                log.error(
                    "message of an upgrade is lost; the sector waits for an operator",
                    sector=str(record.id),
                    state=state,
                    reason=polled.desc,
                    next=f"util sealer sectors abort {record.id.miner} {record.id.number}",
                )

    def _send_again(self, tx: Connection, sector: SectorID) -> None:
        record = ledger.load(tx, sector)
        info = record.upgraded_info
        if info is None or info.sealed_cid is None or info.unsealed_cid is None:
            return  # given up meanwhile
        content = seal.SnapUpProof(
            comm_r=commitments.commitment_of(info.sealed_cid),
            comm_d=commitments.commitment_of(info.unsealed_cid),
            access_instance=info.access_instance,
            pieces=[piece.piece.cid for piece in record.pieces or ()],
            proof=info.proof or b"",
        )
        cid = self._chain.send_update(tx, seal.AllocatedSector(sector, record.proof), content, record.pieces or ())
        ledger.save(tx, msgspec.structs.replace(record, upgrade_message_id=str(cid)), self._clock())


@contextlib.asynccontextmanager
async def open_upgrades(upgrades: Upgrades) -> AsyncIterator[Upgrades]:
    """Watch messages while the block runs, also those from before a restart."""
    async with beside.running(upgrades.watch):
        yield upgrades


def allocate(
    tx: Connection,
    miners: Collection[ledger.Miner],
    spec: seal.AllocateSnapUpSpec,
    receiver: ledger.Receiver,
    *,
    offers: Sequence[deals.Offer],
    now: float,
) -> tuple[seal.AllocatedSnapUpSector, int] | None:
    """Hand out a candidate that `spec` allows with deals, and the number of the attempt at it.

    Without enough deals it stays a candidate. A store that was handed one and has not reported on it gets the same again.
    """
    for record in handouts.lost(tx, receiver, records.Job.SNAPUP):
        return _given(tx, record), ledger.reopen(tx, record, receiver, now)
    found = next(candidates.allowed(tx, miners, spec.sector), None)
    if found is None:
        return None
    pieces = deals.assign(tx, seal.AllocatedSector(found.id, found.proof), spec.deals, offers, now)
    if not pieces:
        return None
    assert found.pre_commit is not None
    cid = found.pre_commit.comm_r
    public = seal.SectorPublic(commitments.commitment_of(cid), cid)
    upgraded = msgspec.structs.replace(found, pieces=pieces, upgraded=True, upgrade_public=public)
    candidates.drop(tx, found.id)
    return _given(tx, upgraded), ledger.reopen(tx, upgraded, receiver, now)


def land(tx: Connection, sector: SectorID, epoch: int, now: float) -> None:
    """Note that an upgrade is on the chain, and finish the sector if its worker has."""
    record = ledger.load(tx, sector)
    ledger.save(tx, msgspec.structs.replace(record, upgrade_landed_epoch=epoch), now)
    if record.latest_state is not None and record.latest_state.state_change.next == State.Finished:
        ledger.finalize(tx, sector, now)


def worker_finished(tx: Connection, sector: SectorID, now: float) -> None:
    """Finish a sector whose worker has; an upgrade on its way to the chain only notes it.

    An upgrade that is not submitted yet cannot be finished: this is the end of the sealing, reported again by a worker
    that has not received the answer.

    Raises:
        errors.SectorNotFound: It is unknown, or was aborted.
    """
    record = ledger.find(tx, sector, online=True)
    if record is not None and ledger.job_of(record) is records.Job.SNAPUP and record.upgraded_info is None:
        log.warning("finished once more, while it is being upgraded", sector=str(sector))
        return
    if record is None or not _is_handed_in(record) or record.upgrade_landed_epoch is not None:
        ledger.finalize(tx, sector, now)
        return
    latest = record.latest_state
    before = latest.state_change.next if latest is not None else ""
    reported = seal.ReportStateReq(
        worker=latest.worker if latest is not None else seal.WorkerIdentifier("", ""),
        state_change=seal.StateChange(before, State.Finished, "ReportFinalized"),
    )
    ledger.save(tx, msgspec.structs.replace(record, latest_state=reported), now)


def worker_gave_up(tx: Connection, sector: SectorID, reason: str, now: float, *, lost: str | None = None) -> None:
    """End an aborted sector, and free the deals that were for it.

    A submitted upgrade goes on: its files are in their store, and its message cannot be called back. It is undone only
    if that is the `lost` one.

    Raises:
        errors.SectorNotFound: It is unknown or finished.
    """
    record = ledger.find(tx, sector, online=True)
    if record is not None and _is_handed_in(record) and (lost is None or record.upgrade_message_id != lost):
        worker_finished(tx, sector, now)
        return
    ledger.abort(tx, sector, reason, now)


def abandoned(
    tx: Connection, sector: SectorID, reason: str, now: float, *, proven: bool, lost: str | None = None
) -> None:
    """End all work on an aborted sector, whatever the plan; one that is `proven` by this work is finished.

    A submitted upgrade is undone if its message is the `lost` one.

    Raises:
        errors.SectorNotFound: It is unknown or finished.
    """
    unseal.close(tx, sector, reason or "given up", now)
    if proven:
        ledger.finalize(tx, sector, now)
    else:
        worker_gave_up(tx, sector, reason, now, lost=lost)
    stores.release(tx, sector)


def _is_handed_in(record: records.SectorState) -> bool:
    return ledger.job_of(record) is records.Job.SNAPUP and record.upgraded_info is not None


def _given(tx: Connection, record: records.SectorState) -> seal.AllocatedSnapUpSector:
    assert record.upgrade_public is not None
    return seal.AllocatedSnapUpSector(
        sector=seal.AllocatedSector(record.id, record.proof),
        pieces=record.pieces,
        public=record.upgrade_public,
        private=seal.SectorPrivate(ledger.files(tx, record.id, upgrade=False) or ""),
    )


def _under_way(tx: Connection) -> list[records.SectorState]:
    online = ledger.select_all(tx, online=True, job=records.Job.SNAPUP)
    return [record for record in online if record.upgrade_message_id and record.upgrade_landed_epoch is None]


def _known(record: records.SectorState, content: seal.SnapUpProof) -> seal.Submitted | None:
    """Answer what the record alone decides."""
    pieces = record.pieces or []
    if len(pieces) != len(content.pieces):
        desc = f"pieces count not match: {len(pieces)} != {len(content.pieces)}"
        return seal.Submitted(seal.SubmitResult.REJECTED, desc)
    for number, (piece, cid) in enumerate(zip(pieces, content.pieces, strict=True)):
        if piece.piece.cid != cid:
            desc = f"#{number} piece cid not match: {piece.piece.cid} != {cid}"
            return seal.Submitted(seal.SubmitResult.REJECTED, desc)
    if ledger.job_of(record) is not records.Job.SNAPUP or record.upgrade_public is None:
        return seal.Submitted(seal.SubmitResult.REJECTED, f"{record.id} is not being upgraded")
    sizes = [(piece.piece.size_bytes, commitments.commitment_of(piece.piece.cid)) for piece in pieces]
    comm_d = commitments.comm_d(sizes, int(SealProof(record.proof).size))
    if content.comm_d != comm_d:
        desc = f"CommD is {content.comm_d.hex()}, with its pieces {record.id} has {comm_d.hex()}"
        return seal.Submitted(seal.SubmitResult.REJECTED, desc)
    info = record.upgraded_info
    if info is None:
        return None
    same = info.sealed_cid == commitments.sealed_cid(content.comm_r)
    return seal.Submitted(seal.SubmitResult.DUPLICATE if same else seal.SubmitResult.MISMATCHED)
