"""Paths that others choose: an operator or a manager names a destination of a piece, and this module checks it.

One rule for all of them. The path is decoded once, part by part; what no honest path has is refused; links are followed;
and only their target is compared: it has to be below a folder that this machine's configuration names, or in a
persist store, and neither among its sectors nor among the worker's own files. The writer of the file makes sure that nothing
is replaced (`stages.files.copies`).
"""

import os
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from damocles.stores import layout
from damocles.stores.persist import PersistStore

DESCRIPTION = "sectorstore.json"  # where stores are looked for, it makes one of its folder, with the name in it
_LONGEST_BYTES = 240  # of a name, with room for that of its part file


class Refused(ValueError):
    """A path is not one that somebody else may choose; the message gives the reason."""


class NotThere(Exception):
    """A folder that the configuration names is not there: its disk may not be mounted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlets:
    """Where files may be put: below `folders`, and in persist stores; never in `spared`, sealing stores and homes."""

    folders: tuple[Path, ...] = ()
    spared: Collection[Path] = ()

    def file(self, url: str, stores: Collection[PersistStore]) -> Path:
        """Return the place that a `file://` URL names, as an absolute path without links. Looks at the disk.

        Raises:
            Refused: It is nowhere where anything may be put.
            NotThere: It is below a folder that is not there.
        """
        found = _real(Path("/", *parts(url)))
        for folder in self.folders:
            if found.is_relative_to(root := _real(folder)):
                return self._checked(found, root, stores)
        if not self.folders:
            raise Refused("no folder on this machine accepts files: name one in worker.unseal_dirs")
        raise Refused("it is below none of the folders of worker.unseal_dirs")

    def in_store(self, url: str, store: PersistStore, stores: Collection[PersistStore]) -> Path:
        """Return the path that a `store://` URL names in its store, under the same rule.

        Raises:
            Refused: It leads out of the store, or to its sectors.
        """
        root = _real(store.path)
        return self._checked(_real(root.joinpath(*parts(url))), root, stores)

    def _checked(self, found: Path, root: Path, stores: Collection[PersistStore]) -> Path:
        if found == root or not found.is_relative_to(root):
            raise Refused(f"it leads out of {root}" if found != root else f"it names no file in {root}")
        if any(_plain(part).startswith(".") for part in found.relative_to(root).parts):
            raise Refused("names that begin with a dot are not for others to choose")
        if _plain(found.name) == DESCRIPTION:
            raise Refused(f"{DESCRIPTION} makes a persist store of its folder")
        for folder in self.spared:
            if _is_in(found, (_real(folder),)):
                raise Refused("it is among the worker's own files")
        for store in stores:
            sectors = [_real(store.path) / name for name in layout.OF_SECTORS]
            if _is_in(found, sectors) or _begins(found, _real(store.path)) in layout.OF_SECTORS:
                raise Refused(f"it is among the sectors in the persist store {store.name}: choose another folder")
            if store.read_only and found.is_relative_to(_real(store.path)):
                raise Refused(f"it is in the persist store {store.name}, which is readonly here ([[attached]])")
        if not root.is_dir():
            raise NotThere(f"{root} does not exist; is the disk mounted?")
        return found


def parts(url: str) -> tuple[str, ...]:
    """Return the names in the path of a `file://` or `store://` URL, decoded once. Does not look at the disk.

    Raises:
        Refused: One of them is no name of a file, or looks like more than one to some file systems.
    """
    try:
        split = urlsplit(url)
        names = [unquote(part, errors="strict") for part in split.path.removeprefix("/").split("/")]
    except ValueError as error:
        raise Refused(f"it cannot be read: {error}") from error
    if "?" in url or "#" in url:
        raise Refused("it has a ? or #; in a name they are written %3F and %23")
    if split.scheme == "file" and split.netloc:
        raise Refused(f"it names a host ({split.netloc}): a path begins with a third slash")
    if not split.path.startswith("/"):
        raise Refused("it has no path that begins with a slash")
    for name in names:
        _check(name)
    return tuple(names)


def _check(name: str) -> None:
    plain = _plain(name)
    if not plain.strip("."):
        raise Refused("it has an empty name, a . or a .. in it")
    if {"/", "\\"} & {*name, *plain}:
        raise Refused("it has a name with a slash or backslash in it")
    if not name.isprintable():
        raise Refused("it has a name with characters that cannot be seen")
    if unquote(name) != name:
        raise Refused("it is encoded more than once")
    if len(name.encode()) > _LONGEST_BYTES:
        raise Refused(f"it has a name of more than {_LONGEST_BYTES} bytes")


def _plain(name: str) -> str:
    """Return a name as file systems see it that take look-alikes, or other letters' cases, for the same."""
    return unicodedata.normalize("NFKC", name).casefold()


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _begins(path: Path, root: Path) -> str:
    """Return the first name of a path below a folder, plainly; none if it is not below it."""
    inner = path.relative_to(root).parts if path.is_relative_to(root) else ()
    return _plain(inner[0]) if inner else ""


def _is_in(path: Path, folders: Collection[Path]) -> bool:
    """Return whether a path is in a folder, by its name or, where a disk is mounted twice, by what is there."""
    if any(path.is_relative_to(folder) for folder in folders):
        return True
    there = {_identity(folder) for folder in folders} - {None}
    return any(_identity(above) in there for above in (path, *path.parents))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
