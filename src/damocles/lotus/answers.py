"""A node's answers about itself, the chain, messages and gas. Unknown fields are ignored."""

import enum

import msgspec
from msgspec import field

from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.blocks.header import BeaconEntry, Ticket
from damocles.chain.messages import Message
from damocles.wire.codec import CID, Blob, Rows

Key = tuple[CID, ...]  # of a tipset: the CIDs of its blocks; on the wire null means the head


class Version(msgspec.Struct, frozen=True):
    """A node's version; `api` has major, minor and patch in a byte each."""

    text: str = field(name="Version")
    api: int = field(name="APIVersion")
    block_delay_seconds: int = field(name="BlockDelay", default=0)


class NetworkParams(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between networks; upgrades are epochs by name, those that are not planned far in the future."""

    name: str = field(name="NetworkName")
    block_delay_seconds: int = field(name="BlockDelaySecs")
    consensus_min_power: Amount = field(name="ConsensusMinerMinPower")
    challenge_delay: int = field(name="PreCommitChallengeDelay")
    upgrades: dict[str, int] = field(name="ForkUpgradeParams")
    genesis_timestamp: int = field(name="GenesisTimestamp", default=0)


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """The head of a block."""

    miner: Address = field(name="Miner")
    parents: Rows[CID] = field(name="Parents")
    height: int = field(name="Height")
    timestamp: int = field(name="Timestamp")
    parent_base_fee: Amount = field(name="ParentBaseFee")
    ticket: Ticket | None = field(name="Ticket", default=None)


class TipSet(msgspec.Struct, frozen=True):
    """The blocks of an epoch. An epoch without blocks, a null round, has none."""

    cids: Rows[CID] = field(name="Cids")
    blocks: Rows[Block] = field(name="Blocks")
    height: int = field(name="Height")

    def __post_init__(self) -> None:
        if not self.blocks:
            raise ValueError("a tipset without blocks")

    @property
    def key(self) -> Key:
        """What names it."""
        return tuple(self.cids)

    @property
    def parents(self) -> Key:
        """The key of the tipset before it."""
        return tuple(self.blocks[0].parents)

    @property
    def timestamp(self) -> int:
        """When its epoch began, in unix seconds."""
        return self.blocks[0].timestamp

    @property
    def ticket(self) -> bytes:
        """The least ticket of its blocks, which is that of the first one."""
        first = self.blocks[0].ticket
        return b"" if first is None else bytes(first.proof)

    @property
    def base_fee(self) -> Amount:
        """The base fee of messages in it, in attoFIL per unit of gas."""
        return self.blocks[0].parent_base_fee


class ChangeType(enum.StrEnum):
    """What happened to a tipset."""

    CURRENT = "current"  # the first of a subscription: the head
    APPLY = "apply"
    REVERT = "revert"


class HeadChange(msgspec.Struct, frozen=True):
    """A tipset that came or went."""

    type: ChangeType = field(name="Type")
    tipset: TipSet = field(name="Val")


class Receipt(msgspec.Struct, frozen=True):
    """The outcome of a message that was executed; see `damocles.chain.exits`."""

    exit_code: int = field(name="ExitCode")
    returned: Blob = field(name="Return")
    gas_used: int = field(name="GasUsed")


class Lookup(msgspec.Struct, frozen=True):
    """Where a message was executed: the tipset after the one that has it.

    `message` is the one that landed, which is another one if ours was replaced.
    """

    message: CID = field(name="Message")
    receipt: Receipt = field(name="Receipt")
    tipset: Rows[CID] = field(name="TipSet")
    height: int = field(name="Height")


class GasCost(msgspec.Struct, frozen=True):
    """What a message cost beside its value, in attoFIL."""

    base_fee_burn: Amount = field(name="BaseFeeBurn")
    over_estimation_burn: Amount = field(name="OverEstimationBurn")
    miner_tip: Amount = field(name="MinerTip")
    total: Amount = field(name="TotalCost")


class Invocation(msgspec.Struct, frozen=True):
    """A message that was executed for us alone, or again: receipt, cost, and the actor's text."""

    message: Message = field(name="Msg")
    receipt: Receipt = field(name="MsgRct")
    cost: GasCost = field(name="GasCost")
    error: str = field(name="Error", default="")


class Actor(msgspec.Struct, frozen=True):
    """An actor: its code, next nonce and balance in attoFIL."""

    code: CID = field(name="Code")
    nonce: int = field(name="Nonce")
    balance: Amount = field(name="Balance")


class MpoolConfig(msgspec.Struct, frozen=True):
    """Rules of a node's mempool: how much of its estimate is the gas limit, and what it pays itself to replace one."""

    replace_by_fee_ratio: float = field(name="ReplaceByFeeRatio")
    gas_limit_overestimation: float = field(name="GasLimitOverestimation")
    size_limit_high: int = field(name="SizeLimitHigh")


class SendSpec(msgspec.Struct, frozen=True):
    """Bounds of an estimate: the most that the gas may cost in attoFIL; 0 is the node's own bound."""

    max_fee: Amount = field(name="MaxFee", default=Amount(0))


class Challenged(msgspec.Struct, frozen=True, kw_only=True):
    """A sector that a winning PoSt has to prove; one that was upgraded has a key."""

    number: int = field(name="SectorNumber")
    seal_proof: int = field(name="SealProof")
    sealed_cid: CID = field(name="SealedCID")
    key_cid: CID | None = field(name="SectorKey", default=None)


class BaseInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a miner needs for a block of an epoch; powers are quality-adjusted, in bytes."""

    power: Amount = field(name="MinerPower")
    network_power: Amount = field(name="NetworkPower")
    sectors: Rows[Challenged] = field(name="Sectors")
    worker: Address = field(name="WorkerKey")
    sector_bytes: int = field(name="SectorSize")
    previous: BeaconEntry = field(name="PrevBeaconEntry")
    entries: Rows[BeaconEntry] = field(name="BeaconEntries")
    is_eligible: bool = field(name="EligibleForMining")

    @property
    def entry(self) -> bytes:
        """What the beacon said last."""
        return bytes((self.entries[-1] if self.entries else self.previous).data)
