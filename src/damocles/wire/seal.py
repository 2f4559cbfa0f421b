"""Structs of the manager's SealerAPI (`Venus.*`) that workers and managers exchange.

Shapes as in damocles v0.13; keys are Go's field names. `None` stands for JSON null.
"""

import enum
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import field

from damocles.text import redaction
from damocles.wire.codec import CID, Bytes32
from damocles.wire.sectors import Epoch, Natural, SealProof, SectorID

# Parts of a report, each of which becomes a row: what is longer is refused.
Word: TypeAlias = Annotated[str, msgspec.Meta(max_length=255)]
Place: TypeAlias = Annotated[str, msgspec.Meta(max_length=4096)]

Bytes: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class SubmitResult(enum.IntEnum):
    """What the manager thinks of a submitted pre-commit, proof or update."""

    UNKNOWN = 0
    ACCEPTED = 1
    DUPLICATE = 2  # the same again: as good as accepted
    MISMATCHED = 3  # differs from what was submitted before
    REJECTED = 4  # can never be accepted
    FILES_MISSED = 5  # the persisted files are not where they should be


class OnChainState(enum.IntEnum):
    """How far a message has come."""

    UNKNOWN = 0
    PENDING = 1
    PACKED = 2
    LANDED = 3
    NOT_FOUND = 4
    FAILED = 5  # may be submitted again
    PERM_FAILED = 6
    SHOULD_ABORT = 7


class AllocateSectorSpec(msgspec.Struct, frozen=True):
    """What a worker is willing to seal; empty or null means anything."""

    allowed_miners: list[int] | None = field(name="AllowedMiners", default=None)
    allowed_proofs: list[int] | None = field(name="AllowedProofTypes", default=None)


class AllocatedSector(msgspec.Struct, frozen=True):
    """A sector handed out, with its seal proof number."""

    id: SectorID = field(name="ID")
    proof: int = field(name="ProofType")

    def __post_init__(self) -> None:
        """Refuse what nobody can seal, wherever it comes from."""
        self.id.check()
        try:
            SealProof(self.proof)
        except ValueError as error:
            raise ValueError(f"ProofType {error}") from error


def sector_in(params: Sequence[Any]) -> SectorID | None:
    """Return the sector that a call is about, which is its first parameter."""
    match params:
        case [SectorID() as sector, *_] | [AllocatedSector(id=sector), *_]:
            return sector
        case _:
            return None


class AcquireDealsSpec(msgspec.Struct, frozen=True):
    """Limits for the deals of one sector; bytes of padded space."""

    max_deals: int | None = field(name="MaxDeals", default=None)
    min_used_bytes: int | None = field(name="MinUsedSpace", default=None)


class Ticket(msgspec.Struct, frozen=True):
    """Randomness for the replica id: 32 bytes and the epoch they are from."""

    ticket: bytes = field(name="Ticket")
    epoch: Epoch = field(name="Epoch")


class Seed(msgspec.Struct, frozen=True):
    """Interactive randomness for the challenges: 32 bytes and their epoch."""

    seed: bytes = field(name="Seed")
    epoch: Epoch = field(name="Epoch")


class PreCommit(msgspec.Struct, frozen=True):
    """Content of a pre-commit (`PreCommitOnChainInfo`)."""

    comm_r: Bytes32 = field(name="CommR")
    comm_d: Bytes32 = field(name="CommD")
    ticket: Ticket = field(name="Ticket")


class Proof(msgspec.Struct, frozen=True, omit_defaults=True):
    """A Groth16 proof (`ProofOnChainInfo`).

    With a non-interactive one go the commitments that it is about, as nobody has pre-committed them. They are not in
    the original's struct.
    """

    proof: bytes = field(name="Proof")
    pre_commit: PreCommit | None = field(name="PreCommit", default=None)


class Submitted(msgspec.Struct, frozen=True):
    """Answer to a submission; `res` is a `SubmitResult`."""

    res: int = field(name="Res")
    desc: str | None = field(name="Desc", default=None)


class Polled(msgspec.Struct, frozen=True):
    """State of a submission; `state` is an `OnChainState`."""

    state: int = field(name="State")
    desc: str | None = field(name="Desc", default=None)


