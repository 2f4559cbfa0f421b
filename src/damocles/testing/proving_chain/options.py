"""Bugs to plant, and how long a seed is."""

from dataclasses import dataclass

from damocles.devnode.rules import Rules

WINDOW = 20  # epochs of a deadline
RULES = Rules(window_epochs=WINDOW)
DEADLINES = (3, 5)  # with sectors; between them there is a calm one
CALM_EPOCHS = 12  # the last of a window, in which nothing new goes wrong
CONFIDENCE = 4
DEEPEST = 12  # tipsets that are abandoned at once
FIRST_MINER = RULES.miner


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
