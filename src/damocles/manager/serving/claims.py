"""Who works on a sector: attempts, and calls that only the present attempt may make.

Each time a worker takes a sector up (after its own restart, or because the store was moved to another machine) it claims
the next attempt number. A call under another number is refused, so that a worker that was cut off and comes back late
changes nothing. With both it shows the identity of its store, without which a sector that was handed out to a store is
nobody's (`holders`). Workers of the original do not know this; their calls come without a number, and are taken from the
address that the sector was handed out to.
"""

import dataclasses
from collections.abc import Callable

import msgspec
import structlog
from sqlalchemy import ColumnElement, Connection, select, update

from damocles import methods
from damocles.manager import errors
from damocles.manager.callers import holders
from damocles.manager.db import tables
from damocles.manager.db.engine import Database
from damocles.manager.plans import snapup
from damocles.manager.sectors import calls, commitments, giving, ledger
from damocles.rpc import core, messages
from damocles.rpc import errors as rpc_errors
from damocles.wire import control, records, seal
from damocles.wire.sectors import SectorID

log = structlog.get_logger(__name__)

_rows = tables.sectors


class Claims:
    """Handlers of `Damocles.Allocate`, `Damocles.Claim`, `Damocles.As` and `Damocles.SectorAbort`."""

    def __init__(
        self,
        database: Database,
        new: giving.Giving,
        service: core.Service,
        commits: commitments.Commitments,
        clock: Callable[[], float],
        *,
        held: holders.Holders,
    ) -> None:
        self._database = database
        self._new = new
        self._service = service
        self._commits = commits
        self._clock = clock
        # A claim waits for calls under the old number that have begun, and new ones wait for the claim.
        self._turn = held.turn

    def register(self) -> None:
        """Serve the methods."""
        self._service.add(methods.claims.allocate, self.allocate)
        self._service.add(methods.claims.claim, self.claim)
        self._service.add(methods.claims.call_as, self.call_as)
        self._service.add(methods.claims.abort, self.abort)

    async def allocate(
        self, call: core.Call, spec: seal.AllocateSectorSpec, store: control.Store
    ) -> control.Claimed | None:
        """Hand a sector to the sealing store with this identity.

        A store works on one sector at a time. If it asks although it was given one without any report since, the answer was
        lost: it gets the same again, under a new attempt, so that a copy of the store cannot have it too.
        """
        receiver = holders.receiver(call, store)

        def again(tx: Connection) -> control.Claimed | None:
            for record in ledger.unheard(tx, receiver.to, records.Job.SEALING):
                if ledger.allows(spec, record.id.miner, record.proof):
                    return control.Claimed(seal.AllocatedSector(record.id, record.proof), _next_attempt(tx, record.id))
            return None

        given = await self._new.give(spec, receiver, again)
        claimed = control.Claimed(given, 1) if isinstance(given, seal.AllocatedSector) else given
        if claimed is not None:
            log.info("sector allocated", sector=str(claimed.allocated.id), to=receiver.to, attempt=claimed.attempt)
        return claimed

    async def claim(  # noqa: PLR0917 (parameters of the wire are positional)
        self,
        call: core.Call,
        sector: SectorID,
        worker: str,
        location: str,
        last_known: int | None,
        ticket: seal.Ticket | None,
        store: control.Store,
    ) -> int:
        """Give the next attempt at a sector to a worker and return its number.

        It goes to the present holder (a restart), and to a worker that knows the last attempt's number, which
        is in the store's journal (the store was moved): in other words, to the store that has had the sector since
        it was handed out, or since its first claim. A copy that was left behind knows an older number. A holder may die
        between claiming and journaling: until a call is accepted under one of those unrecorded attempts, the last
        recorded one stays valid. Sectors that were handed out without a number go to the first store that
        claims them, and those that are bound to an address (`holders`) to nobody else. A copy that is older than the
        submitted pre-commit and has another `ticket` could only contradict what the chain holds, and is refused too; one
        that has none (yet, or no longer, because somebody resumed it at an early state) is given the pre-commit's.

        Raises:
            rpc.errors.RpcError: Code 11409: another worker has the sector.
        """

        def transaction(tx: Connection) -> int:
            record = ledger.load(tx, sector)
            # Work on a sector that is on the chain already begins with what the chain holds.
            submitted = record.pre_commit if ledger.job_of(record) is records.Job.SEALING else None
            found = self._present(tx, sector)
            present, holder, last_used = found.attempt, found.holder, found.last_used
            if found.is_of_a_store and not found.is_of(store):
                raise _elsewhere(sector)
            if (host := holders.address_of(tx, sector)) not in {None, holders.host_of(call.peer)}:
                raise rpc_errors.RpcError(
                    rpc_errors.Code.STALE_ATTEMPT,
                    f"{sector} is held by a worker at {host} that knows no attempts: finish it there, or abort it there",
                )
            restarts = (holder, found.location) == (worker, location)
            known = last_used <= last_known <= present if last_known is not None else holder is None
            contradicts = submitted is not None and ticket is not None and ticket != submitted.ticket
            if not restarts and contradicts:
                raise rpc_errors.RpcError(
                    rpc_errors.Code.STALE_ATTEMPT,
                    f"attempt {last_known} at {sector} is over: this copy of the store is older than the pre-commit that"
                    " was submitted from it; go on with the newer copy, and abort the sector here",
                )
            if not restarts and not known:
                raise _stale(sector, last_known, present, holder)
            taken = {"holder": worker, "holder_location": location, "allocated_to": holders.of_store(store)}
            tx.execute(update(_rows).where(_at(sector)).values(taken))
            calls.keep(tx, sector, "Claim", call.caller, self._clock())
            # Nothing was done under a restart that is not heard of again. A move is no such thing: the store that was left
            # behind knows the number from before it too.
            return _next_attempt(tx, sector, last_used=last_used if restarts else None)

        async with self._turn(sector):
            attempt = await self._database.write(transaction)
        log.info("sector claimed", sector=str(sector), attempt=attempt, worker=worker, location=location)
        return attempt

    async def call_as(  # noqa: PLR0917 (parameters of the wire are positional)
        self,
        call: core.Call,
        sector: SectorID,
        attempt: int,
        method: str,
        params: list[msgspec.Raw],
        store: control.Store,
    ) -> msgspec.Raw:
        """Run another method of `Venus` about the sector, if `attempt` is the present one at it, and `store` has it.

        Raises:
            rpc.errors.RpcError: Code 11409: another worker has the sector, or the attempt is none that was given out.
        """
        request = messages.LooseRequest(method, msgspec.Raw(msgspec.json.encode(params)), 1)
        # The caller needs the right to what it calls, as if it called it by itself.
        wanted, admitted = await self._service.admit(request, call)
        if not method.startswith("Venus."):
            raise rpc_errors.RpcError(rpc_errors.Code.INVALID_PARAMS, f"{method} is not a method of Venus")
        async with self._turn(sector):
            found = await self._database.read(lambda tx: self._present(tx, sector))
            if attempt != found.attempt:
                raise _stale(sector, attempt, found.attempt, found.holder)
            if not found.is_of(store) or not found.may_be_of(call.worker):
                raise _elsewhere(sector)
            if found.last_used != found.attempt:
                # Before the call, which may change things and not answer. What it writes goes to disk behind this.
                used = update(_rows).where(_at(sector)).values(last_used=None)
                await self._database.write(lambda tx: tx.execute(used), durable=False)
            return msgspec.Raw(await self._service.run(wanted, request, dataclasses.replace(admitted, under=sector)))

    async def abort(self, sector: SectorID, reason: str = "") -> None:
        """Abort a sector whose worker will not come back, which frees what it had for others.

        A sector on the chain goes back to what it was before that work, also before an upgrade whose message was lost;
        it is finished if the work has just proved it. If the worker does come back, it is refused like a copy that was left
        behind; once the record is closed here, it moves its files to its trash.

        Raises:
            errors.SectorNotFound: It is unknown or finished.
            errors.ManagerError: Its proof, or that of its upgrade, is on its way to the chain.
        """

        def transaction(tx: Connection) -> int:
            now = self._clock()
            ledger.load(tx, sector)
            why = reason or "aborted by an operator"
            snapup.abandoned(tx, sector, why, now, proven=proven, lost=lost)
            tx.execute(update(_rows).where(_at(sector)).values(holder="nobody", holder_location=""))
            return _next_attempt(tx, sector)

        async with self._turn(sector):
            proven = await self._commits.is_proven(sector)
            lost = await self._commits.lost_upgrade(sector)
            attempt = await self._database.write(transaction)
        log.warning(
            "sector aborted by an operator",
            sector=str(sector),
            attempt=attempt,
            reason=reason,
            proven=proven,
            lost_message=lost,
        )

    def _present(self, tx: Connection, sector: SectorID) -> "_Present":
        columns = (_rows.c.attempt, _rows.c.holder, _rows.c.holder_location, _rows.c.last_used, _rows.c.allocated_to)
        row = tx.execute(select(*columns).where(_at(sector))).first()
        if row is None:
            raise errors.SectorNotFound
        last_used = row.attempt if row.last_used is None else row.last_used
        return _Present(int(row.attempt), row.holder, row.holder_location, int(last_used), row.allocated_to)


