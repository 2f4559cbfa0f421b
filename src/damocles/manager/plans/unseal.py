"""Pieces that are wanted out of sealed sectors: asked for by tools, handed to workers, brought to their destinations.

A task is known by its sector and piece. While it is worked on, its sector is online, so that a sector has one worker.
"""

from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import urlsplit

import msgspec
import structlog
from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, select, update

from damocles import methods
from damocles.manager import errors
from damocles.manager.callers import holders
from damocles.manager.db import tables
from damocles.manager.db.engine import Database
from damocles.manager.plans import handouts
from damocles.manager.sectors import ledger
from damocles.methods import rules
from damocles.rpc import core
from damocles.stores import outlets
from damocles.text import redaction, urls
from damocles.wire import commitments, records, seal
from damocles.wire.codec import CID
from damocles.wire.seal import UnsealState
from damocles.wire.sectors import SealProof, SectorID

log = structlog.get_logger(__name__)

_tasks = tables.unseal_tasks

_SCHEMES = ("http", "https", "file", "store", "market")
_AT_WORK = (UnsealState.UNSEALING, UnsealState.UPLOADING)


class Unsealing:
    """Handlers of the API, for tools and for workers."""

    def __init__(
        self,
        database: Database,
        miners: Collection[ledger.Miner],
        clock: Callable[[], float],
        *,
        held: holders.Holders,
    ) -> None:
        self._database = database
        self._held = held
        self._miners = miners
        self._clock = clock

    def register(self, service: core.Service) -> None:
        """Serve the methods."""
        service.add(methods.proven.unseal_piece, self.unseal_piece)
        service.add(methods.proven.unseal_tasks, self.tasks)
        handouts.add(service, methods.proven.allocate_unseal, methods.proven.hand_out_unseal, self._allocate)
        service.add(methods.proven.acquire_destinations, self.acquire_destinations)
        service.add(methods.proven.achieve_unseal, self.achieve)

    async def unseal_piece(self, sector: SectorID, piece: CID, offset_bytes: int, size_bytes: int, dest: str) -> None:
        """Request a range of a sector's data, in unpadded bytes, to be sent to a URL.

        Without a URL it goes to this manager's piece store. Requested again, a task that has ended starts again, one that
        waits gets another destination. The original's manager streams the data where no URL is given.
        """
        try:
            commitments.commitment_of(piece)
        except ValueError as error:
            raise errors.ManagerError(str(error)) from error
        dest = dest or f"store:///{piece}"
        check_destination(dest)
        now = self._clock()
        await self._database.write(
            lambda tx: ask(tx, sector, piece, span=(offset_bytes, size_bytes), dest=dest, now=now)
        )
        log.info("piece wanted", sector=str(sector), piece=piece, dest=urls.shown(dest))

    async def tasks(self) -> list[seal.SectorUnsealInfo]:
        """Return all tasks, the oldest first, destinations without their secrets."""

        def read(tx: Connection) -> list[seal.SectorUnsealInfo]:
            rows = tx.execute(select(_tasks).order_by(_tasks.c.at))
            infos = [_info(tx, row, ledger.find(tx, SectorID(row.miner, row.number))) for row in rows]
            return [msgspec.structs.replace(info, dest=[urls.shown(url) for url in info.dest or ()]) for info in infos]

        return await self._database.read(read)

    async def _allocate(
        self, spec: seal.AllocateSectorSpec, receiver: ledger.Receiver
    ) -> tuple[seal.SectorUnsealInfo, int] | None:
        return await self._database.write(lambda tx: allocate(tx, self._miners, spec, receiver, self._clock()))

    async def acquire_destinations(self, sector: SectorID, piece: CID) -> list[str]:
        """Return the destinations of a piece, only to the worker that unseals it, for the URLs may hold secrets."""

        def begin(tx: Connection) -> list[str]:
            row = _handed_out(tx, sector, piece)
            if row is None:
                raise errors.ManagerError(f"acquire unseal dest({_name(sector, piece)}): task not found")
            if row.state == UnsealState.UNSEALING:
                _set(tx, sector, piece, state=UnsealState.UPLOADING.value, at=self._clock())
            return msgspec.json.decode(row.dest, type=list[str])

        return await self._database.write(begin)

    async def may_bring(self, call: core.Call, piece: str) -> bool:
        """Return whether a caller may bring a piece to this manager: who unseals it at the moment, or an admin."""
        if rules.Scope.ADMIN in call.scopes:
            return True

        def at_work(tx: Connection) -> list[SectorID]:
            rows = tx.execute(select(_tasks).where(_tasks.c.piece == piece, _tasks.c.state.in_(_AT_WORK)))
            return [SectorID(row.miner, row.number) for row in rows]

        found = await self._database.read(at_work)
        return any([await self._held.is_of(call, sector) for sector in found])

    async def achieve(self, sector: SectorID, piece: CID, error: str) -> None:
        """End a task, with an error if it cannot be done."""

        def end(tx: Connection) -> None:
            if _handed_out(tx, sector, piece) is None:
                raise errors.ManagerError(f"achieve unseal info({_name(sector, piece)}): task not found")
            state = UnsealState.FAILED if error else UnsealState.FINISHED
            _set(tx, sector, piece, state=state.value, error=redaction.kept(error), at=self._clock())

        await self._database.write(end)
        if error:
            log.warning("piece cannot be unsealed", sector=str(sector), piece=piece, reason=error)
        else:
            log.info("piece unsealed", sector=str(sector), piece=piece)


