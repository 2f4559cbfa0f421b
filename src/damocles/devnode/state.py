"""The chain's state as a value: accounts, miners with their sectors, verified data. Nothing here is ever changed.

Amounts are attoFIL, epochs are numbers, actors are named by their numbers.
"""

import functools
from typing import TypeAlias

import msgspec

from damocles.chain.addresses import Address, Protocol
from damocles.chain.bitfields import Bitfield
from damocles.chain.sealing import PreCommit
from damocles.devnode.rules import DEADLINES
from damocles.wire.codec import CID, Blob
from damocles.wire.sectors import SealProof, SectorSize

with_ = msgspec.structs.replace
NOBODY = Bitfield()

# Actors that every chain has, by number, with the names that their code has.
SINGLETONS = {
    0: "system", 1: "init", 2: "reward", 3: "cron", 4: "storagepower", 5: "storagemarket", 6: "verifiedregistry",
    7: "datacap", 10: "eam", 99: "account",
}  # fmt: skip
REWARD, POWER, MARKET, REGISTRY, DATACAP, BURNT = 2, 4, 5, 6, 7, 99
FIRST_ACCOUNT, ROOT_ACCOUNT = 100, 80
# Kinds of window PoSts, one for each size of sectors from 2KiB on.
WINDOW_PROOFS = range(10, 10 + len(SectorSize))


class Account(msgspec.Struct, frozen=True):
    """Somebody with a key, or an actor of the chain without one."""

    key: Address | None
    balance: int = 0
    nonce: int = 0


class PreCommitted(msgspec.Struct, frozen=True):
    """A sector that is pre-committed and not proved."""

    info: PreCommit
    deposit: int
    epoch: int


class Sector(msgspec.Struct, frozen=True, kw_only=True):
    """A sector on the chain; also a dead one, until its partition is compacted. Weights are bytes times epochs."""

    number: int
    seal_proof: int
    sealed_cid: CID
    unsealed_cid: CID | None
    activation: int
    expiration: int
    power_base_epoch: int
    pledge: int
    daily_fee: int
    data_bytes: int = 0
    verified_bytes: int = 0
    deal_weight: int = 0
    verified_deal_weight: int = 0
    key_cid: CID | None = None  # CommR from before an upgrade


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    """Sectors that are proved together. `faulty` are also those that recover; `early` has the epochs of faults."""

    all: Bitfield = NOBODY
    live: Bitfield = NOBODY
    faulty: Bitfield = NOBODY
    recovering: Bitfield = NOBODY
    unproven: Bitfield = NOBODY
    faulty_since: dict[int, int] = {}

    @property
    def active(self) -> Bitfield:
        """Those that have power."""
        return self.live - self.faulty - self.unproven


class Deadline(msgspec.Struct, frozen=True):
    """Partitions that are proved in the same window, and which of them have been in the present one."""

    partitions: tuple[Partition, ...] = ()
    posted: Bitfield = NOBODY


class BeneficiaryTerm(msgspec.Struct, frozen=True):
    """How much a beneficiary may have, and until when."""

    quota: int = 0
    used: int = 0
    expiration: int = 0


