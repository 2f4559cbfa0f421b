"""Whose a sector is: only its holder takes a step in its life, and no other worker that is admitted.

A sector of ours belongs to the sealing store that it was handed out to. The store's identity, which is in its journal and
nowhere else, is the key to it: our workers show it with each call that they make under an attempt (`claims`). Kept here
is a digest. Workers of the original show nothing: a sector that was handed out to one of them is bound to its address. If
it is unknown to whom it was handed out (it was imported), it belongs to the first address that takes a step with it, unless
that step would end it, or to the first store that claims it.

The original's command line calls the same methods to end a sector or to send a message again (`sectors abort`,
`resend-pre`). That is an operator's act, and needs the scope `operate`.
"""

import contextlib
import dataclasses
import hashlib
import hmac
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import anyio
import structlog
from sqlalchemy import ColumnElement, Connection, Row, select, update

from damocles import methods
from damocles.manager.callers import names
from damocles.manager.db import tables
from damocles.manager.db.engine import Database
from damocles.manager.sectors import calls, ledger
from damocles.methods import rules
from damocles.rpc import address, core, errors, limits
from damocles.rpc.admission import access
from damocles.wire import codec, records, seal
from damocles.wire.sectors import SectorID

log = structlog.get_logger(__name__)

STORE = "store "  # begins what a sector was handed out to if that is one of our stores, which works under attempts
_LOOPBACK = "127.0.0.1"
_JOBS_REMEMBERED = 10_000
_OPERATES = rules.Rule(rules.Scope.OPERATE)
_REPORT = methods.sealer.report_state.name
_ENDS = frozenset({methods.sealer.report_aborted.name, methods.sealer.report_finalized.name})
_SUBMITS = frozenset(
    {methods.sealer.submit_pre_commit.name, methods.sealer.submit_proof.name}
)  # the last parameter: in place of what was submitted

_rows = tables.sectors
_COLUMNS = (
    *(_rows.c.online, _rows.c.holder, _rows.c.allocated_to, _rows.c.allocated_by, _rows.c.worker, _rows.c.record),
)


