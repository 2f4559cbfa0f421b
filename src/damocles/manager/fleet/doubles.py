"""Notice workers that ping under one name.

A worker that was started again on another port or address pings from there, and never again from where it was. Of two
that live, each comes back after the other has pinged. So an address counts once it has come back, and for as long as it
does; one alone is no second worker.
"""

from dataclasses import dataclass

import structlog

from damocles.manager.fleet import workers

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Address:
    row: workers.Row
    came_back: float | None = None  # after another address had pinged


class Namesakes:
    """The addresses that workers ping from, by name."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, _Address]] = {}
        self._last: dict[str, str] = {}
        self._reported: set[str] = set()

    def heard(self, row: workers.Row, patience_seconds: float) -> None:
        """Take note of a ping; an address is forgotten after `patience_seconds`."""
        name, dest, now = row.info.name, row.info.dest, row.last_ping
        fresh = {
            known: address
            for known, address in self._known.get(name, {}).items()
            if now - address.row.last_ping <= patience_seconds
        }
        before = fresh.get(dest)
        came_back = None if before is None else before.came_back
        if before is not None and self._last[name] != dest:
            came_back = now
        fresh[dest] = _Address(row, came_back)
        self._known[name], self._last[name] = fresh, dest
        shared = self.of(name, now, patience_seconds)
        if shared and name not in self._reported:
            log.error("several workers ping under one name", worker=name, dests=[row.info.dest for row in shared])
            self._reported.add(name)
        elif not shared:
            self._reported.discard(name)

    def of(self, name: str, now: float, patience_seconds: float) -> list[workers.Row]:
        """Return the last pings of the workers that share a name, by address; none if it is one worker's."""
        shared = [
            address.row
            for _, address in sorted(self._known.get(name, {}).items())
            if address.came_back is not None and now - address.came_back <= patience_seconds
        ]
        return shared if len(shared) > 1 else []

    def forget(self, name: str) -> None:
        """Drop a worker that was removed."""
        self._known.pop(name, None)
        self._last.pop(name, None)
