"""A sealing store: the folder in which one sealing thread works (see `stores.layout`).

It can be moved to another machine with everything in it and goes on there.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from damocles import durable, failpoints
from damocles.stores import holding, identity, journal, original
from damocles.stores.layout import Layout
from damocles.wire import sectors

HOLDER = ".holder"
# A new file system's own folder, options for the store's thread, and the beginnings of a store.
_BEFOREHAND = frozenset({"lost+found", "config.toml", "data", "meta"})


class StoreError(Exception):
    """A sealing store cannot be used; the message names the folder and what to do."""


class InUse(StoreError):
    """Another process uses it."""


@dataclass(frozen=True, slots=True)
class SealingStore:
    """An open and locked store."""

    location: Path
    journal: journal.Journal

    def layout(self, allocated_id: sectors.SectorID, size: sectors.SectorSize) -> Layout:
        """Return the paths of a sector in this store."""
        return Layout(self.location / "data", allocated_id, size)

    def clear(self) -> None:
        """Delete the working files; only for a sector whose files are persisted and whose proof is on chain."""
        data = self.location / "data"
        for child in data.iterdir():
            failpoints.reach(f"clear:{child.name}")
            shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()

    def discard(self, name: str) -> Path | None:
        """Move the working files to the trash and return the new folder, or `None` if there were none."""
        data = self.location / "data"
        if not any(data.iterdir()):
            return None
        trash = self.location / "trash"
        trash.mkdir(exist_ok=True)
        target = trash / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{name}"
        count = 1
        while target.exists():
            count += 1
            target = target.with_name(f"{target.name}.{count}")
        target.mkdir()
        # One by one, since `data` itself is what makes the folder a store. Cut short, the rest follows with the next try.
        for child in sorted(data.iterdir()):
            failpoints.reach(f"discard:{child.name}")
            child.rename(target / child.name)
        for folder in (target, trash, data, self.location):
            durable.sync_entry(folder)
        return target

    def empty_trash(self, older_than_seconds: float) -> list[Path]:
        """Delete what has been in the trash for longer than that and return it.

        Raises:
            OSError: Some of it cannot be deleted; the rest is.
        """
        limit = time.time() - older_than_seconds
        gone, errors = [], []
        for child in _in_trash(self.location):
            try:
                if _put_at(child) < limit:
                    shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
                    gone.append(child)
            except OSError as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return gone


class Trash(NamedTuple):
    """The trash of a store: its bytes on disk, and since when the oldest is there (unix seconds)."""

    size_bytes: int
    since: float


def trash(location: Path) -> Trash | None:
    """Return what is in the trash of a store, or `None` if there is nothing.

    Raises:
        OSError: It cannot be looked at.
    """
    children = _in_trash(location)
    if not children:
        return None
    files = [path for child in children for path in (child, *child.rglob("*")) if path.is_file()]
    size_bytes = sum(path.lstat().st_blocks * 512 for path in files if not path.is_symlink())
    return Trash(size_bytes, min(map(_put_at, children)))


def _in_trash(location: Path) -> list[Path]:
    folder = location / "trash"
    # What a link leads to is somebody's, and not ours to empty.
    return sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []


def _put_at(child: Path) -> float:
    """Return when something was put into the trash, in unix seconds: a folder changes for the last time when it is filled."""
    return child.lstat().st_ctime


def init(location: Path) -> None:
    """Make a sealing store, with its parent folders.

    What a fresh file system or a careful owner puts there first may be there, and what a killed run has left behind.

    Raises:
        StoreError: There is one already, or the folder holds other things.
    """
    if (location / HOLDER).exists():
        raise StoreError(f"{location} is already a sealing store")
    data, meta = location / "data", location / "meta"
    try:
        if location.exists() and _foreign(location):
            raise StoreError(f"{location} is not empty: choose a new folder for a sealing store")
        data.mkdir(parents=True, exist_ok=True)
        meta.mkdir(exist_ok=True)
        journal.create(meta / journal.FILE_NAME)
        original.keep_out(meta)
        identity.mark(location)
        # Last, since it is what makes the folder a store.
        (location / HOLDER).touch(exist_ok=False)
        durable.sync_entry(location)
    except journal.JournalError as error:
        raise StoreError(str(error)) from error
    except OSError as error:
        raise StoreError(f"cannot create the sealing store {location}: {error.strerror}") from error


def _foreign(location: Path) -> bool:
    """Return whether a folder that is to become a store holds what does not belong there."""
    data, meta = location / "data", location / "meta"
    return (
        any(
            child.name not in _BEFOREHAND and not child.name.startswith(identity.FILE_NAME)
            for child in location.iterdir()
        )
        or data.is_symlink()
        or (data.exists() and any(data.iterdir()))
        or (meta.exists() and (original.is_in(meta) or not all(map(_is_of_beginning, meta.iterdir()))))
    )


def _is_of_beginning(child: Path) -> bool:
    return child.name.startswith((journal.FILE_NAME, original.FILE_NAME))


@contextmanager
def opened(location: Path) -> Iterator[SealingStore]:
    """Open and lock a store for as long as the block runs.

    Raises:
        StoreError: It is not a store, or another worker uses it.
    """
    try:
        problem = not_ours(location)
    except OSError as error:
        raise StoreError(f"{error.filename or location} cannot be read: {error.strerror}") from error
    if problem is not None:
        raise StoreError(problem)
    holder = location / HOLDER
    if not holder.is_file() or not (location / "data").is_dir() or (location / "data").is_symlink():
        raise StoreError(
            f"{location} is not a sealing store: create one with `damocles-worker store sealing-init -l {location}`"
        )
    with ExitStack() as stack:
        try:
            stack.enter_context(holding.held(holder))
        except holding.InUse as error:
            raise InUse(f"{location} is in use by another worker ({error.owner})") from error
        try:
            book = journal.Journal(location / "meta" / journal.FILE_NAME)
        except journal.JournalError as error:
            raise StoreError(str(error)) from error
        stack.callback(book.close)
        with suppress(OSError):  # a full disk: the next time, then
            original.keep_out(location / "meta")
        yield SealingStore(location, book)


def not_ours(location: Path) -> str | None:
    """Return the error if a folder is a store of the original, or has files of a sector that no journal of ours knows.

    Another sector begun beside them would end with the files of both deleted.

    Raises:
        OSError: The folder cannot be read.
    """
    is_known = (location / "meta" / journal.FILE_NAME).exists()
    is_of_original = original.is_in(location / "meta")
    if is_known and not is_of_original:
        return None
    files = sorted({path.name for path in (location / "data").glob("*/s-t0*")})
    if is_known:
        return (
            f"{location} has been used by the original's worker as well as by ours, and whoever ends a sector there clears"
            f" away the files of all ({', '.join(files) or 'none now'}): stop the original's worker, move what is of its"
            f" sector out of {location}/data, then delete {location}/meta/{original.FILE_NAME}"
        )
    holds = f", with files of {files[0]}" if files else ""
    if is_of_original:
        return (
            f"{location} is a sealing store of the original{holds}: let the original's worker finish its sector there,"
            " and give this thread a store of its own (`damocles-worker store sealing-init` in another folder)"
        )
    if files:
        return (
            f"{location} has files of {files[0]}, and no journal that knows them: bring meta/{journal.FILE_NAME} back"
            f" from a backup, or move {location}/data away and make the store anew"
        )
    return None


def is_in_use(location: Path) -> bool:
    """Return whether a worker uses the store at the moment."""
    return holding.owner(location / HOLDER) is not None
