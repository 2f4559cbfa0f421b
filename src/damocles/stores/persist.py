"""Persist stores: folders, often on other machines' disks, where sealed sectors are kept."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from damocles.stores import identity


class PersistError(Exception):
    """A persist store cannot be used; the message names the folder and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistStore:
    """An attached store: the name that the manager knows, and the folder on this machine."""

    name: str
    path: Path
    read_only: bool = False


def no_folder(location: Path) -> str | None:
    """Return why no store can be in a place, and what to do, if it is no folder."""
    if location.is_dir():
        return None
    return (
        f"{location} is not a folder: is the disk mounted? To make a store there:"
        f" `damocles-worker store file-init --loc {shlex.quote(str(location))}`; or correct the path"
    )


def init(location: Path) -> None:
    """Make the folder of a persist store, with its parents, and mark it."""
    try:
        location.mkdir(parents=True, exist_ok=True)
        identity.mark(location)
    except OSError as error:
        raise PersistError(f"cannot create the persist store {location}: {error.strerror}") from error
