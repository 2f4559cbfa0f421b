"""What a devnet is made of in numbers: delays in epochs, money in attoFIL, gas.

The numbers are those of the recorded network of 2KiB sectors where they were to be had, and simple formulas instead of
a reward, a supply and a virtual machine: see docs/reference/devnode.md.
"""

from typing import Annotated

import msgspec

from damocles.chain import versions
from damocles.chain.amounts import ATTO
from damocles.wire.sectors import SectorSize

NAME = "damocles-devnode"

EPOCHS_IN_DAY = 2880
FINALITY = 900
TICKET_LOOKBACK = 2880 + FINALITY  # how old the ticket of a pre-commit may be
PROVE_WITHIN = 30 * EPOCHS_IN_DAY  # of a pre-commit, beyond the challenge delay
LEAST_LIFE = 180 * EPOCHS_IN_DAY
LONGEST_EXTENSION = 1278 * EPOCHS_IN_DAY
FAULT_MAX_AGE = 42 * EPOCHS_IN_DAY
TERM_MIN = 180 * EPOCHS_IN_DAY
TERM_MAX = 5259485  # five years of 365.2422 days
ALLOCATION_LIMIT = 60 * EPOCHS_IN_DAY  # how far ahead an allocation may expire
CLAIM_DROP = 30 * EPOCHS_IN_DAY
LEAST_ALLOCATION_BYTES = 256
DEADLINES = 48
BATCH_LIMIT = 256
AGGREGATE_LEAST, AGGREGATE_MOST = 4, 819
POSTED_PARTITIONS_LIMIT = 3
NUMBER_LIMIT = 1 << 63
FIRST_MINER = 1000  # of the numbers that miners may have

LEAST_BASE_FEE = 100
PREMIUM = 100_000  # what an estimate proposes, as a node does where blocks are not full
BLOCK_GAS_LIMIT = 10_000_000_000
BLOCK_GAS_TARGET = BLOCK_GAS_LIMIT // 2
REPLACE_BY_FEE = (5, 4)
OVERESTIMATION = (5, 4)
DEFAULT_MAX_FEE = ATTO * 7 // 100

Epochs = Annotated[int, msgspec.Meta(ge=1)]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How a devnet goes: it is made with them, and keeps them.

    `window_epochs` is the length of a deadline; whatever else of proving is counted in epochs goes with it.
    `network_version` is what it calls itself; the actors are the same for all that are known. `miner` is the number of
    the miner that it begins with. Where `needs_posts` is false a sector is active from its proof on, and stays so
    though nobody proves its deadline.
    """

    name: str = "devnet-damocles"
    sector_bytes: int = SectorSize.KIB2
    challenge_delay: Epochs = 10
    window_epochs: Epochs = 60
    partition_sectors: Epochs = 2
    base_fee: Annotated[int, msgspec.Meta(ge=LEAST_BASE_FEE)] = LEAST_BASE_FEE
    network_version: int = 28
    miner: Annotated[int, msgspec.Meta(ge=FIRST_MINER)] = FIRST_MINER
    needs_posts: bool = True

    def __post_init__(self) -> None:
        versions.network(self.network_version)

    @property
    def period_epochs(self) -> int:
        """A proving period: all 48 deadlines."""
        return DEADLINES * self.window_epochs

    @property
    def challenge_lookback(self) -> int:
        """Epochs before a deadline opens, at which its challenge is drawn: 20 of 60."""
        return self.window_epochs // 3

    @property
    def declaration_cutoff(self) -> int:
        """Epochs before a deadline opens, from which on faults are declared too late: 70 of 60."""
        return self.window_epochs * 7 // 6

    @property
    def dispute_window(self) -> int:
        """Epochs after a deadline, until which it is not compacted: 1800 of 60."""
        return self.window_epochs * 30


# Money -------------------------------------------------------------------------------------------------------------

_PLEDGE_BYTES = 32 << 30  # of quality-adjusted power for a pledge of 1 FIL
VERIFIED_FACTOR = 10


def pledge(power_bytes: int) -> int:
    """Return the initial pledge of quality-adjusted power: 1 FIL for 32 GiB."""
    return ATTO * power_bytes // _PLEDGE_BYTES


def deposit(sector_bytes: int) -> int:
    """Return the deposit of a pre-commit: 17 times the pledge of a sector without data, as recorded."""
    return 17 * pledge(sector_bytes)


def creation_deposit(sector_bytes: int) -> int:
    """Return what a new miner has to bring: a tenth of a sector's pledge, as recorded."""
    return pledge(sector_bytes) // 10


def daily_fee(power_bytes: int) -> int:
    """Return the daily fee of quality-adjusted power: 185812 attoFIL for 2 KiB, as recorded."""
    return 185812 * power_bytes // 2048


def termination_fee(pledged: int) -> int:
    """Return the fee of ending a sector early: 8.5 % of its pledge, whatever its age."""
    return pledged * 85 // 1000


def quoted(taken: int) -> int:
    """Return what a node quotes for a deposit or pledge: a tenth more than what is taken."""
    return taken * 110 // 100


def next_base_fee(base_fee: int, gas_limits: int) -> int:
    """Return the base fee after a tipset whose messages have these limits of gas in all: up to an eighth more or less."""
    delta = max(-BLOCK_GAS_TARGET, min(BLOCK_GAS_TARGET, gas_limits - BLOCK_GAS_TARGET))
    return max(LEAST_BASE_FEE, base_fee + base_fee * delta // BLOCK_GAS_TARGET // 8)


# Gas ---------------------------------------------------------------------------------------------------------------


def storage_gas(message_bytes: int) -> int:
    """Return what it costs to have a message on the chain, whatever it does; its limit may not be below."""
    return 38_863 + 1_300 * (36 + message_bytes)


def burnt_by_overestimation(used: int, limit: int) -> int:
    """Return the gas that is paid for having asked for too much, as Lotus counts it."""
    if not used:
        return limit
    over = limit - 11 * used // 10
    return 0 if over < 0 else (limit - used) * min(over, used) // used