class PendingBeneficiary(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the beneficiary that waits for approvals."""

    who: int
    quota: int
    expiration: int
    by_beneficiary: bool = False
    by_nominee: bool = False


class Miner(msgspec.Struct, frozen=True, kw_only=True):
    """A miner's actor. `offset` is where its proving periods begin, below the length of a period."""

    robust: Address
    owner: int
    worker: int
    window_post_proof: int
    offset: int
    balance: int = 0
    control: tuple[int, ...] = ()
    new_worker: int | None = None
    worker_change_epoch: int = -1
    pending_owner: int | None = None
    beneficiary: int
    term: BeneficiaryTerm = BeneficiaryTerm()
    pending_beneficiary: PendingBeneficiary | None = None
    peer_id: Blob = Blob()
    multiaddrs: tuple[Blob, ...] = ()
    deposits: int = 0
    locked: int = 0
    pledge: int = 0
    fee_debt: int = 0
    allocated: Bitfield = NOBODY
    pre_committed: dict[int, PreCommitted] = {}
    sectors: dict[int, Sector] = {}
    deadlines: tuple[Deadline, ...] = (Deadline(),) * DEADLINES
    cron_active: bool = False

    @property
    def sector_bytes(self) -> int:
        """The size of its sectors."""
        return int(tuple(SectorSize)[WINDOW_PROOFS.index(self.window_post_proof)])

    @property
    def available(self) -> int:
        """What can be withdrawn, and pays deposits and pledges."""
        return self.balance - self.deposits - self.locked - self.pledge - self.fee_debt

    def place_of(self, number: int) -> tuple[int, int] | None:
        """Return deadline and partition of a sector, also of a dead one."""
        for index, deadline in enumerate(self.deadlines):
            for at, partition in enumerate(deadline.partitions):
                if number in partition.all:
                    return index, at
        return None

    def partitions(self) -> list[Partition]:
        """Return those of all deadlines."""
        return [partition for deadline in self.deadlines for partition in deadline.partitions]


class Allocation(msgspec.Struct, frozen=True, kw_only=True):
    """Verified data that a client wants a provider to take."""

    client: int
    provider: int
    data: CID
    size_bytes: int
    term_min: int
    term_max: int
    expiration: int


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Verified data in a sector, under the number of its allocation."""

    provider: int
    client: int
    data: CID
    size_bytes: int
    term_min: int
    term_max: int
    term_start: int
    sector: int


class Registry(msgspec.Struct, frozen=True, kw_only=True):
    """Verified data: who may give how many bytes, who has how many, what is promised, what is stored."""

    verifiers: dict[int, int] = {}
    clients: dict[int, int] = {}
    allocations: dict[int, Allocation] = {}
    claims: dict[int, Claim] = {}
    next_allocation: int = 1


Actor: TypeAlias = Account | Miner


class State(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `ids` are the numbers of actors by their other addresses."""

    accounts: dict[int, Account]
    miners: dict[int, Miner]
    ids: dict[str, int]
    next_id: int
    registry: Registry = Registry()

    def id_of(self, address: Address) -> int | None:
        """Return the number of an actor, `None` if there is none at the address."""
        if address.protocol is Protocol.ID:
            number = address.id
            return number if number in self.accounts or number in self.miners or number in SINGLETONS else None
        return self.ids.get(address.text())

    def account(self, number: int) -> Account:
        """Return an account, or what an actor of the chain has."""
        return self.accounts.get(number, _EMPTY)

    def balance_of(self, number: int) -> int:
        """Return what an actor has."""
        return (self.miners.get(number) or self.account(number)).balance

    def power(self, miner: int) -> tuple[int, int]:
        """Return raw and quality-adjusted power of a miner in bytes."""
        found = self.miners.get(miner)
        return (0, 0) if found is None else _power(_Same(found))

    def total_power(self) -> tuple[int, int]:
        """Return both powers of all."""
        powers = [self.power(number) for number in self.miners]
        return sum(raw for raw, _ in powers), sum(adjusted for _, adjusted in powers)


_EMPTY = Account(None)


def kind_of(state: State, number: int) -> str:
    """Return the kind of an actor, as its code is called."""
    if number in state.miners:
        return "storageminer"
    return SINGLETONS.get(number, "account")


class _Same:
    """A value that is equal to itself alone, so that it can be a key whatever is in it."""

    def __init__(self, miner: Miner) -> None:
        self.miner = miner

    def __hash__(self) -> int:
        return id(self.miner)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.miner is self.miner


@functools.lru_cache(maxsize=64)
def _power(same: _Same) -> tuple[int, int]:
    miner = same.miner
    active = [miner.sectors[number] for partition in miner.partitions() for number in partition.active]
    sizes = [(sector_bytes(sector.seal_proof), sector.verified_bytes) for sector in active]
    return sum(size for size, _ in sizes), sum(size + 9 * verified for size, verified in sizes)


def sector_bytes(seal_proof: int) -> int:
    """Return the size of sectors with a kind of proof."""
    return int(SealProof(seal_proof).size)
