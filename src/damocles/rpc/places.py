"""Who may hold a connection: there are so many places, and strangers have theirs on loan.

A stranger is whoever has not shown yet that its calls can be answered. When all places are taken, or too many by
strangers from one host, the stranger that came first has to leave for the one that comes. So whoever sends a token
finds a place, however many others knock and say nothing.
"""

import contextlib
import resource
import socket
from dataclasses import dataclass

_FEWEST = 8  # connections, however low the limit: somebody must be able to look
_CONNECTIONS_AT_LEAST = 64  # of operators, workers and scrapers
_OTHER_DESCRIPTORS = 200  # databases, logs, files, connections to others, children


@dataclass(slots=True, eq=False)
class Place:
    """A connection from `host`. One that is `refused` came when all places were taken by others than strangers."""

    connected: socket.socket
    host: str
    known: bool = False
    refused: bool = False

    def tell(self, *, known: bool) -> None:
        """Take note of whether the last call could be answered."""
        self.known = known


class Places:
    """The places of one server: `most` in all, and `most_strange` for strangers from one host."""

    def __init__(self, most: int, most_strange: int) -> None:
        self._most = most
        self._most_strange = most_strange
        self._taken: list[Place] = []  # the oldest first

    def take(self, connected: socket.socket, host: str) -> Place:
        """Return a place for a connection, which keeps it until its socket is closed."""
        self._taken = [place for place in self._taken if place.connected.fileno() != -1]
        strangers = [place for place in self._taken if not place.known]
        neighbours = [place for place in strangers if place.host == host]
        place = Place(connected, host)
        if len(neighbours) >= self._most_strange:
            self._send_away(neighbours[0])
        elif len(self._taken) >= self._most:
            if strangers:
                self._send_away(strangers[0])
            else:
                place.refused = True
        self._taken.append(place)
        return place

    def _send_away(self, place: Place) -> None:
        self._taken.remove(place)
        # Ends it at any stage, also in the midst of a TLS handshake; whoever reads from it closes it then.
        with contextlib.suppress(OSError):
            place.connected.shutdown(socket.SHUT_RDWR)


def affordable(wanted: int) -> int:
    """Return how many connections this process can hold, at most `wanted`; take all descriptors that it may have."""
    hard = descriptors()
    return wanted if hard is None else min(wanted, max(_FEWEST, hard - _OTHER_DESCRIPTORS))


def descriptors() -> int | None:
    """Take all descriptors that this process may have, and return how many; `None` if there is no limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return None if hard == resource.RLIM_INFINITY else hard


def too_few(needed: int) -> str | None:
    """Say that this process may open too few files for `needed` beside some connections, if it is so."""
    wanted = needed + _OTHER_DESCRIPTORS + _CONNECTIONS_AT_LEAST
    hard = descriptors()
    if hard is None or hard >= wanted:
        return None
    return (
        f"this process may open {hard} files and needs about {wanted}: calls and stages will fail; raise the hard limit"
        f" (ulimit -Hn {wanted}, or LimitNOFILE={wanted} of its service)"
    )
