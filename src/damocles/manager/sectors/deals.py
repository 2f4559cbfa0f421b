"""Deals from a folder with pieces, and a file with their deals.

    DIR/deals.json              [{"PieceCID": "baga…", "PieceSize": 1024, "PayloadSize": 1000, "DealID": 7}, …]
    DIR/<piece CID>[.car]       the payload of each piece; without `PayloadSize`, its length is taken from here

A deal of the built-in market has a `DealID`, a direct onboarding (DDO) an `AllocationID` instead, with the
address of its `Client`. On a devnode of one's own (`mock`) both are sealed as data of nobody, unless they name a client. The file
is read again with each request, so deals can be added at any time. Which sector has which deal is in the database.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio.to_thread
import msgspec
import structlog
from msgspec import field
from sqlalchemy import Connection, and_, delete, insert, select

from damocles.manager import errors
from damocles.manager.db import tables
from damocles.manager.db.engine import Database
from damocles.stores import pieces
from damocles.text import units
from damocles.wire import commitments, seal
from damocles.wire.codec import CID
from damocles.wire.sectors import SealProof, SectorID

log = structlog.get_logger(__name__)

FILE_NAME = "deals.json"

_deals = tables.deals
_LEAST_PIECE_BYTES = 128
_MOST_NAMED = 3


class Offer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A deal as the file has it; `size_bytes` is padded."""

    cid: str = field(name="PieceCID")
    size_bytes: int = field(name="PieceSize")
    payload_bytes: int | None = field(name="PayloadSize", default=None)
    deal_id: int = field(name="DealID", default=0)
    allocation_id: int = field(name="AllocationID", default=0)
    client: str = field(name="Client", default="")  # whose allocation it is; only a real chain asks for it

    @property
    def key(self) -> tuple[str, int]:
        """What the deal is known by: its market and its number there."""
        return ("deal", self.deal_id) if self.deal_id else ("allocation", self.allocation_id)


class Deals:
    """The offers in a folder; without one there are none. `sector_bytes` is what the manager's sectors hold."""

    def __init__(self, folder: Path | None, sector_bytes: int | None = None) -> None:
        self._folder = folder
        self._sector_bytes = sector_bytes
        self._reported: set[tuple[str, int]] = set()

    @property
    def is_open(self) -> bool:
        """Whether there is a market at all."""
        return self._folder is not None

    async def offers(self) -> list[Offer]:
        """Return all offers, each with the size of its payload.

        Raises:
            errors.ManagerError: The file cannot be used; the text says why.
        """
        if self._folder is None:
            return []
        offers = await anyio.to_thread.run_sync(read, self._folder)
        self._tell_too_large(offers)
        return offers

    async def why_none(self, database: Database, spec: seal.AcquireDealsSpec, sector_bytes: int) -> str:
        """Return why no sector can be made of deals; empty if one can."""
        if not self.is_open:
            return "this manager has no market (--deals)"
        offers = await self.offers()
        return why_none(await database.read(lambda tx: free(tx, offers)), sector_bytes, spec)

    def _tell_too_large(self, offers: Sequence[Offer]) -> None:
        """Log once each deal that fits in no sector: it would wait for ever, and the sectors with it."""
        for offer in offers:
            if self._sector_bytes is None or offer.size_bytes <= self._sector_bytes or offer.key in self._reported:
                continue
            self._reported.add(offer.key)
            log.error(
                "a deal fits in no sector and will wait for ever",
                deal=" ".join(map(str, offer.key)),
                piece=offer.cid,
                piece_size=units.human_size(offer.size_bytes),
                sector_size=units.human_size(self._sector_bytes),
            )


def read(folder: Path) -> list[Offer]:
    """Read and check the offers of a folder; no file means no offers.

    Raises:
        errors.ManagerError: The file, or the payload of an offer, cannot be used.
    """
    file = folder / FILE_NAME
    try:
        offers = msgspec.json.decode(file.read_bytes(), type=list[Offer])
        complete = [_checked(folder, offer) for offer in offers]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise errors.ManagerError(f"{error.filename or file} cannot be read: {error.strerror}") from error
    except (ValueError, msgspec.MsgspecError) as error:
        raise errors.ManagerError(f"{file}: {error}") from error
    keys = [offer.key for offer in complete]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise errors.ManagerError(f"{file}: {twice[0]} {twice[1]} appears twice")
    return complete


def _checked(folder: Path, offer: Offer) -> Offer:
    if bool(offer.deal_id) == bool(offer.allocation_id):
        raise ValueError(f"piece {offer.cid} needs either a DealID or an AllocationID")
    commitments.commitment_of(offer.cid)
    commitments.check_size(offer.size_bytes)
    if offer.payload_bytes is not None:
        return offer
    for name in pieces.names(offer.cid):
        if pieces.is_file(folder / name):
            return msgspec.structs.replace(offer, payload_bytes=(folder / name).stat().st_size)
    raise ValueError(f"piece {offer.cid} has no PayloadSize, and its file is not in {folder}")


def assign(
    tx: Connection,
    allocated: seal.AllocatedSector,
    spec: seal.AcquireDealsSpec,
    offers: Sequence[Offer],
    now: float,
) -> list[seal.SectorPiece]:
    """Give free offers to a sector and return what fills it, fillers included; none if there is too little."""
    sector, sector_bytes = allocated.id, int(SealProof(allocated.proof).size)
    chosen = choose(free(tx, offers), sector_bytes, spec)
    for offer in chosen:
        kind, number = offer.key
        tx.execute(insert(_deals).values(kind=kind, id=number, miner=sector.miner, number=sector.number, at=now))
    return layout(chosen, sector_bytes) if chosen else []