@dataclasses.dataclass(frozen=True, slots=True)
class _Present:
    """The present attempt, the worker and location that have it, the last that was used, and who was given the sector."""

    attempt: int
    holder: str | None
    location: str | None
    last_used: int
    allocated_to: str

    @property
    def is_of_a_store(self) -> bool:
        """Whether one of our stores has the sector."""
        return self.allocated_to.startswith(holders.STORE)

    def is_of(self, store: str) -> bool:
        """Return whether it is this store that has the sector."""
        return holders.is_store(self.allocated_to, store)

    def may_be_of(self, worker: str | None) -> bool:
        """Return whether a worker with a token of its own has the sector, or has not claimed it yet; others pass."""
        return worker is None or self.holder in {None, worker}


def _elsewhere(sector: SectorID) -> rpc_errors.RpcError:
    return rpc_errors.RpcError(
        rpc_errors.Code.STALE_ATTEMPT,
        f"{sector} was handed out to another sealing store, or to another worker's: go on with it there, or abort the"
        " sector here, which ends this copy only",
    )


def _stale(sector: SectorID, attempt: int | None, present: int, worker: str | None) -> rpc_errors.RpcError:
    if attempt is not None and attempt > present:
        return rpc_errors.RpcError(
            rpc_errors.Code.STALE_ATTEMPT,
            f"attempt {attempt} at {sector} was never issued, the last is {present}: is this the right manager, with its"
            " latest database? Restart the worker to claim the sector again",
        )
    return rpc_errors.RpcError(
        rpc_errors.Code.STALE_ATTEMPT,
        f"attempt {attempt} at {sector} is over: attempt {present} belongs to {worker or 'another worker'};"
        f" if this copy of the store was left behind, abort the sector here: that ends this copy only",
    )


def _next_attempt(tx: Connection, sector: SectorID, *, last_used: int | None = None) -> int:
    tx.execute(update(_rows).where(_at(sector)).values(attempt=_rows.c.attempt + 1, last_used=last_used))
    return int(tx.execute(select(_rows.c.attempt).where(_at(sector))).scalar_one())


def _at(sector: SectorID) -> ColumnElement[bool]:
    return (_rows.c.miner == sector.miner) & (_rows.c.number == sector.number)
