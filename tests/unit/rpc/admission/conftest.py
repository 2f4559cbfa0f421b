"""A keyring on a shelf in memory, and a clock that the test holds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import pytest

from damocles.rpc.admission import keyring

NOW = 1_790_000_000.0


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now: float = NOW

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@dataclass
class MemoryShelf:
    """Tokens in memory; counts what is asked of it."""

    kept: dict[str, keyring.Kept] = field(default_factory=dict)
    uses: list[float] = field(default_factory=list)
    loads: int = 0

    async def load(self) -> list[keyring.Kept]:
        """Return all."""
        self.loads += 1
        return list(self.kept.values())

    async def add(self, token: keyring.Kept) -> None:
        """Keep one more."""
        self.kept[token.id] = token

    async def revoke(self, ids: Sequence[str], at: float) -> None:
        """Mark tokens as revoked."""
        for token_id in ids:
            self.kept[token_id] = msgspec.structs.replace(self.kept[token_id], revoked=at)

    async def used(self, token_id: str, at: float) -> None:
        """Note a use."""
        self.uses.append(at)
        self.kept[token_id] = msgspec.structs.replace(self.kept[token_id], used=at)


@pytest.fixture
def clock() -> Clock:
    """The time."""
    return Clock()


@pytest.fixture
def shelf() -> MemoryShelf:
    """Where tokens are kept."""
    return MemoryShelf()


@pytest.fixture
def ring(shelf: MemoryShelf, clock: Clock) -> keyring.Keyring:
    """Tokens on that shelf."""
    return keyring.Keyring(shelf, clock)
