"""What an operator does on the chain: acts, of which the manager makes messages, and what it answers.

Those of `Upkeep` take the scope operate, those of `Affair` admin: they cost more than gas, or change who decides. Sectors
are sets of numbers, amounts attoFIL, times epochs.
"""

from typing import Any, ClassVar, TypeAlias

import msgspec

from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.bitfields import Bitfield
from damocles.wire.codec import CID


class Extend(msgspec.Struct, frozen=True, kw_only=True, tag="extend", tag_field="act"):
    """Let sectors live longer: until an epoch, or by as many epochs; no further than the network lets them.

    Without `sectors` it is all that end between `begins` and `ends`. What differs by less than `tolerance` shares an end.
    """

    miner: int
    sectors: Bitfield | None = None
    begins: int = 0
    ends: int = 0
    new_expiration: int | None = None
    extension: int = 540 * 2880
    tolerance: int = 7 * 2880
    only_cc: bool = False
    drop_claims: bool = False
    most: int | None = None


class Recover(msgspec.Struct, frozen=True, kw_only=True, tag="recover", tag_field="act"):
    """Declare faulty sectors recovered: those named, of a deadline, or all."""

    miner: int
    sectors: Bitfield | None = None
    deadline: int | None = None


class DeclareFaulty(msgspec.Struct, frozen=True, kw_only=True, tag="declare-faulty", tag_field="act"):
    """Declare sectors faulty before their deadline finds out."""

    miner: int
    sectors: Bitfield


class CompactPartitions(msgspec.Struct, frozen=True, kw_only=True, tag="compact-partitions", tag_field="act"):
    """Remove dead sectors from partitions of a deadline; without `partitions` from all that have some."""

    miner: int
    deadline: int
    partitions: Bitfield | None = None


class Terminate(msgspec.Struct, frozen=True, kw_only=True, tag="terminate", tag_field="act"):
    """End sectors before their time, for a fee."""

    miner: int
    sectors: Bitfield


class Withdraw(msgspec.Struct, frozen=True, kw_only=True, tag="withdraw", tag_field="act"):
    """Take money out of the miner; without an amount all that is available."""

    miner: int
    amount: Amount | None = None
    by_beneficiary: bool = False


class TopUp(msgspec.Struct, frozen=True, kw_only=True, tag="top-up", tag_field="act"):
    """Send the miner money."""

    miner: int
    sender: Address
    amount: Amount


class RepayDebt(msgspec.Struct, frozen=True, kw_only=True, tag="repay-debt", tag_field="act"):
    """Pay the miner's fee debt out of its balance, and what is sent along."""

    miner: int
    amount: Amount = Amount(0)


class SetControl(msgspec.Struct, frozen=True, kw_only=True, tag="set-control", tag_field="act"):
    """Replace all control addresses."""

    miner: int
    addresses: tuple[Address, ...]


class ProposeWorker(msgspec.Struct, frozen=True, kw_only=True, tag="propose-worker", tag_field="act"):
    """Ask for another worker, which can be confirmed 900 epochs later."""

    miner: int
    worker: Address


class ConfirmWorker(msgspec.Struct, frozen=True, kw_only=True, tag="confirm-worker", tag_field="act"):
    """Confirm the proposed worker."""

    miner: int
    worker: Address


class ProposeOwner(msgspec.Struct, frozen=True, kw_only=True, tag="propose-owner", tag_field="act"):
    """Offer the miner to another owner, who has to confirm it."""

    miner: int
    owner: Address


class ConfirmOwner(msgspec.Struct, frozen=True, kw_only=True, tag="confirm-owner", tag_field="act"):
    """Take over a miner that was offered, with the key of the new owner."""

    miner: int
    owner: Address


class ProposeBeneficiary(msgspec.Struct, frozen=True, kw_only=True, tag="propose-beneficiary", tag_field="act"):
    """Let another address have what is withdrawn, up to a quota and until an epoch; the owner's own ends that."""

    miner: int
    beneficiary: Address
    quota: Amount = Amount(0)
    expiration: int = 0
    overwrites: bool = False


class ConfirmBeneficiary(msgspec.Struct, frozen=True, kw_only=True, tag="confirm-beneficiary", tag_field="act"):
    """Approve a change of the beneficiary, as the present one or as the new one."""

    miner: int
    by_new: bool


class CompactNumbers(msgspec.Struct, frozen=True, kw_only=True, tag="compact-numbers", tag_field="act"):
    """Drop all sector numbers below one for ever, so that the set of used ones takes less room."""

    miner: int
    below: int


class CreateMiner(msgspec.Struct, frozen=True, kw_only=True, tag="create-miner", tag_field="act"):
    """Make a miner; its deposit is what the network asks for, times `margin_percent`."""

    miner: ClassVar[int] = 0  # it has no number yet
    sender: Address
    owner: Address
    worker: Address
    sector_bytes: int
    margin_percent: int = 101


Upkeep: TypeAlias = Extend | Recover | DeclareFaulty | CompactPartitions
Affair: TypeAlias = (
    Terminate
    | Withdraw
    | TopUp
    | RepayDebt
    | SetControl
    | ProposeWorker
    | ConfirmWorker
    | ProposeOwner
    | ConfirmOwner
    | ProposeBeneficiary
    | ConfirmBeneficiary
    | CompactNumbers
    | CreateMiner
)


class UpkeepWanted(msgspec.Struct, frozen=True):
    """An act that keeps sectors up, to be done, or a dry run of it."""

    act: Upkeep
    dry_run: bool = False


class AffairWanted(msgspec.Struct, frozen=True):
    """An act that costs money, or changes who decides, to be done, or a dry run of it."""

    act: Affair
    dry_run: bool = False


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the actor says to a message that is executed on trial: its exit code, in words too, and its text."""

    exit_code: int
    words: str
    error: str
    gas_used: int


class Drafted(msgspec.Struct, frozen=True, kw_only=True):
    """A message of an act, decoded, with what it costs at most and what the actor says to it.

    `params` are as JSON would have them, `params_hex` is their CBOR. Gas and fees are none where it would fail.
    """

    kind: str
    to: Address
    sender: Address
    method: int
    name: str
    params: Any
    params_hex: str
    value: Amount
    verdict: Verdict
    gas_limit: int = 0
    gas_fee_cap: Amount = Amount(0)
    gas_premium: Amount = Amount(0)
    most_cost: Amount = Amount(0)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What an act comes to: its messages, what is left out and why, and the orders if they are sent."""

    epoch: int
    drafts: tuple[Drafted, ...]
    notes: tuple[str, ...]
    orders: tuple[int, ...] = ()


class OrderSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the manager, and how far it has come; `cid` is the one that was signed last.

    `why` is what it waits for, or why it was refused. Of one that landed there is the epoch and the exit code.
    """

    id: int
    miner: int
    kind: str
    state: str
    why: str = ""
    sender: Address | None = None
    nonce: int | None = None
    cid: CID | None = None
    signed: int = 0
    most_cost: Amount = Amount(0)
    landed_epoch: int | None = None
    exit_code: int | None = None
    gas_used: int | None = None


class SectorMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What was handed in of a sector for the chain: how far it is, and the message that carries it, once there is one.

    `id` is the one in the sector's record: the manager's own, in the form of a CID. The chain's is `order.cid`; until
    it is in a message there is the id alone.
    """

    kind: str
    id: str
    state: str = ""
    reason: str = ""
    order: OrderSeen | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a message that landed has really done, read from the state afterwards; `done` if it is all that was wanted."""

    order: int
    done: bool
    lines: tuple[str, ...]
