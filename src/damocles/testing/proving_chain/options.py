"""Bugs to plant, and how long a seed is."""

import random
from dataclasses import dataclass

from damocles.devnode.rules import Rules

WINDOW = 20  # epochs of a deadline
RULES = Rules(window_epochs=WINDOW)
DEADLINES = (3, 5)  # with sectors; between them there is a calm one
CALM_EPOCHS = 12  # the last of a window, in which nothing new goes wrong
CONFIDENCE = 4
DEEPEST = 12  # tipsets that are abandoned at once
FIRST_MINER = RULES.miner
_OFTEN = 0.3  # a fork on purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Bugs to plant; see `plants` for what each is."""

    plant: str = ""


def opens(deadline: int) -> int:
    """Return when a deadline opens."""
    return deadline * WINDOW


def challenge(deadline: int) -> int:
    """Return the epoch of its challenge."""
    return opens(deadline) - RULES.challenge_lookback


def close(deadline: int) -> int:
    """Return the first epoch that is too late for it."""
    return opens(deadline) + WINDOW


LAST = close(DEADLINES[-1])  # epoch; then the rest lands


def is_calm(epoch: int) -> bool:
    """Return whether nothing new goes wrong at an epoch."""
    return epoch >= LAST or any(close(one) - CALM_EPOCHS <= epoch < close(one) for one in DEADLINES)


def floor(epoch: int) -> int:
    """Return the epoch from which on tipsets may be abandoned: what a closed window has is no longer in question."""
    return max((close(one) for one in DEADLINES if close(one) <= epoch), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """A fork that comes on purpose, at an epoch, or not at all if that is not before it is calm; from `lowest` on all is abandoned."""

    at: int
    lowest: int
    fails_at: int | None = None  # messages fail from then on, which succeed after it; nobody has them any more


def forks(seed: int) -> list[Fork]:
    """Return those of a seed, with dice of their own; chance alone would seldom bring them.

    The head goes back below a challenge of which there are proofs already, or to before messages that have failed.
    """
    dice = random.Random(f"forks of {seed}")  # noqa: S311 (it is to be the same again)
    made = []
    first, opened = DEADLINES[0], opens(dice.choice(DEADLINES))
    if dice.random() < _OFTEN:
        made.append(Fork(at=opens(first) + dice.randint(-2, 5), lowest=challenge(first)))
    if dice.random() < _OFTEN:
        fails_at = opened + dice.randint(0, 1)
        made.append(Fork(at=fails_at + dice.randint(3, 6), lowest=opened + 1, fails_at=fails_at))
    return made
