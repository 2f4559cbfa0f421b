"""A look at the sectors in persist stores: whether they were sealed with the number of discarded rows that is set here.

Otherwise each window PoSt fails, which is found out in a deadline, unless somebody looks before.
"""

import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog

from damocles.stages import settings
from damocles.stores import layout
from damocles.stores.persist import PersistStore
from damocles.wire import sectors

log = structlog.get_logger(__name__)

SECTORS = 20  # looked at in each folder of a store
_FOLDERS = (("cache", "sealed"), ("update-cache", "update"))


def look(stores: Sequence[PersistStore]) -> None:
    """Log what is wrong, from a thread of its own: a disk may hang, and nobody waits for this."""

    def run() -> None:
        for store in stores:
            for problem in problems(store.path):
                log.warning("sectors that cannot be proved here", store=store.name, problem=problem)

    threading.Thread(target=run, name="trees", daemon=True).start()


def problems(root: Path) -> Iterator[str]:
    """Yield the first sector of a store, and the first upgraded one, whose trees have another number of rows."""
    rows = settings.rows_to_discard()
    for cache, replica in _FOLDERS:
        found = (_problem(root / cache / name, root / replica / name, rows) for name in _some(root / cache))
        yield from itertools.islice(filter(None, found), 1)


def _some(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in itertools.islice(entries, SECTORS)]
    except OSError:
        return []


def _problem(cache: Path, replica: Path, rows: int) -> str | None:
    """Return what is wrong with one sector, if its files are there; window PoSts find damage."""
    try:
        size = sectors.SectorSize(replica.stat().st_size)
        tree = cache / layout.tree_r_last_names(size)[0]
        found = tree.stat().st_size
    except (OSError, ValueError):
        return None
    problem = settings.tree_problem(found, size, rows)
    return f"{tree} has {found} bytes, {problem}" if settings.ROWS_TO_DISCARD in problem else None
