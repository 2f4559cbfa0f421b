"""A node's answers about miners, their sectors and deadlines, and verified data. Unknown fields are ignored.

Much of it outlives what it is about: the record of a terminated sector stays as it was until somebody compacts its
partition, an expired allocation until somebody removes it, a claim after its sector. `live` in partitions, `Expiration`
and the head say what is so.
"""

import msgspec
from msgspec import field

from damocles.chain.addresses import Address, MaybeAddress
from damocles.chain.amounts import Amount
from damocles.chain.bitfields import Bitfield
from damocles.chain.sealing import PreCommit
from damocles.wire.codec import CID, Blob, Rows


class BeneficiaryTerm(msgspec.Struct, frozen=True):
    """How much, and until when, a beneficiary may have."""

    quota: Amount = field(name="Quota")
    used_quota: Amount = field(name="UsedQuota")
    expiration: int = field(name="Expiration")


class PendingBeneficiary(msgspec.Struct, frozen=True):
    """A change of the beneficiary that waits for approvals."""

    new_beneficiary: Address = field(name="NewBeneficiary")
    new_quota: Amount = field(name="NewQuota")
    new_expiration: int = field(name="NewExpiration")
    approved_by_beneficiary: bool = field(name="ApprovedByBeneficiary")
    approved_by_nominee: bool = field(name="ApprovedByNominee")


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """A miner. Owner, worker and control addresses are ids; `View.key_of` gives their keys."""

    owner: Address = field(name="Owner")
    worker: Address = field(name="Worker")
    new_worker: MaybeAddress = field(name="NewWorker")
    worker_change_epoch: int = field(name="WorkerChangeEpoch")
    control_addresses: Rows[Address] = field(name="ControlAddresses")
    peer_id: str | None = field(name="PeerId")
    multiaddrs: Rows[Blob] = field(name="Multiaddrs")
    window_post_proof_type: int = field(name="WindowPoStProofType")
    sector_size_bytes: int = field(name="SectorSize")
    partition_sectors: int = field(name="WindowPoStPartitionSectors")
    consensus_fault_elapsed: int = field(name="ConsensusFaultElapsed")
    pending_owner: Address | None = field(name="PendingOwnerAddress")
    beneficiary: Address = field(name="Beneficiary")
    beneficiary_term: BeneficiaryTerm | None = field(name="BeneficiaryTerm")
    pending_beneficiary: PendingBeneficiary | None = field(name="PendingBeneficiaryTerm")


class Claim(msgspec.Struct, frozen=True):
    """Power in bytes."""

    raw: Amount = field(name="RawBytePower")
    quality_adjusted: Amount = field(name="QualityAdjPower")


class Power(msgspec.Struct, frozen=True):
    """Power of a miner, zero also of one that does not exist, and of all."""

    miner: Claim = field(name="MinerPower")
    total: Claim = field(name="TotalPower")
    has_min_power: bool = field(name="HasMinPower")


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """Where a miner stands in its proving period, in epochs.

    For a miner without sectors it is the deadline at which it stopped. `fault_cutoff` is that of the present deadline.
    """

    current_epoch: int = field(name="CurrentEpoch")
    period_start: int = field(name="PeriodStart")
    index: int = field(name="Index")
    open: int = field(name="Open")
    close: int = field(name="Close")
    challenge: int = field(name="Challenge")
    fault_cutoff: int = field(name="FaultCutoff")
    deadlines: int = field(name="WPoStPeriodDeadlines")
    period_epochs: int = field(name="WPoStProvingPeriod")
    window_epochs: int = field(name="WPoStChallengeWindow")
    challenge_lookback: int = field(name="WPoStChallengeLookback")
    declaration_cutoff: int = field(name="FaultDeclarationCutoff")


class Deadline(msgspec.Struct, frozen=True):
    """A deadline: partitions that are proved in the open window, and its fee a day in attoFIL."""

    post_submissions: Bitfield = field(name="PostSubmissions")
    disputable_proofs: int = field(name="DisputableProofCount")
    daily_fee: Amount = field(name="DailyFee")