class WaitSeedResp(msgspec.Struct, frozen=True):
    """The seed, or how many seconds to wait before asking again."""

    should_wait: bool = field(name="ShouldWait")
    delay_seconds: Natural = field(name="Delay")
    seed: Seed | None = field(name="Seed", default=None)


class WorkerIdentifier(msgspec.Struct, frozen=True):
    """Which worker, and which of its stores."""

    instance: Place = field(name="Instance")
    location: Place = field(name="Location")


class StateChange(msgspec.Struct, frozen=True):
    """States by name, and the event between them."""

    prev: Word = field(name="Prev")
    next: Word = field(name="Next")
    event: Word = field(name="Event")


class FailureReport(msgspec.Struct, frozen=True):
    """Level (`Temporary`, `Permanent`, `Critical`, `Abort`) and text of a failure, without the secrets in it."""

    level: Word = field(name="Level")
    desc: str = field(name="Desc")

    def __post_init__(self) -> None:
        """Hide them, whoever reports: the text is kept in the sector's history, and shown to all who may look."""
        msgspec.structs.force_setattr(self, "desc", redaction.kept(self.desc))


class ReportStateReq(msgspec.Struct, frozen=True):
    """Report a sector's state to the manager."""

    worker: WorkerIdentifier = field(name="Worker")
    state_change: StateChange = field(name="StateChange")
    failure: FailureReport | None = field(name="Failure", default=None)


class SectorStateResp(msgspec.Struct, frozen=True):
    """The manager's view; `finalized` orders the worker to give the sector up. The key `Id` is the original's."""

    id: SectorID = field(name="Id")
    finalized: bool = field(name="Finalized")
    abort_reason: str | None = field(name="AbortReason", default=None)


class Piece(msgspec.Struct, frozen=True):
    """A piece: padded bytes and piece commitment."""

    size_bytes: Natural = field(name="Size")
    cid: CID = field(name="PieceCID")


class DealInfo(msgspec.Struct, frozen=True):
    """The parts of a deal that sealing needs; what else the original's manager knows of it is carried unread."""

    deal_id: Natural = field(name="DealID", default=0)
    allocation_id: Natural = field(name="AllocationID", default=0)
    payload_bytes: Natural = field(name="PayloadSize", default=0)
    is_builtin_market: bool = field(name="IsBuiltinMarket", default=True)
    publish_cid: Any = field(name="PublishCid", default=msgspec.UNSET)
    piece_cid: Any = field(name="PieceCID", default=msgspec.UNSET)
    piece_size: Any = field(name="PieceSize", default=msgspec.UNSET)
    client: Any = field(name="Client", default=msgspec.UNSET)
    provider: Any = field(name="Provider", default=msgspec.UNSET)
    offset: Any = field(name="Offset", default=msgspec.UNSET)
    length: Any = field(name="Length", default=msgspec.UNSET)
    start_epoch: Any = field(name="StartEpoch", default=msgspec.UNSET)
    end_epoch: Any = field(name="EndEpoch", default=msgspec.UNSET)
    is_compatible: Any = field(name="IsCompatible", default=msgspec.UNSET)


class SectorPiece(msgspec.Struct, frozen=True):
    """A piece of a sector with its deal (`SectorPieceV2`)."""

    piece: Piece = field(name="Piece")
    deal: DealInfo = field(name="DealInfo")

    @property
    def is_filler(self) -> bool:
        """Whether the piece is zeros that nobody downloads."""
        deal = self.deal
        return (deal.deal_id if deal.is_builtin_market else deal.allocation_id) == 0


class AllocateSnapUpSpec(msgspec.Struct, frozen=True):
    """What a worker is willing to upgrade."""

    sector: AllocateSectorSpec = field(name="Sector")
    deals: AcquireDealsSpec = field(name="Deals")


class SectorPublic(msgspec.Struct, frozen=True):
    """What the chain knows of a sealed sector (`SectorPublicInfo`); workers read the CommR alone. Epochs are 0 if unknown."""

    comm_r: Bytes32 = field(name="CommR")
    sealed_cid: CID | None = field(name="SealedCID", default=None)
    activation_epoch: Epoch = field(name="Activation", default=0)
    expiration_epoch: Epoch = field(name="Expiration", default=0)


class SectorPrivate(msgspec.Struct, frozen=True):
    """Which persist store holds its files."""

    access_instance: str = field(name="AccessInstance")


