"""Pauses that were asked for and have not come yet, in a small file: a restart in between is no resume.

Once a pause has come it is in the store's journal.
"""

from pathlib import Path

import msgspec
import structlog

from damocles.stores.durably import write_durably
from damocles.wire import codec

log = structlog.get_logger(__name__)

FILE_NAME = "pauses.json"


class Pauses:
    """The stores whose threads are to pause; without a `file` known to this process alone."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._locations: frozenset[str] = frozenset()
        if file is not None and file.exists():
            try:
                self._locations = frozenset(codec.decode(file.read_bytes(), list[str]))
            except msgspec.MsgspecError as error:
                log.warning("file of pauses is damaged and not used", file=str(file), error=str(error))

    def __contains__(self, location: Path) -> bool:
        """Whether the thread of this store is to pause."""
        return str(location) in self._locations

    def add(self, location: Path) -> None:
        """Keep a pause that was asked for."""
        self._set(self._locations | {str(location)})

    def discard(self, location: Path) -> None:
        """Forget one that has come, or was taken back."""
        self._set(self._locations - {str(location)})

    def _set(self, locations: frozenset[str]) -> None:
        if locations == self._locations:
            return
        self._locations = locations
        if self._file is not None:
            write_durably(self._file, codec.encode(sorted(locations)))
