"""What to do next about a miner's block of an epoch. Pure.

    match mind.act(now, round, head, known, terms):
        ...

A *round* is an epoch with its times. It is prepared once the blocks of the epoch before have had time to spread; the tipset that is the head then
is the base of its block, with null rounds between if there are any. The block may be handed in when its epoch begins, and is of use until
others choose the base of the next one.

The chain takes the power of a miner that makes two blocks at a height, two on the same parents, or one that leaves out its own block of the
base's epoch. Against that stand:

- A round has one record, and no two have the same parents. What a block is made of is recorded before it is signed, and never again for
  that round; what is not recorded as signed is never handed in.
- A record can be lost with a database that is restored from a backup. So nothing is built on a base from before, or just after, the
  process began: whatever processes before it may have signed is older.
- Where a block of the miner is on the chain that is not in the records, something else mines for it: until that lies back, nothing is made.
"""

import enum
from dataclasses import dataclass
from typing import TypeAlias

from damocles.lotus.answers import Key

QUIET_EPOCHS = 900  # after a block that something else has made


class Stage(enum.StrEnum):
    """How far the block of a round is."""

    WON = "won"
    SIGNING = "signing"  # what it is made of is recorded; a signature may exist
    SIGNED = "signed"
    SUBMITTED = "submitted"
    INCLUDED = "included"
    LOST = "lost"


OPEN = (Stage.WON, Stage.SIGNING, Stage.SIGNED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """An epoch: when it begins in unix seconds, how long it is, and how long blocks take to spread."""

    epoch: int
    begins: float
    delay_seconds: float
    spread_seconds: float

    @property
    def prepares(self) -> float:
        """From when on its base is known."""
        return self.begins - self.delay_seconds + self.spread_seconds

    @property
    def ends(self) -> float:
        """From when on its block is of no use."""
        return self.begins + self.spread_seconds

    @property
    def budget_seconds(self) -> float:
        """What there is for all that has to be done."""
        return self.ends - self.prepares


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The head of the chain. `is_strange` if something else has made a block of the miner lately."""

    epoch: int
    key: Key
    is_strange: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is recorded of a round, and whether its winning PoSt is at hand."""

    stage: Stage
    has_proof: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is to be done until then."""

    until: float


@dataclass(frozen=True, slots=True)
class Elect:
    """Find out whether the round is won, on top of the head."""


@dataclass(frozen=True, slots=True)
class Prove:
    """Make the winning PoSt."""


@dataclass(frozen=True, slots=True)
class Sign:
    """Record what the block is made of, on top of the head, and have it signed."""


@dataclass(frozen=True, slots=True)
class SignAgain:
    """Have a block signed that is made of what is recorded: the same one."""


@dataclass(frozen=True, slots=True)
class Submit:
    """Hand in the block that is recorded."""


@dataclass(frozen=True, slots=True)
class LetGo:
    """It is won and lost."""

    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to do; `why` if nothing was done."""

    why: str = ""


Act: TypeAlias = Wait | Elect | Prove | Sign | SignAgain | Submit | LetGo | Done

_LATE = "it was not handed in before others built on the chain without it"


def first_base(epoch: int) -> int:
    """Return the least height that a process may build on which began at an epoch: one before it may have signed for the next."""
    return epoch + 2


def act(now: float, of: Round, head: Head, known: Known | None, base_from: int) -> Act:
    """Return what to do; `base_from` is what `first_base` says."""
    if known is not None and known.stage not in OPEN:
        return Done()
    if now >= of.ends:
        return Done("its time is over") if known is None else LetGo(_LATE)
    if known is not None and known.stage is Stage.SIGNED:
        return Submit() if now >= of.begins else Wait(of.begins)
    if known is not None and known.stage is Stage.SIGNING:
        return SignAgain()
    if now < of.prepares:
        return Wait(of.prepares)
    if (why := _hindrance(of, head, base_from)) is not None:
        return Done(why) if known is None else LetGo(why)
    if known is None:
        return Elect()
    return Sign() if known.has_proof else Prove()


def _hindrance(of: Round, head: Head, base_from: int) -> str | None:
    """Return why no block may be begun on top of a head."""
    if head.epoch >= of.epoch:
        return "the chain has that epoch already"
    if head.is_strange:
        return "another program makes blocks of the miner"
    if head.epoch < base_from:
        return "the manager has started just before: what is older may be signed already"
    return None


def spread_seconds(delay_seconds: float) -> float:
    """Return how long blocks get to spread: a third of an epoch, ten seconds on the main network."""
    return delay_seconds / 3
