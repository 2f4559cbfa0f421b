"""Whether this machine can prove window PoSts at all, asked before a job is taken.

A worker that takes jobs which it cannot prove is worse than none: it is idle, so it is the first to ask.
"""

import os
from collections.abc import Callable, Collection, Sequence

from damocles.parameters import catalog, preflight
from damocles.stores import identity
from damocles.stores.persist import PersistStore
from damocles.wire import sectors
from damocles.worker.config.load import Group

Lacking = Callable[[sectors.SectorSize], str | None]


def of(groups: Sequence[Group], stores: Collection[PersistStore], memory: identity.Memory) -> Lacking:
    """Return a function that gives the reason why window PoSts of a size cannot be made here, or `None`; it reads the disk.

    `groups` are the configured processors of the stage. The needs of external programs are unknown.
    """
    is_known = all(group.bin is None for group in groups)
    folders = [catalog.folder(_environment(group)) for group in groups] or [catalog.folder()]

    def lacking(size: sectors.SectorSize) -> str | None:
        if is_known:
            lacks = [preflight.lacking_for_post(size, folder) for folder in folders]
            if (text := lacks[0]) is not None and all(lacks):
                return text
        return _lost(stores, memory)

    return lacking


def _environment(group: Group) -> dict[str, str]:
    return {**(os.environ if group.inherit_envs else {}), **group.envs}


def _lost(stores: Collection[PersistStore], memory: identity.Memory) -> str | None:
    """Return why there is nothing to prove if every store has changed, as it looks when mounts are lost."""
    reasons = []
    for store in stores:
        try:
            memory.check(store.path)
        except identity.NotTheStore as error:
            reasons.append(str(error))
    return reasons[0] if stores and len(reasons) == len(stores) else None
