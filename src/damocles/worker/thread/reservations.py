"""Room on disks that sectors of this worker will still need: several stores may lie on one disk, and see the same free space.

A sector keeps what its plan takes at most, from the moment that a thread looks for room to its end. What is kept survives a
restart, since the journals hold the sectors: the journal of a store that is not open yet is read instead.
"""

import itertools
import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from damocles.sealing.sectors import Sector
from damocles.stages.admission import costs
from damocles.stores import journal
from damocles.wire import codec, sectors

_BLOCK_BYTES = 512  # of `st_blocks`, whatever the file system has


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a thread keeps; of two that look at the same time, the one with the lower number was first."""

    number: int
    whole_bytes: int


class Reservations:
    """What is kept in the sealing stores at `locations`. Called by all threads of the worker; a look reads disks."""

    def __init__(self, locations: Collection[Path] = ()) -> None:
        self._numbers = itertools.count()
        self._kept: dict[Path, _Kept] = {}
        self._unread = dict.fromkeys(locations)
        self._devices = {location: _device(location) for location in locations}

    def opened(self, location: Path, sector: Sector | None) -> None:
        """Know a store from its own thread, which has read its journal and may look at its disk."""
        self._devices[location] = _device(location)
        if sector is not None:
            self.begin(location, sector)
        self._unread.pop(location, None)

    def begin(self, location: Path, sector: Sector) -> None:
        """Keep what a sector takes; nothing changes if that is kept already."""
        if sector.allocated is not None:
            self.keep(location, sector.plan, sector.proof_type.size)

    def keep(self, location: Path, plan: str, size: sectors.SectorSize) -> None:
        """Keep what a plan takes for a sector of that size."""
        before, whole_bytes = self._kept.get(location), costs.disk_bytes(plan, size)
        if before is None or before.whole_bytes != whole_bytes:
            number = next(self._numbers) if before is None else before.number
            self._kept[location] = _Kept(number, whole_bytes)

    def drop(self, location: Path) -> None:
        """Keep nothing for a store any more: its sector is at its end, or none has come."""
        self._kept.pop(location, None)

    def forget(self, location: Path) -> None:
        """Know nothing of a store that this worker no longer uses."""
        self._kept.pop(location, None)
        self._unread.pop(location, None)
        self._devices.pop(location, None)

    def missing_bytes(self, location: Path) -> int:
        """Return how much of the free space on a store's disk belongs to sectors of other stores there.

        Of those that only look for room like this one, it counts who was first.
        """
        device, own = self._devices.get(location), self._kept.get(location)
        if device is None:
            return 0
        there = [one for one, on in list(self._devices.items()) if on == device and one != location]
        return sum(self._still_needed(one, own) for one in there)

    def _still_needed(self, location: Path, asking: _Kept | None) -> int:
        kept = self._kept.get(location)
        if kept is not None:
            if asking is not None and kept.number > asking.number:
                return 0
            whole_bytes = kept.whole_bytes
        elif location in self._unread:
            whole_bytes = journalled(location)
        else:
            return 0
        return max(0, whole_bytes - _used(location / "data")) if whole_bytes else 0


def _device(location: Path) -> int | None:
    try:
        return location.stat().st_dev
    except OSError:
        return None


def journalled(location: Path) -> int:
    """Return what the sector in a store's journal takes, which its thread has not opened yet."""
    with suppress(journal.JournalError, msgspec.MsgspecError, OSError):
        head = next(iter(journal.contents(location)), None)
        if isinstance(head, journal.Head) and head.record is not None:
            sector = codec.decode(head.record, Sector)
            if sector.allocated is not None:
                return costs.disk_bytes(sector.plan, sector.proof_type.size)
    return 0


def _used(folder: Path) -> int:
    """Return the space that the files below a folder take on its disk; linked files are elsewhere and do not count."""
    return sum(_blocks(folder))


def _blocks(folder: Path) -> Iterator[int]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    yield from _blocks(Path(entry.path))
                else:
                    yield entry.stat(follow_symlinks=False).st_blocks * _BLOCK_BYTES
