"""Whether a sealing store has room for another sector, asked before one is begun: a full disk ends hours of work."""

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from damocles.stages.admission import costs
from damocles.stores import sealing
from damocles.text import units
from damocles.wire import sectors


def smallest(allowed_proofs: Sequence[int]) -> sectors.SectorSize | None:
    """Return the size of the smallest sector that a thread may be given; `None` if every size is allowed."""
    return min((sectors.SealProof(number).size for number in allowed_proofs), default=None)


def lacking(
    plan: str, allowed_proofs: Sequence[int], location: Path, trash_retention_seconds: float, kept_bytes: int = 0
) -> str | None:
    """Return why the smallest sector that a thread may get does not fit into a store, or `None` if it does.

    Of the free space, `kept_bytes` are for the sectors of other stores on the disk. The reason includes the trash and the end
    of its retention: until then only a person may delete it.

    The answer is `None` if every size is allowed, or if the disk does not report its space. Reads the disk: not for the event loop.
    """
    size = smallest(allowed_proofs)
    if size is None:
        return None
    needed_bytes = costs.disk_bytes(plan, size)
    try:
        free_bytes = shutil.disk_usage(location).free
    except OSError:
        return None
    if needed_bytes <= free_bytes - kept_bytes:
        return None
    free, needed = units.human_size(free_bytes), units.human_size(needed_bytes)
    kept = (
        f", {units.human_size(kept_bytes)} of them kept for sectors in other stores on its disk" if kept_bytes else ""
    )
    text = f"room in {location}: {free} are free{kept}, the plan {plan} takes {needed} for a sector of {size.label}"
    return text + _kept(location, trash_retention_seconds)


def _kept(location: Path, retention_seconds: float) -> str:
    try:
        trash = sealing.trash(location)
        if trash is None:
            return ""
        until = datetime.fromtimestamp(trash.since + retention_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OSError, ValueError, OverflowError):  # the last two of a retention beyond all calendars
        return f"; see {location}/trash too"
    size = units.human_size(trash.size_bytes)
    return f"; {location}/trash holds {size}, the oldest until {until} (worker.trash_retention)"