def check_destination(url: str) -> None:
    """Refuse a URL that no worker knows what to do with, or no worker lets others choose.

    Raises:
        errors.ManagerError: Its scheme is unknown, or its path is not one to be chosen from elsewhere.
    """
    shown = urls.shown(url)
    try:
        scheme = urlsplit(url).scheme
        if scheme in {"file", "store"}:
            outlets.parts(url)
    except ValueError as error:
        raise errors.ManagerError(f"invalid dest url: {shown} ({error})") from error
    if scheme not in _SCHEMES:
        what = f"unsupported scheme {scheme}" if scheme else f"a path is written file://{shown}"
        raise errors.ManagerError(f"invalid dest url: {shown} ({what}, use {', '.join(_SCHEMES)})")


def ask(tx: Connection, sector: SectorID, piece: CID, *, span: tuple[int, int], dest: str, now: float) -> None:
    """Put a task into the queue, or one more destination to one that waits.

    Raises:
        errors.ManagerError: The sector cannot be unsealed, or the piece is on its way already.
    """
    record = ledger.find(tx, sector)
    _check(tx, sector, record, span)
    row = _find(tx, sector, piece)
    if row is not None and row.state in _AT_WORK:
        raise errors.ManagerError(
            f"piece {piece} of {sector} is {row.state} for other destinations: ask again when that is done"
        )
    dests, since = [dest], now
    if row is not None and row.state == UnsealState.SET_UP:
        if (row.offset_bytes, row.size_bytes) != span:
            raise errors.ManagerError(
                f"piece {piece} of {sector} waits with another range: {row.size_bytes} bytes from {row.offset_bytes}"
            )
        known = msgspec.json.decode(row.dest, type=list[str])
        dests, since = known if dest in known else [*known, dest], row.at
    tx.execute(delete(_tasks).where(_of(sector), _tasks.c.piece == piece))
    tx.execute(
        insert(_tasks).values(
            miner=sector.miner,
            number=sector.number,
            piece=str(piece),
            offset_bytes=span[0],
            size_bytes=span[1],
            dest=msgspec.json.encode(dests).decode(),
            state=UnsealState.SET_UP.value,
            error="",
            at=since,
        )
    )


