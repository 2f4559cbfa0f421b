"""Whether this machine can prove window PoSts at all, asked before a job is taken.

A worker that takes jobs which it cannot prove is worse than none: it is idle, so it is the first to ask.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from damocles.parameters import catalog, preflight
from damocles.stores.persist import PersistStore
from damocles.wire import sectors
from damocles.worker.config import Group

Lacking = Callable[[sectors.SectorSize], str | None]

_REPLICAS = ("sealed", "update")  # folders of a persist store with what is proved


def of(groups: Sequence[Group], stores: Sequence[PersistStore]) -> Lacking:
    """Return what says why window PoSts of a size cannot be made here, or `None`; it looks at the disk.

    `groups` are the configured processors of the stage. Of a program that is not ours nobody knows what it needs.
    """
    is_known = all(group.bin is None for group in groups)
    folders = [catalog.folder(_environment(group)) for group in groups] or [catalog.folder()]

    def lacking(size: sectors.SectorSize) -> str | None:
        if is_known:
            lacks = [preflight.lacking_for_post(size, folder) for folder in folders]
            if (text := lacks[0]) is not None and all(lacks):
                return text
        return _unreadable(stores)

    return lacking


def _environment(group: Group) -> dict[str, str]:
    return {**(os.environ if group.inherit_envs else {}), **group.envs}


def _unreadable(stores: Sequence[PersistStore]) -> str | None:
    """Say that there is nothing to prove from in any store: this is how lost mounts look."""
    if any(_is_folder(store.path / name) for store in stores for name in _REPLICAS):
        return None
    paths = ", ".join(str(store.path) for store in stores)
    return f"no attached store has sectors to prove ({paths}): are their disks mounted?"


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