def free(tx: Connection, offers: Sequence[Offer]) -> list[Offer]:
    """Return the offers that no sector has."""
    taken = {(row.kind, row.id) for row in tx.execute(select(_deals.c.kind, _deals.c.id))}
    return [offer for offer in offers if offer.key not in taken]


def release(tx: Connection, sector: SectorID) -> int:
    """Make the deals of a sector free again; return how many it had."""
    return tx.execute(delete(_deals).where(_of(sector))).rowcount


def keep(tx: Connection, sector: SectorID, pieces: Sequence[seal.SectorPiece], now: float) -> None:
    """Let the deals of these pieces, and no others, belong to a sector; those that another one has stay there."""
    release(tx, sector)
    for piece in pieces:
        if piece.is_filler:
            continue
        deal = piece.deal
        kind, number = ("deal", deal.deal_id) if deal.is_builtin_market else ("allocation", deal.allocation_id)
        is_taken = tx.execute(select(_deals.c.miner).where(_deals.c.kind == kind, _deals.c.id == number)).first()
        if is_taken is None:
            tx.execute(insert(_deals).values(kind=kind, id=number, miner=sector.miner, number=sector.number, at=now))


def _of(sector: SectorID) -> Any:
    return and_(_deals.c.miner == sector.miner, _deals.c.number == sector.number)


def why_none(offers: Sequence[Offer], sector_bytes: int, spec: seal.AcquireDealsSpec) -> str:
    """Return why no sector can be made of these free offers; empty if one can."""
    if choose(offers, sector_bytes, spec):
        return ""
    large = [offer for offer in offers if offer.size_bytes > sector_bytes]
    reasons = []
    if large:
        names = [f"{' '.join(map(str, offer.key))} of {units.human_size(offer.size_bytes)}" for offer in large]
        size = units.human_size(sector_bytes)
        reasons.append(f"{units.some(names, _MOST_NAMED)} cannot be in a sector of {size}")
    if len(large) == len(offers):
        return "; ".join(["no other is free" if large else "none is free", *reasons])
    if spec.max_deals == 0:
        return "max_deals is 0"
    used = units.human_size(sum(offer.size_bytes for offer in _first_fitting(offers, sector_bytes, spec)))
    wanted = units.human_size(spec.min_used_bytes or 0)
    return "; ".join([f"those that are free fill {used} of {wanted} (min_deal_space)", *reasons])


def choose(offers: Sequence[Offer], sector_bytes: int, spec: seal.AcquireDealsSpec) -> list[Offer]:
    """Return the first offers that fit in a sector together; none if they use less of it than wanted."""
    chosen = _first_fitting(offers, sector_bytes, spec)
    return chosen if sum(offer.size_bytes for offer in chosen) >= (spec.min_used_bytes or 0) else []


def _first_fitting(offers: Sequence[Offer], sector_bytes: int, spec: seal.AcquireDealsSpec) -> list[Offer]:
    chosen: list[Offer] = []
    used_bytes = 0
    for offer in offers:
        if spec.max_deals is not None and len(chosen) >= spec.max_deals:
            break
        if used_bytes + offer.size_bytes <= sector_bytes:
            chosen.append(offer)
            used_bytes += offer.size_bytes
    return chosen


def layout(chosen: Sequence[Offer], sector_bytes: int) -> list[seal.SectorPiece]:
    """Put offers in an order that leaves no gap between them, and fill the rest of the sector with zeros."""
    result = [as_piece(offer) for offer in sorted(chosen, key=lambda offer: -offer.size_bytes)]
    offset = sum(piece.piece.size_bytes for piece in result)
    while offset < sector_bytes:
        # The largest that may begin here; the sizes so far grow smaller, so from here they grow.
        size = offset & -offset or sector_bytes
        zeros = commitments.unsealed_cid(commitments.zero_comm_d(size))
        result.append(seal.SectorPiece(seal.Piece(size, zeros), seal.DealInfo(is_builtin_market=False)))
        offset += size
    return result


def as_piece(offer: Offer) -> seal.SectorPiece:
    """Return the piece of an offer as a sector has it."""
    deal = seal.DealInfo(
        deal_id=offer.deal_id,
        allocation_id=offer.allocation_id,
        payload_bytes=offer.payload_bytes or 0,
        is_builtin_market=bool(offer.deal_id),
        client=offer.client or msgspec.UNSET,
    )
    return seal.SectorPiece(seal.Piece(offer.size_bytes, CID(offer.cid)), deal)


def fitting_bytes(payload_bytes: int) -> int:
    """Return the padded size of the smallest piece that holds a payload."""
    size = _LEAST_PIECE_BYTES
    while size // 128 * 127 < payload_bytes:
        size *= 2
    return size


def add(folder: Path, offer: Offer) -> None:
    """Append an offer to the folder's file; the file is replaced as a whole.

    Raises:
        errors.ManagerError: The file cannot be used.
    """
    offers = [*read(folder), offer]
    part = folder / f"{FILE_NAME}.part"
    part.write_bytes(msgspec.json.format(msgspec.json.encode(offers), indent=1) + b"\n")
    part.replace(folder / FILE_NAME)