class AllocatedSnapUpSector(msgspec.Struct, frozen=True):
    """A sector to upgrade, its new pieces and where it lies."""

    sector: AllocatedSector = field(name="Sector")
    pieces: list[SectorPiece] | None = field(name="Pieces")
    public: SectorPublic = field(name="Public")
    private: SectorPrivate = field(name="Private")


class SnapUpProof(msgspec.Struct, frozen=True):
    """A proven upgrade (`SnapUpOnChainInfo`)."""

    comm_r: Bytes32 = field(name="CommR")
    comm_d: Bytes32 = field(name="CommD")
    access_instance: str = field(name="AccessInstance")
    pieces: list[CID] = field(name="Pieces")
    proof: bytes = field(name="Proof")


class LegacyPiece(msgspec.Struct, frozen=True):
    """A piece as older managers describe it: padded bytes, where it begins in the sector, and its commitment."""

    size_bytes: Natural = field(name="Size")
    offset_bytes: Natural = field(name="Offset")
    cid: CID = field(name="Cid")


class LegacyDeal(msgspec.Struct, frozen=True):
    """A deal as older managers describe it (`LegacyDealInfo`); without an id it is filler."""

    id: Natural = field(name="ID")
    payload_bytes: Natural = field(name="PayloadSize")
    piece: LegacyPiece = field(name="Piece")

    def as_piece(self) -> SectorPiece:
        """Return the same in the present form."""
        piece = Piece(self.piece.size_bytes, self.piece.cid)
        return SectorPiece(piece, DealInfo(deal_id=self.id, payload_bytes=self.payload_bytes))


class SectorRebuildInfo(msgspec.Struct, frozen=True):
    """A sector whose files have to be made again.

    With `upgrade_public`, the CommR from before the upgrade, the sector is an upgraded one; the flag means the same, but
    workers of the original ignore it. Of the two lists of pieces one is filled, the legacy one wins.
    """

    sector: AllocatedSector = field(name="Sector")
    ticket: Ticket = field(name="Ticket")
    legacy_pieces: list[LegacyDeal] | None = field(name="Pieces", default=None)
    pieces: list[SectorPiece] | None = field(name="PiecesV2", default=None)
    is_upgraded: bool = field(name="IsSnapUp", default=False)
    upgrade_public: SectorPublic | None = field(name="UpgradePublic", default=None)

    def all_pieces(self) -> list[SectorPiece] | None:
        """Return the pieces in the present form; null or none is a sector of committed capacity."""
        return [deal.as_piece() for deal in self.legacy_pieces] if self.legacy_pieces else self.pieces


class RebuildOptions(msgspec.Struct, frozen=True):
    """The options of a rebuild; with `pieces_available`, the pieces of an imported sector count as available."""

    pieces_available: bool = field(name="PiecesAvailable", default=False)


class UnsealState(enum.StrEnum):
    """How far the unsealing of a piece is."""

    SET_UP = "set_up"
    UNSEALING = "unsealing"
    UPLOADING = "uploading"
    FINISHED = "finished"
    FAILED = "failed"


class SectorUnsealInfo(msgspec.Struct, frozen=True):
    """A range of a sector's data to bring back, in unpadded bytes; workers do not read the last three fields."""

    sector: AllocatedSector = field(name="Sector")
    piece_cid: CID = field(name="PieceCid")
    offset_bytes: Natural = field(name="Offset")
    size_bytes: Natural = field(name="Size")
    private: SectorPrivate = field(name="PrivateInfo")
    ticket: Ticket = field(name="Ticket")
    comm_d: Bytes32 = field(name="CommD")
    dest: list[str] | None = field(name="Dest", default=None)
    state: str = field(name="State", default=UnsealState.SET_UP.value)
    error: str = field(name="ErrorInfo", default="")


class SnapUpFetchResult(msgspec.Struct, frozen=True):
    """How many sectors can be upgraded, and how many of them were not known before."""

    total: int = field(name="Total")
    diff: int = field(name="Diff")


class StoreBasicInfo(msgspec.Struct, frozen=True):
    """A persist store as the manager knows it."""

    name: str = field(name="Name")
    path: str = field(name="Path")
    strict: bool = field(name="Strict", default=False)
    read_only: bool = field(name="ReadOnly", default=False)
    weight: int = field(name="Weight", default=0)
    meta: dict[str, str] | None = field(name="Meta", default=None)
