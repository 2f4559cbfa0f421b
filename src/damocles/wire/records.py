"""Structs of the manager's tool-facing API (`SealerCliAPI`, `MinerAPI`): what it knows of sectors, stores and miners.

Shapes as in damocles v0.13; keys are Go's field names and stand in Go's order. `SectorState` is also the form in which
a manager keeps a sector.
"""

import enum
from typing import Any, Self

import msgspec
from msgspec import field

from damocles.wire import commitments, seal
from damocles.wire.codec import CID, Bytes32
from damocles.wire.sectors import SectorID


class Job(enum.IntEnum):
    """What is being done with a sector; the numbers are those of `ListSectors`."""

    ALL = 0
    SEALING = 1
    SNAPUP = 2
    REBUILD = 3
    UNSEAL = 4


class SubmittedPreCommit(msgspec.Struct, frozen=True):
    """A pre-commit as a record keeps it: with CIDs where `seal.PreCommit` has bytes."""

    comm_r: CID = field(name="CommR")
    comm_d: CID = field(name="CommD")
    ticket: seal.Ticket = field(name="Ticket")


class MessageInfo(msgspec.Struct, frozen=True):
    """Ids of the sector's messages; `need_send` while one is queued and has no id yet."""

    pre_commit_cid: CID | None = field(name="PreCommitCid", default=None)
    commit_cid: CID | None = field(name="CommitCid", default=None)
    need_send: bool = field(name="NeedSend", default=False)


class TerminateInfo(msgspec.Struct, frozen=True):
    """Message and epochs of a termination; zeros if there is none."""

    terminate_cid: CID | None = field(name="TerminateCid", default=None)
    terminated_at_epoch: int = field(name="TerminatedAt", default=0)
    added_epoch: int = field(name="AddedHeight", default=0)


class UpgradedInfo(msgspec.Struct, frozen=True):
    """A proven upgrade as a record keeps it: where its files are, the new CommR and CommD, and the proof."""

    access_instance: str = field(name="AccessInstance")
    sealed_cid: CID | None = field(name="SealedCID", default=None)
    unsealed_cid: CID | None = field(name="UnsealedCID", default=None)
    proof: bytes | None = field(name="Proof", default=None)


class SectorState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The manager's record of a sector.

    The five fields with a default are left out of the JSON when absent, all others are always there. Legacy deals are
    carried unread.
    """

    id: SectorID = field(name="ID")
    proof: int = field(name="SectorType")
    ticket: seal.Ticket | None = field(name="Ticket", default=None)
    seed: seal.Seed | None = field(name="Seed", default=None)
    deals: list[dict[str, Any]] | None = field(name="Deals")
    pieces: list[seal.SectorPiece] | None = field(name="Pieces")
    pre_commit: SubmittedPreCommit | None = field(name="Pre", default=None)
    submitted_proof: seal.Proof | None = field(name="Proof", default=None)
    messages: MessageInfo = field(name="MessageInfo")
    termination: TerminateInfo = field(name="TerminateInfo")
    latest_state: seal.ReportStateReq | None = field(name="LatestState", default=None)
    finalized: bool = field(name="Finalized")
    removed: bool = field(name="Removed")
    abort_reason: str = field(name="AbortReason")
    upgraded: bool = field(name="Upgraded")
    upgrade_public: seal.SectorPublic | None = field(name="UpgradePublic")
    upgraded_info: UpgradedInfo | None = field(name="UpgradedInfo")
    upgrade_message_id: str | None = field(name="UpgradeMessageID")
    upgrade_landed_epoch: int | None = field(name="UpgradeLandedEpoch")
    imported: bool = field(name="Imported")
    need_rebuild: bool = field(name="NeedRebuild")
    unsealing: bool = field(name="Unsealing")

    @classmethod
    def fresh(cls, sector: SectorID, proof: int) -> Self:
        """Return the record of a sector that has just been allocated."""
        return cls(
            id=sector,
            proof=proof,
            deals=None,
            pieces=None,
            messages=MessageInfo(),
            termination=TerminateInfo(),
            finalized=False,
            removed=False,
            abort_reason="",
            upgraded=False,
            upgrade_public=None,
            upgraded_info=None,
            upgrade_message_id=None,
            upgrade_landed_epoch=None,
            imported=False,
            need_rebuild=False,
            unsealing=False,
        )


class KnownSector(msgspec.Struct, frozen=True):
    """What a worker reads of a manager's record (`SectorState`), to compare its results with what the chain knows."""

    pre_commit: SubmittedPreCommit | None = field(name="Pre", default=None)
    finalized: bool = field(name="Finalized", default=False)
    upgraded: bool = field(name="Upgraded", default=False)
    upgrade_public: seal.SectorPublic | None = field(name="UpgradePublic", default=None)
    upgraded_info: UpgradedInfo | None = field(name="UpgradedInfo", default=None)

    def comm_r_sealed(self) -> Bytes32 | None:
        """Return the CommR that the sector was sealed with, before any upgrade."""
        if self.upgrade_public is not None:
            return self.upgrade_public.comm_r
        return commitments.commitment_of(self.pre_commit.comm_r) if self.pre_commit is not None else None

    def comm_r_upgraded(self) -> Bytes32 | None:
        """Return the CommR of the upgrade."""
        cid = self.upgraded_info.sealed_cid if self.upgraded_info is not None else None
        return commitments.commitment_of(cid) if cid is not None else None


class Reservation(msgspec.Struct, frozen=True):
    """Space in a store that is kept for a sector, since a unix second."""

    by: str = field(name="By")
    size_bytes: int = field(name="Size")
    at: int = field(name="At")


class StoreDetails(seal.StoreBasicInfo, frozen=True, kw_only=True):
    """A persist store with its space in bytes; `used_percent` is of used and free together, as `df` counts."""

    kind: str = field(name="Type")
    total_bytes: int = field(name="Total")
    free_bytes: int = field(name="Free")
    used_bytes: int = field(name="Used")
    used_percent: float = field(name="UsedPercent")
    reserved_bytes: int = field(name="Reserved")
    reserved_by: list[Reservation] = field(name="ReservedBy")


class MinerInfo(msgspec.Struct, frozen=True):
    """A miner; `address` is printed with the main network's prefix on every network, `window_proof` is a number."""

    id: int = field(name="ID")
    address: str = field(name="Addr")
    sector_size_bytes: int = field(name="SectorSize")
    window_proof: int = field(name="WindowPoStProofType")
    seal_proof: int = field(name="SealProofType")
