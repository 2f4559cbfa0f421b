"""No store: for threads whose work leaves nothing on this machine (window PoSt). A restart of the worker ends it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from damocles.stores import sealing

LOCATION = Path("-")  # as listings show it


class _Journal:
    """Records nothing: the thread has its sector in memory, and the next one is another's business."""

    identity = "-"

    def load(self) -> None:
        """Find nothing."""

    def record(self, *_: Any, **__: Any) -> None:
        """Keep nothing."""


class Nowhere(sealing.SealingStore):
    """What a thread without a store works in."""

    def clear(self) -> None:
        """Delete nothing."""

    def discard(self, name: str) -> Path | None:
        """Move nothing."""
        return None

    def empty_trash(self, older_than_seconds: float) -> list[Path]:
        """Delete nothing."""
        return []


@contextmanager
def opened(location: Path) -> Iterator[sealing.SealingStore]:
    """Yield a store that is none."""
    yield Nowhere(location, _Journal())  # type: ignore[arg-type]