class Partition(msgspec.Struct, frozen=True):
    """Sectors of a partition. A recovering one is also faulty; `all` has the dead ones too."""

    all: Bitfield = field(name="AllSectors")
    faulty: Bitfield = field(name="FaultySectors")
    recovering: Bitfield = field(name="RecoveringSectors")
    live: Bitfield = field(name="LiveSectors")
    active: Bitfield = field(name="ActiveSectors")


class Sector(msgspec.Struct, frozen=True, kw_only=True):
    """A proved sector, which may be faulty or terminated: its record does not say. Weights are bytes times epochs."""

    number: int = field(name="SectorNumber")
    seal_proof: int = field(name="SealProof")
    sealed_cid: CID = field(name="SealedCID")
    activation: int = field(name="Activation")
    expiration: int = field(name="Expiration")
    deal_weight: Amount = field(name="DealWeight")
    verified_deal_weight: Amount = field(name="VerifiedDealWeight")
    pledge: Amount = field(name="InitialPledge")
    power_base_epoch: int = field(name="PowerBaseEpoch")
    sector_key_cid: CID | None = field(name="SectorKeyCID")
    flags: int = field(name="Flags")
    daily_fee: Amount = field(name="DailyFee")


class PreCommitted(msgspec.Struct, frozen=True):
    """A pre-committed sector: its seed is drawn the challenge delay after `epoch`."""

    info: PreCommit = field(name="Info")
    deposit: Amount = field(name="PreCommitDeposit")
    epoch: int = field(name="PreCommitEpoch")


class Location(msgspec.Struct, frozen=True):
    """Where a sector is; compaction may move it."""

    deadline: int = field(name="Deadline")
    partition: int = field(name="Partition")


class Expiration(msgspec.Struct, frozen=True):
    """When a sector ends, at the end of a proving period: on time, or early because it is faulty (0: not so)."""

    on_time: int = field(name="OnTime")
    early: int = field(name="Early")


class SectorCount(msgspec.Struct, frozen=True):
    """How many sectors a miner has."""

    live: int = field(name="Live")
    active: int = field(name="Active")
    faulty: int = field(name="Faulty")


class Funds(msgspec.Struct, frozen=True, kw_only=True):
    """Money in a miner, in attoFIL, and where its deadlines stand."""

    pre_commit_deposits: Amount = field(name="PreCommitDeposits")
    locked: Amount = field(name="LockedFunds")
    fee_debt: Amount = field(name="FeeDebt")
    pledge: Amount = field(name="InitialPledge")
    proving_period_start: int = field(name="ProvingPeriodStart")
    current_deadline: int = field(name="CurrentDeadline")
    deadline_cron_active: bool = field(name="DeadlineCronActive")


class MinerState(msgspec.Struct, frozen=True):
    """A miner's actor: balance in attoFIL, and what of it is bound."""

    balance: Amount = field(name="Balance")
    code: CID = field(name="Code")
    funds: Funds = field(name="State")


class Allocation(msgspec.Struct, frozen=True, kw_only=True):
    """Verified data that a client wants a provider to take, by actor ids; terms and expiration in epochs."""

    client: int = field(name="Client")
    provider: int = field(name="Provider")
    data: CID = field(name="Data")
    size_bytes: int = field(name="Size")
    term_min: int = field(name="TermMin")
    term_max: int = field(name="TermMax")
    expiration: int = field(name="Expiration")


class VerifiedClaim(msgspec.Struct, frozen=True, kw_only=True):
    """Verified data in a sector; it has the number of the allocation that it was."""

    provider: int = field(name="Provider")
    client: int = field(name="Client")
    data: CID = field(name="Data")
    size_bytes: int = field(name="Size")
    term_min: int = field(name="TermMin")
    term_max: int = field(name="TermMax")
    term_start: int = field(name="TermStart")
    sector: int = field(name="Sector")