def _check(tx: Connection, sector: SectorID, record: records.SectorState | None, span: tuple[int, int]) -> None:
    offset_bytes, size_bytes = span
    if record is None or record.abort_reason or record.removed:
        raise errors.ManagerError(f"{sector} cannot be unsealed: the manager has no such sector, or it was aborted")
    if record.pre_commit is None or ledger.files(tx, sector, upgrade=False) is None:
        raise errors.ManagerError(f"{sector} cannot be unsealed: it is not sealed, or its files are in no known store")
    whole = int(SealProof(record.proof).size) // 128 * 127
    if offset_bytes < 0 or size_bytes <= 0 or offset_bytes + size_bytes > whole:
        raise errors.ManagerError(f"{sector} has {whole} unpadded bytes, there are no {size_bytes} from {offset_bytes}")


def allocate(
    tx: Connection,
    miners: Collection[ledger.Miner],
    spec: seal.AllocateSectorSpec,
    receiver: ledger.Receiver,
    now: float,
) -> tuple[seal.SectorUnsealInfo, int] | None:
    """Hand out the oldest task that `spec` allows, with the number of the attempt at its sector.

    A store that was handed one and has not reported on it gets the same again.
    """
    for record in handouts.lost(tx, receiver, records.Job.UNSEAL):
        row = tx.execute(select(_tasks).where(_of(record.id), _tasks.c.state == UnsealState.UNSEALING)).first()
        if row is not None:
            return _info(tx, row, record), ledger.reopen(tx, record, receiver, now)
    waiting = tx.execute(select(_tasks).where(_tasks.c.state == UnsealState.SET_UP).order_by(_tasks.c.at)).all()
    for row in waiting:
        sector = SectorID(row.miner, row.number)
        found = ledger.find(tx, sector, online=False)
        if found is None or found.abort_reason or not handouts.allows(spec, miners, found):
            continue
        attempt = ledger.reopen(tx, msgspec.structs.replace(found, unsealing=True), receiver, now)
        _set(tx, sector, row.piece, state=UnsealState.UNSEALING.value, at=now)
        return _info(tx, _find(tx, sector, row.piece), found), attempt
    return None


def close(tx: Connection, sector: SectorID, reason: str, now: float) -> None:
    """Fail what a worker has not ended when its sector ends."""
    at_work = and_(_of(sector), _tasks.c.state.in_(_AT_WORK))
    tx.execute(update(_tasks).where(at_work).values(state=UnsealState.FAILED.value, error=reason, at=now))


def _info(tx: Connection, row: Any, record: records.SectorState | None) -> seal.SectorUnsealInfo:
    sector = SectorID(row.miner, row.number)
    pre = record.pre_commit if record is not None else None
    assert record is not None
    assert pre is not None
    return seal.SectorUnsealInfo(
        sector=seal.AllocatedSector(sector, record.proof),
        piece_cid=CID(row.piece),
        offset_bytes=row.offset_bytes,
        size_bytes=row.size_bytes,
        private=seal.SectorPrivate(ledger.files(tx, sector, upgrade=False) or ""),
        ticket=pre.ticket,
        comm_d=commitments.commitment_of(pre.comm_d),
        dest=msgspec.json.decode(row.dest, type=list[str]),
        state=row.state,
        error=row.error,
    )


def _find(tx: Connection, sector: SectorID, piece: str) -> Row[Any] | None:
    return tx.execute(select(_tasks).where(_of(sector), _tasks.c.piece == str(piece))).first()


def _handed_out(tx: Connection, sector: SectorID, piece: str) -> Row[Any] | None:
    """Return a task whose sector is being worked on for it, or for another piece."""
    record = ledger.find(tx, sector, online=True)
    row = _find(tx, sector, piece) if record is not None and record.unsealing else None
    return row if row is not None and row.state != UnsealState.SET_UP else None


def _set(tx: Connection, sector: SectorID, piece: str, **values: object) -> None:
    tx.execute(update(_tasks).where(_of(sector), _tasks.c.piece == str(piece)).values(**values))


def _of(sector: SectorID) -> ColumnElement[bool]:
    return and_(_tasks.c.miner == sector.miner, _tasks.c.number == sector.number)


def _name(sector: SectorID, piece: str) -> str:
    return f"{sector.miner}-{sector.number}-{piece}"
