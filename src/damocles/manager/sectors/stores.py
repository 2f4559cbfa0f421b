"""Persist stores as the manager sees them, and the space that sectors have reserved in them."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog
from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select

from damocles.manager import errors
from damocles.manager.db import tables
from damocles.rpc.errors import DiskFails, reason_of
from damocles.stores import identity, layout
from damocles.wire import proving, records, seal, wdpost
from damocles.wire.sectors import SealProof, SectorID, SectorSize

log = structlog.get_logger(__name__)

_reservations = tables.reservations
_UPGRADED = {"sealed": "update", "cache": "update-cache"}  # where the files of an upgraded sector are
_MAX_SIZE_BYTES = 2**63 - 1  # what SQL can hold
_MOST_TIMES, _SMALL_BYTES = 4, 1 << 20  # what the files of a sector may take: times its size, and as much besides


class Usage(NamedTuple):
    """Space of a disk in bytes, as `shutil.disk_usage` returns it."""

    total: int
    used: int
    free: int


class Stores:
    """The persist stores that workers may write to.

    With an empty `declared` every name is a store, as in the original's mock mode: workers bring their own names, and
    where a name is an absolute path, the files can be looked at there.
    """

    def __init__(self, declared: Mapping[str, Path], memory: identity.Memory = identity.NOTHING) -> None:
        self._declared = dict(declared)
        self._memory = memory
        self._missing: dict[str, str] = {}  # of the stores that were not there the last time: why not

    def basic_info(self, name: str) -> seal.StoreBasicInfo | None:
        """Return a store, `None` if there is none of that name."""
        if not self._declared:
            return seal.StoreBasicInfo(name, name, meta={})
        path = self._declared.get(name)
        return seal.StoreBasicInfo(name, str(path), meta={}) if path else None

    def root(self, name: str) -> Path | None:
        """Return where a store is, `None` if it is neither declared nor a path."""
        root = self._declared.get(name, Path(name))
        return root if root.is_absolute() else None

    def look(self) -> dict[str, str]:
        """Look which declared stores are not those that were there before, and why. Not for the event loop."""
        missing = {name: why for name in self._declared if (why := self._wrong(name)) is not None}
        for name in missing.keys() - self._missing.keys():
            log.warning("persist store is missing: no space is reserved in it", store=name, error=missing[name])
        for name in self._missing.keys() - missing.keys():
            log.info("persist store is back", store=name)
        self._missing = missing
        return missing

    def in_order(self, name: str) -> None:
        """Return if a declared store is the one that was there before; looks at no other one, which may hang.

        Raises:
            DiskFails: It is not, so that nothing is known of the files in it.
        """
        if name in self._declared and (why := self._wrong(name)) is not None:
            raise DiskFails(f"persist store {name}", why)

    def _wrong(self, name: str) -> str | None:
        """Return why a declared store is not the one that was there before."""
        try:
            self._memory.admit(self._declared[name])
        except identity.NotTheStore as error:
            return str(error)
        return None

    def private(self, sector: SectorID, name: str, *, is_upgrade: bool) -> proving.Private:
        """Return where the files of a sector are in a store."""
        sealed, cache = (f"{folder}/{sector}" for folder in _folders(is_upgrade=is_upgrade))
        root = self.root(name) or Path(name)
        return proving.Private(
            accesses=wdpost.Accesses(name, name),
            cache_dir=str(root / cache),
            sealed_file=str(root / sealed),
            cache_name=cache,
            sealed_name=sealed,
        )

    def remove_files(self, sector: SectorID, name: str, is_upgrade: bool) -> None:
        """Delete the files of a sector from a store; none there is as good. Not for the event loop.

        Raises:
            errors.ManagerError: The store is not on this machine, or a file cannot be deleted.
            DiskFails: Its disk is not mounted.
        """
        self.in_order(name)
        if (root := self.root(name)) is None or not root.is_dir():
            raise errors.ManagerError(
                f"files of {sector} are in store {name}, which this manager does not have (--store)"
            )
        sealed, cache = (root / folder / str(sector) for folder in _folders(is_upgrade=is_upgrade))
        try:
            if cache.exists():
                shutil.rmtree(cache)
            sealed.unlink(missing_ok=True)
        except OSError as error:
            raise errors.ManagerError(f"{error.filename or sealed} cannot be deleted: {reason_of(error)}") from error

    def usage(self) -> dict[str, Usage]:
        """Ask the disks of the declared stores for their space. Not for the event loop, nor in a transaction.

        A store that is not there, a bare mount point for example, has none.
        """
        missing = self.look()
        there = {name: path for name, path in self._declared.items() if name not in missing}
        return {name: Usage(*shutil.disk_usage(path)) for name, path in there.items()}

    def details(self, tx: Connection, usage: Mapping[str, Usage]) -> list[records.StoreDetails] | None:
        """Return the declared stores with their space; `None` if none is declared."""
        nothing = Usage(0, 0, 0)
        return [_details(tx, name, path, usage.get(name, nothing)) for name, path in self._declared.items()] or None

    def reserve(
        self,
        tx: Connection,
        sector: SectorID,
        size_bytes: int,
        candidates: Sequence[str],
        *,
        usage: Mapping[str, Usage],
        now: float,
    ) -> seal.StoreBasicInfo | None:
        """Reserve space for a sector in the candidate with the most of it; no candidates means every declared store.

        A sector has one reservation. Asked again for the same size, the answer is the same store, so that a worker
        whose first answer was lost does not copy to two places. `None` if no store has the space.
        """
        there = usage.keys() if self._declared else candidates
        names = [name for name in candidates or self._declared if self.basic_info(name) is not None and name in there]
        held = tx.execute(select(_reservations).where(*_of(sector))).first()
        if held is not None and held.size_bytes == size_bytes and held.store in names:
            return self.basic_info(held.store)
        left = {name: _left_bytes(tx, name, usage.get(name), sector) for name in names}
        name = max(names, key=left.__getitem__, default=None)
        if name is None or (name in usage and left[name] < size_bytes) or size_bytes > _MAX_SIZE_BYTES:
            return None
        release(tx, sector)
        key = {"miner": sector.miner, "number": sector.number}
        tx.execute(insert(_reservations).values(**key, store=name, size_bytes=size_bytes, at=now))
        return self.basic_info(name)

    def check_files(self, sector: SectorID, size: SectorSize, name: str, is_upgrade: bool) -> None:
        """Check that every file of a sealed sector is in a store. Reads the disk: not for the event loop.

        Nothing is checked if neither the store is declared nor its name is a path.

        Raises:
            errors.ManagerError: There is no such store, or a file is missing; the message names it.
            DiskFails: The store's disk is not mounted.
        """
        prefix = f"check persisted filed: check provable for sector {sector} in instance {name}"
        if self.basic_info(name) is None:
            raise errors.ManagerError(
                f"{prefix}: get private info: get private info: get location for {sector}: get objstore instance {name}"
                f" for sealed file: instance not found: {name}"
            )
        self.in_order(name)
        root = self.root(name)
        if root is None:
            return
        for name_in_store in layout.persisted_names(sector, size):
            folder, _, rest = name_in_store.partition("/")
            kind = "sealed file" if folder == "sealed" else "cache dir"
            relative = f"{_UPGRADED[folder] if is_upgrade else folder}/{rest}"
            try:
                (root / relative).stat()
            except (OSError, ValueError) as error:
                reason = ((error.strerror if isinstance(error, OSError) else None) or str(error)).lower()
                if name not in self._declared:
                    # The worker chose the folder: it hears that the file is missing, and nothing of what else is there.
                    log.warning("sector file not found", file=str(root / relative), reason=reason)
                    reason = "no such file or directory"
                raise errors.ManagerError(
                    f"{prefix}: stat object {relative} for {kind}: stat {root / relative}: {reason}"
                ) from error


def _folders(*, is_upgrade: bool) -> tuple[str, str]:
    return ("update", "update-cache") if is_upgrade else ("sealed", "cache")


def most_bytes(record: records.SectorState) -> int:
    """Return how many bytes the files of a sector in a persist store can have, with a margin.

    A replica is as large as the sector, and what proves it is less than that from 8 MiB on.
    """
    return _MOST_TIMES * int(SealProof(record.proof).size) + _SMALL_BYTES


def reserved(tx: Connection, sector: SectorID) -> dict[str, object] | None:
    """Return a sector's reservation: store, size and time."""
    columns = (_reservations.c.store, _reservations.c.size_bytes, _reservations.c.at)
    row = tx.execute(select(*columns).where(*_of(sector))).mappings().first()
    return dict(row) if row else None


