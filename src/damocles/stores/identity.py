"""Recognize a store: a disk that is not mounted leaves an empty folder in its place.

Each sealing store and persist store has a mark in its folder: a file with a unique id. A daemon that uses the
store remembers in its home which mark it has seen at which path, and accepts no other one there. At a path that it has never
seen, it accepts and marks what is there: stores may come from other machines, or from a release without marks.
"""

import functools
import hashlib
import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from damocles import durable
from damocles.stores import exhausted
from damocles.wire import codec

log = structlog.get_logger(__name__)

FILE_NAME = ".damocles-store"
FOLDER = "stores"  # of a home: one file for each place, so that whoever writes one spoils no other


class NotTheStore(Exception):
    """Something else is at a store's path; the message names the next step."""


class _Seen(msgspec.Struct, frozen=True):
    location: str
    mark: str


def mark_of(location: Path) -> str | None:
    """Return the mark of a folder, `None` if it has none.

    Raises:
        OSError: The folder is not there, or cannot be read.
    """
    try:
        return (location / FILE_NAME).read_text("ascii", "replace").strip() or None
    except FileNotFoundError:
        location.stat()
        return None


def mark(location: Path) -> str:
    """Mark a folder unless it is marked already, and return its mark.

    Raises:
        OSError: It cannot be written to.
    """
    made = uuid.uuid4().hex
    part = location / f"{FILE_NAME}.{made}.part"
    try:
        durable.write(part, f"{made}\n".encode())
        try:
            os.link(part, location / FILE_NAME)  # of two that mark it at once, one is first
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            if mark_of(location) is None:
                part.replace(location / FILE_NAME)
        durable.sync_entry(location)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return mark_of(location) or made


@dataclass(frozen=True, slots=True)
class Memory:
    """What a program's home remembers of stores; without a `home` nothing, and every store is taken."""

    home: Path | None = None

    def check(self, location: Path) -> None:
        """Return if a place has not been seen before, or has the store that it had then. Writes nothing.

        Raises:
            NotTheStore: It has not.
        """
        expected = self.expected(location)
        if expected is None:
            return
        found = _mark_there(location)
        if found != expected:
            there = "an unmarked folder" if found is None else f"another store ({found})"
            raise NotTheStore(
                f"{location} is not the store that was there before ({expected}) but {there}: is the disk mounted?"
                f" If it was replaced on purpose: damocles-worker store accept --home {self.home} {location}"
            )

    def admit(self, location: Path, *, may_mark: bool = True) -> None:
        """Check a place and remember the store that is there, after marking it if it has no mark.

        Where no mark can be made (a store that is readonly or full) none is remembered, now.

        Raises:
            NotTheStore: The place has another store than before, or no folder.
        """
        self.check(location)
        if self.home is None or self.expected(location) is not None:
            return
        found = _mark_there(location)
        try:
            if found is None and may_mark:
                found = mark(location)
            if found is not None:
                seen = _Seen(str(location), found)
                self._file(location).parent.mkdir(parents=True, exist_ok=True)
                durable.replace(self._file(location), codec.encode(seen))
        except OSError as error:
            _warn_once(str(location), str(error))

    def expected(self, location: Path) -> str | None:
        """Return the mark that was seen in a place, `None` if it has not been seen, or what was kept of it is damaged.

        Raises:
            NotTheStore: It cannot be looked up now.
        """
        if self.home is None:
            return None
        file = self._file(location)
        try:
            return codec.decode(file.read_bytes(), _Seen).mark
        except FileNotFoundError:
            return None
        except OSError as error:
            raise NotTheStore(
                f"whether {location} is the store that was there before cannot be told: {file}: {error.strerror}"
            ) from error
        except msgspec.MsgspecError as error:
            log.warning("record of a store is damaged; ignoring it", location=str(location), error=str(error))
            return None

    def forget(self, location: Path) -> str | None:
        """Take whatever is in a place from now on; return the mark that was remembered."""
        expected = None
        with suppress(NotTheStore):
            expected = self.expected(location)
        if self.home is not None:
            self._file(location).unlink(missing_ok=True)
        return expected

    def _file(self, location: Path) -> Path:
        assert self.home is not None
        return self.home / FOLDER / f"{hashlib.sha256(os.fsencode(location)).hexdigest()[:16]}.json"


def _mark_there(location: Path) -> str | None:
    """Return the mark of the folder in a place.

    Raises:
        NotTheStore: There is no folder, or it cannot be read.
    """
    try:
        return mark_of(location)
    except OSError as error:
        question = "" if exhausted.is_lacking(error) else ": is the disk mounted?"
        raise NotTheStore(f"the store {location} cannot be read ({error.strerror}){question}") from error


@functools.cache
def _warn_once(location: str, error: str) -> None:
    log.warning("store not marked: a lost mount would go unnoticed", location=location, error=error)


NOTHING = Memory()
