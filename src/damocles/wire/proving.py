"""Structs of the manager's tool-facing API about proving: randomness, where files are, what the chain has of a sector.

Shapes as in damocles v0.13; those of the chain are go-state-types' (`SectorOnChainInfo`, `ExtendedSectorInfo`), with Go's
field names in Go's order. Token amounts and weights are decimal strings.
"""

import enum
from typing import Literal, TypeAlias

import msgspec
from msgspec import field

from damocles.wire import records, wdpost
from damocles.wire.codec import CID

_ZERO = "0"


# Whose files: those of a sector, or of its upgrade.
FilesOf: TypeAlias = Literal["normal", "upgrade"]


class Randomness(msgspec.Struct, frozen=True):
    """Randomness of an epoch for window PoSts, 32 bytes."""

    epoch: int = field(name="Epoch")
    rand: bytes = field(name="Rand")


class Location(msgspec.Struct, frozen=True):
    """The persist stores that have a sector's files; empty names if it is not found."""

    found: bool = field(name="Found")
    instance: wdpost.Accesses = field(name="Instance")


class OnChain(msgspec.Struct, frozen=True, kw_only=True):
    """A sector as the chain has it; `sealed_cid` is its replica's, `key_cid` that of the replica before an upgrade."""

    number: int = field(name="SectorNumber")
    proof: int = field(name="SealProof")
    sealed_cid: CID = field(name="SealedCID")
    deprecated_deals: list[int] | None = field(name="DeprecatedDealIDs", default=None)
    activation_epoch: int = field(name="Activation", default=0)
    expiration_epoch: int = field(name="Expiration", default=0)
    deal_weight: str = field(name="DealWeight", default=_ZERO)
    verified_deal_weight: str = field(name="VerifiedDealWeight", default=_ZERO)
    initial_pledge: str = field(name="InitialPledge", default=_ZERO)
    expected_day_reward: str = field(name="ExpectedDayReward", default=_ZERO)
    expected_storage_pledge: str = field(name="ExpectedStoragePledge", default=_ZERO)
    power_base_epoch: int = field(name="PowerBaseEpoch", default=0)
    replaced_day_reward: str = field(name="ReplacedDayReward", default=_ZERO)
    key_cid: CID | None = field(name="SectorKeyCID", default=None)
    flags: int = field(name="Flags", default=0)
    daily_fee: str = field(name="DailyFee", default=_ZERO)


class Private(msgspec.Struct, frozen=True, kw_only=True):
    """Where a sector's files are: the stores, the paths there, and the names below the stores' roots."""

    accesses: wdpost.Accesses = field(name="Accesses")
    cache_dir: str = field(name="CacheDirPath")
    sealed_file: str = field(name="SealedSectorPath")
    cache_name: str = field(name="CacheDirURI")
    sealed_name: str = field(name="SealedSectorURI")


class SectorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A sector that is to be proved (`ProvingSectorInfo`)."""

    on_chain: OnChain = field(name="OnChain")
    private: Private = field(name="Private")


class Extended(msgspec.Struct, frozen=True, kw_only=True):
    """The chain's data of a sector whose files are to be checked (`ExtendedSectorInfo`)."""

    proof: int = field(name="SealProof", default=0)
    number: int = field(name="SectorNumber")
    key_cid: CID | None = field(name="SectorKey", default=None)
    sealed_cid: CID | None = field(name="SealedCID", default=None)


def contradiction(info: Extended, record: records.SectorState | None) -> str | None:
    """Return how a manager's record differs from the chain's data of the sector, `None` if it does not."""
    if record is None or record.pre_commit is None:
        return "the manager has no record of its pre-commit among the sectors that are over"
    sealed_first = info.key_cid or info.sealed_cid
    if record.pre_commit.comm_r != sealed_first:
        return f"the record has CommR {record.pre_commit.comm_r}, the chain {sealed_first}"
    upgraded = record.upgraded_info.sealed_cid if record.upgraded_info is not None else None
    if info.key_cid is not None and upgraded is not None and upgraded != info.sealed_cid:
        return f"the record has CommR {upgraded} for its upgrade, the chain {info.sealed_cid}"
    return None


class Standing(enum.StrEnum):
    """How a deadline stands: what its last window has come to, or how far the open one is."""

    NOTHING = "nothing to prove"
    AHEAD = "ahead"
    PROVING = "proving"
    WAITING = "proof ready"
    SENT = "sent"
    PROVED = "proved"
    LATE = "late"  # not proved after half of the time
    AT_RISK = "at risk"  # nor after three quarters
    MISSED = "missed"


IN_DANGER = frozenset({Standing.LATE, Standing.AT_RISK, Standing.MISSED})  # what a person has to know of


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """A proof of some partitions: how far it is (`proving`, `proved`, `sent`, `dropped`, `over`), and how it went.

    `skipped` are sectors that it leaves out, each with the reason; `message` is the number of its message among the
    manager's. Ours, as all that follows; keys are snake_case, epochs are the heads' at that time.
    """

    partitions: list[int]
    stage: str
    skipped: dict[int, str]
    prover: str
    made_epoch: int
    proved_epoch: int | None
    seconds: float | None  # from the decision to the proof
    sent_epoch: int | None
    sends: int
    message: int | None
    landed_epoch: int | None
    why: str


class Deadline(msgspec.Struct, frozen=True, kw_only=True):
    """A deadline as the chain has it, when it opens next (or has opened), and its last window with its proofs.

    `proved` counts partitions of the open window; `bad` are sectors that could not be read before it, with the reason.
    """

    deadline: int
    opens: int
    close: int
    partitions: int
    sectors: int
    faulty: int
    recovering: int
    proved: int
    standing: Standing
    window_opens: int | None
    posts: list[Post]
    bad: dict[int, str]


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """All deadlines of a miner at a head, which was made `at` (unix seconds)."""

    miner: int
    epoch: int
    at: int
    block_seconds: float
    current: int
    deadlines: list[Deadline]


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """When a deadline opens next (or has opened), and closes, in epochs."""

    deadline: int
    opens: int
    close: int


class MinerSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A miner with its next deadline that has live sectors, the open one included; `None` if it has none."""

    miner: int
    window: Window | None


class ChainSeen(msgspec.Struct, frozen=True, kw_only=True):
    """The chain as the node that is asked has it: the epoch of its head, which was made `at` (unix seconds).

    With a `problem` it did not answer, all of it or about the miners that are missing; then there may be no node (`""`).
    """

    node: str
    epoch: int
    at: int
    block_seconds: float
    miners: list[MinerSeen]
    problem: str = ""