def persisted(tx: Connection) -> dict[str, dict[str, int]]:
    """Return how many sectors have their files in each store, by whether these are a replica's or an upgrade's."""
    files = tables.sector_files
    rows = tx.execute(
        select(files.c.sealed_store, files.c.kind, func.count()).group_by(files.c.sealed_store, files.c.kind)
    )
    found: dict[str, dict[str, int]] = {}
    for store, kind, count in rows:
        found.setdefault(store, {})[kind] = count
    return found


def release(tx: Connection, sector: SectorID) -> bool:
    """Release a sector's reservation; return whether it had one."""
    return tx.execute(delete(_reservations).where(*_of(sector))).rowcount > 0


def _of(sector: SectorID) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return (_reservations.c.miner == sector.miner, _reservations.c.number == sector.number)


def _left_bytes(tx: Connection, name: str, usage: Usage | None, sector: SectorID) -> int:
    """Return what other sectors leave free; of a store whose disk is not known, count down from 0."""
    others = select(_reservations.c.size_bytes).where(_reservations.c.store == name, ~and_(*_of(sector)))
    return (usage.free if usage else 0) - sum(map(int, tx.execute(others).scalars()))


def _details(tx: Connection, name: str, path: Path, usage: Usage) -> records.StoreDetails:
    rows = tx.execute(select(_reservations).where(_reservations.c.store == name).order_by(_reservations.c.at))
    reserved = [records.Reservation(str(SectorID(row.miner, row.number)), row.size_bytes, int(row.at)) for row in rows]
    return records.StoreDetails(
        name=name,
        path=str(path),
        meta={},
        kind="",
        total_bytes=usage.total,
        free_bytes=usage.free,
        used_bytes=usage.used,
        used_percent=100 * usage.used / ((usage.used + usage.free) or 1),
        reserved_bytes=sum(item.size_bytes for item in reserved),
        reserved_by=reserved,
    )