class Holders:
    """Lets the calls of workers through, those that are not made under an attempt one at a time for each sector.

    What they change is in the log with who they are, and in the history of the sector.
    """

    def __init__(
        self, database: Database, naming: names.Names | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._names = naming or names.Names()
        self._clock = clock
        # The lock of a sector lives as long as somebody has or wants it.
        self._turns: weakref.WeakValueDictionary[SectorID, anyio.Lock] = weakref.WeakValueDictionary()

    def turn(self, sector: SectorID) -> anyio.Lock:
        """Return the lock of a sector, for steps in its life and for changes of its holder."""
        return self._turns.setdefault(sector, anyio.Lock())

    async def handle(self, handling: core.Handling, proceed: core.Proceed) -> core.Outcome:
        """Stand around a call."""
        async with self.step(handling.call, handling.method, handling.arguments) as by:
            return await proceed(dataclasses.replace(handling, call=by))

    @contextlib.asynccontextmanager
    async def step(self, call: core.Call, method: core.Method, arguments: Sequence[Any]) -> AsyncIterator[core.Call]:
        """Stand around a call; yield it, without the scope of a worker if it is an operator's act.

        Raises:
            errors.RpcError: Code 403: somebody else has the sector, or the name that the caller uses.
        """
        rule, sector = access.rule_of(method.name), seal.sector_in(arguments)
        if call.under is not None and sector != call.under:
            raise errors.RpcError(
                errors.Code.INVALID_PARAMS, f"{method.name} is not about {call.under}, at which the attempt is"
            )
        if rule is None or not (rule.worker and rule.changes):
            yield call
            return
        self._names.check(call, method, arguments)
        with structlog.contextvars.bound_contextvars(by=call.who, peer=call.peer):
            if sector is None or not method.name.startswith("Venus."):
                yield call
            elif call.under is not None:
                yield call
                await self._keep(call, sector, method.name)
            else:
                async with self.turn(sector):
                    if await self._has(call, sector, method.name, arguments):
                        yield call
                        await self._keep(call, sector, method.name)
                    else:
                        yield dataclasses.replace(call, scopes=call.scopes - {rules.Scope.WORKER})

    async def is_of(self, call: core.Call, sector: SectorID) -> bool:
        """Return whether a sector seems to belong to a caller that does not show its store's identity."""
        row = await self._database.read(lambda tx: _row(tx, sector))
        if row is None or not row.online:
            return False
        if not row.allocated_to.startswith(STORE):
            return host_of(row.allocated_to) == host_of(call.peer)
        worker = row.holder or row.worker  # who reported it last, under an attempt
        return self._names.speaks_for(call, worker) if worker is not None else row.allocated_by == call.who

    async def _keep(self, call: core.Call, sector: SectorID, method: str) -> None:
        """Keep for its history what was called about a sector; reports have rows of their own."""
        if method == _REPORT or not call.who:
            return
        what, caller = method.removeprefix("Venus."), call.caller
        try:
            if not await self._database.read(lambda tx: calls.is_last(tx, sector, what, caller)):
                now = self._clock()
                await self._database.write(lambda tx: calls.keep(tx, sector, what, caller, now), durable=False)
        except errors.DiskFails as error:  # the step itself is kept, and must not be told as failed
            log.error("step is not in the sector's history", method=method, sector=str(sector), error=str(error))

    async def _has(self, call: core.Call, sector: SectorID, method: str, arguments: Sequence[Any]) -> bool:
        """Return whether the caller has the sector; if not, the call is an operator's.

        Raises:
            errors.RpcError: It is not.
        """
        row = await self._database.read(lambda tx: _row(tx, sector))
        if row is None:
            return True  # nobody has it, which the method answers in its own words
        held = _held_by(row.holder, row.allocated_to)
        if not row.online and (method != _REPORT or held is None):
            return True  # likewise; but the history of a sector that is over stays that of whoever had it
        if held == host_of(call.peer):
            return True
        if _OPERATES.allows(call.scopes):
            return False
        ends = method in _ENDS or (method in _SUBMITS and arguments[-1] is True)
        if held is None and not ends and not _is_waiting(row.worker, row.record):
            bind = update(_rows).where(_at(sector), _rows.c.allocated_to == row.allocated_to, _rows.c.holder.is_(None))
            bind = bind.values(allocated_to=call.peer, allocated_by=call.who)
            if await self._database.write(lambda tx: tx.execute(bind).rowcount) == 0:
                return await self._has(call, sector, method, arguments)  # another manager has bound it meanwhile
            log.info("sector is bound to the address that works on it", sector=str(sector))
            return True
        log.warning("step refused", method=method, sector=str(sector), holder=held)
        raise errors.RpcError(errors.Code.FORBIDDEN, _refusal(method, sector, held, call))


class Borrowers:
    """Which machines window PoSt jobs are lent to; forgotten with the process, after which any machine may end them.

    A worker with a token of its own needs no machine: the job's record has its name.
    """

    def __init__(self, naming: names.Names) -> None:
        self._names = naming
        self._hosts: dict[tuple[str, str], str | None] = {}  # by job and worker

    def lent(self, job: str, worker: str, call: core.Call) -> None:
        """Take note of who was lent a job."""
        self._hosts.pop((job, worker), None)
        while len(self._hosts) >= _JOBS_REMEMBERED:
            del self._hosts[next(iter(self._hosts))]
        self._hosts[job, worker] = host_of(call.peer)

    def may_end(self, job: str, worker: str, call: core.Call) -> bool:
        """Return whether the caller is whom the job was lent to, as far as that is known, or operates."""
        if _OPERATES.allows(call.scopes):
            return True
        is_theirs = call.worker is not None or self._hosts.get((job, worker)) in {None, host_of(call.peer)}
        return is_theirs and self._names.speaks_for(call, worker)

    def which(self, job: str, workers: Iterable[str], call: core.Call) -> str | None:
        """Return the first of some workers that have a job whom the caller may be; `None` if it is none of them."""
        return next((worker for worker in workers if self.may_end(job, worker, call)), None)


def receiver(call: core.Call, store: str | None = None) -> ledger.Receiver:
    """Return whom work is handed out to that this caller asks for: a store with this identity, or its address."""
    most = limits.SECTORS_OF_A_WORKER if call.worker is not None else limits.SECTORS_OF_A_SHARED_TOKEN
    return ledger.Receiver(call.peer if store is None else of_store(store), call.who or None, most)


def of_store(identity: str) -> str:
    """Return what is kept of a store, from which nobody learns its identity."""
    return f"{STORE}{hashlib.sha256(identity.encode()).hexdigest()[:32]}"


def is_store(allocated_to: str, identity: str) -> bool:
    """Return whether a sector was handed out to the store with this identity; earlier releases kept that itself."""
    kept = allocated_to.encode()
    return any(hmac.compare_digest(kept, one.encode()) for one in (of_store(identity), f"{STORE}{identity}"))


def host_of(peer: str) -> str | None:
    """Return the address, without its port, that a sector was handed out to; `None` if that is unknown."""
    ip = address.ip_of(peer.removeprefix("admitted "))
    if ip is None:
        return None
    return _LOOPBACK if ip.is_loopback else str(ip)  # `localhost` is now one of them, now another


def address_of(tx: Connection, sector: SectorID) -> str | None:
    """Return the address that a sector is bound to; `None` if its worker works under attempts, or nobody has it yet."""
    row = _row(tx, sector)
    return host_of(row.allocated_to) if row is not None and row.holder is None else None


def _held_by(holder: str | None, allocated_to: str) -> str | None:
    """Return who has a sector: a worker by name, a store, or an address; `None` if that is not known."""
    if holder is not None or allocated_to.startswith(STORE):
        return f"{holder or 'one of our stores'} under an attempt"
    return host_of(allocated_to)


def _is_waiting(worker: str | None, record: str) -> bool:
    """Return whether a sector waits to be handed out: the next one that asks gets it."""
    return worker is None and ledger.job_of(codec.decode(record, records.SectorState)) is not records.Job.SEALING


def _refusal(method: str, sector: SectorID, held: str | None, call: core.Call) -> str:
    whose = f"{sector} is held by {held}" if held else f"nobody has reported {sector} to this manager yet"
    own = host_of(call.peer) or "ADDRESS"
    return (
        f"{whose}, not by {call.who}: {method} requires its holder, or an operator: a token of scope operate, or"
        f" --admit {own}=read,operate,worker, also for a worker whose address has changed"
    )


def _row(tx: Connection, sector: SectorID) -> Row[bool, str | None, str, str | None, str | None, str] | None:
    return tx.execute(select(*_COLUMNS).where(_at(sector))).first()


def _at(sector: SectorID) -> ColumnElement[bool]:
    return (_rows.c.miner == sector.miner) & (_rows.c.number == sector.number)
