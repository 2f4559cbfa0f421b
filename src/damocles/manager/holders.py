"""Whose a sector is: a step in its life is taken by whoever has it, and by nobody else who is let in as a worker.

Our workers make their calls under an attempt (`claims`). Those of the original send none: a sector that was handed out to
one of them is bound to its address. If nobody knows whom it was handed out to (it was imported), it belongs to the first
address that takes a step with it, unless that step would end it.

The original's command line calls the same methods to end a sector or to send a message again (`sectors abort`,
`resend-pre`). That is an operator's act, and needs the scope `operate`.
"""

import contextlib
import dataclasses
import weakref
from collections.abc import AsyncIterator, Sequence
from typing import Any

import anyio
import structlog
from sqlalchemy import ColumnElement, Connection, Row, select, update

from damocles.manager import sectors
from damocles.manager.db import tables
from damocles.manager.db.engine import Database
from damocles.rpc import access, core, errors
from damocles.wire import codec, records, seal
from damocles.wire.sectors import SectorID

log = structlog.get_logger(__name__)

STORE = "store "  # begins the name of a holder that is one of our stores, and works under attempts
_LOOPBACK = "127.0.0.1"
_JOBS_REMEMBERED = 10_000
_OPERATES = access.Rule(access.Scope.OPERATE)
_ENDS = frozenset({"Venus.ReportAborted", "Venus.ReportFinalized"})
_SUBMITS = frozenset(
    {"Venus.SubmitPreCommit", "Venus.SubmitProof"}
)  # the last parameter: in place of what was submitted

_rows = tables.sectors


class Holders:
    """Lets steps that are not made under an attempt through, one at a time for each sector."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # The lock of a sector lives as long as somebody has or wants it.
        self._turns: weakref.WeakValueDictionary[SectorID, anyio.Lock] = weakref.WeakValueDictionary()

    def turn(self, sector: SectorID) -> anyio.Lock:
        """Return the lock of a sector, for steps in its life and for whoever changes whose it is."""
        return self._turns.setdefault(sector, anyio.Lock())

    @contextlib.asynccontextmanager
    async def step(self, call: core.Call, method: core.Method, arguments: Sequence[Any]) -> AsyncIterator[core.Call]:
        """Stand around a call; yield it, without the scope of a worker if it is an operator's act.

        Raises:
            errors.RpcError: Code 403: somebody else has the sector.
        """
        rule, sector = access.rule_of(method.name), seal.sector_in(arguments)
        is_step = rule is not None and rule.worker and rule.changes and method.name.startswith("Venus.")
        if not is_step or sector is None or call.attempt is not None:
            yield call
            return
        async with self.turn(sector):
            if await self._has(call, sector, method.name, arguments):
                yield call
            else:
                yield dataclasses.replace(call, scopes=call.scopes - {access.Scope.WORKER})

    async def _has(self, call: core.Call, sector: SectorID, method: str, arguments: Sequence[Any]) -> bool:
        """Return whether the caller has the sector; if not, the call is an operator's.

        Raises:
            errors.RpcError: It is not.
        """
        row = await self._database.read(lambda tx: _row(tx, sector))
        if row is None or not row.online:
            return True  # nobody has it, which the method answers in its own words
        held = _held_by(row.holder, row.allocated_to)
        if held == host_of(call.peer):
            return True
        if _OPERATES.allows(call.scopes):
            return False
        ends = method in _ENDS or (method in _SUBMITS and arguments[-1] is True)
        if held is None and not ends and not _is_waiting(row.worker, row.record):
            bind = update(_rows).where(_at(sector)).values(allocated_to=call.peer)
            await self._database.write(lambda tx: tx.execute(bind))
            log.info("sector is bound to the address that works on it", sector=str(sector), peer=call.peer)
            return True
        log.warning("step refused", method=method, sector=str(sector), peer=call.peer, holder=held)
        raise errors.RpcError(errors.Code.FORBIDDEN, _refusal(method, sector, held, call))


class Borrowers:
    """Which machines window PoSt jobs are lent to; forgotten with the process, after which any machine may end them."""

    def __init__(self) -> None:
        self._hosts: dict[str, str | None] = {}

    def lent(self, job: str, call: core.Call) -> None:
        """Take note of who was lent a job."""
        self._hosts.pop(job, None)
        while len(self._hosts) >= _JOBS_REMEMBERED:
            del self._hosts[next(iter(self._hosts))]
        self._hosts[job] = host_of(call.peer)

    def may_end(self, job: str, call: core.Call) -> bool:
        """Return whether the caller is on the machine that the job was lent to, as far as that is known, or operates."""
        host = self._hosts.get(job)
        return host in {None, host_of(call.peer)} or _OPERATES.allows(call.scopes)


def host_of(peer: str) -> str | None:
    """Return the address, without its port, of whoever a sector was handed out to; `None` if that is not known."""
    ip = access.ip_of(peer.removeprefix("admitted "))
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
        return f"{holder or allocated_to} under an attempt"
    return host_of(allocated_to)


def _is_waiting(worker: str | None, record: str) -> bool:
    """Return whether a sector waits to be handed out: whoever asks for it gets it."""
    return worker is None and sectors.job_of(codec.decode(record, records.SectorState)) is not sectors.Job.SEALING


def _refusal(method: str, sector: SectorID, held: str | None, call: core.Call) -> str:
    whose = f"{sector} is held by {held}" if held else f"nobody has reported {sector} to this manager yet"
    own = host_of(call.peer) or "ADDRESS"
    return (
        f"{whose}, not by {call.who}: {method} takes its holder, or an operator: a token of scope operate, or"
        f" --admit {own}=read,operate,worker, also for a worker whose address has changed"
    )


def _row(tx: Connection, sector: SectorID) -> Row[bool, str | None, str, str | None, str] | None:
    columns = (_rows.c.online, _rows.c.holder, _rows.c.allocated_to, _rows.c.worker, _rows.c.record)
    return tx.execute(select(*columns).where(_at(sector))).first()


def _at(sector: SectorID) -> ColumnElement[bool]:
    return (_rows.c.miner == sector.miner) & (_rows.c.number == sector.number)
