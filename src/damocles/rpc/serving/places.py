"""Who may hold a connection, and how much of the daemon with it.

Connection slots are limited. A stranger is a peer that has not shown yet that its calls can be answered, and has its place
on loan: when all are taken, or too many by strangers from one host, the oldest stranger has to leave for the new peer.
So a peer that sends a token finds a place, however many others connect and stay silent.

Nor can one token, or one host, take all places, calls and memory: above its limit its connection that has rested the
longest leaves for the new one, and where none rests the new one is refused. If no stranger is left, the peer with
the most connections loses an idle one. And some places are for peers on this machine only: an admin who
comes to revoke a token finds one, if need be that of somebody else on this machine.
"""

import asyncio
import contextlib
import ipaddress
import resource
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import structlog

from damocles.methods import rules
from damocles.rpc import callers, limits

log = structlog.get_logger(__name__)

CALLER: ContextVar[str | None] = ContextVar("caller", default=None)  # whose limits count, while a call runs
STATE = "damocles.place"  # in the state of a scope: the place of its connection
GOODBYE_SECONDS = 5.0  # for the answers under way, when a token is good for nothing any more
_FEWEST = 8  # connections, however low the limit: somebody must be able to look
_CONNECTIONS_AT_LEAST = 64  # of operators, workers and scrapers
_OTHER_DESCRIPTORS = 200  # databases, logs, files, connections to others, children


class Full(Exception):
    """A limit is reached; the message names it."""


@runtime_checkable
class Converses(Protocol):
    """A WebSocket's protocol."""

    def allow(self, message_bytes: int) -> None:
        """Take larger messages from now on."""

    def hang_up(self, reason: str) -> None:
        """Send a close frame with the reason."""


@dataclass(slots=True, eq=False, kw_only=True, weakref_slot=True)
class Place:
    """A connection from `host`, and what its peer does with it.

    One that is `refused` came when no place could be had. `key` is that of the token whose limits count, None of a
    stranger. `calls` are those that run.
    """

    places: "Places"
    connected: socket.socket
    host: str
    refused: bool = False
    transport: asyncio.Transport | None = None  # none during a TLS handshake
    principal: callers.Principal | None = None
    key: str | None = None
    calls: int = 0
    rests_since: float = field(default_factory=time.monotonic)
    ending: bool = False

    def enter(self, principal: callers.Principal) -> None:
        """Note whose calls are answered here.

        Raises:
            Full: They have too many connections, and none of them is idle.
        """
        self.places.know(self, principal)

    def leave(self) -> None:
        """Take note that the last call could not be answered: a stranger again."""
        if self.principal is not None and self.principal.lease is not None:
            self.principal.lease.release(self)
        self.principal = self.key = None

    @contextlib.contextmanager
    def call(self) -> Iterator[None]:
        """Count a call that runs.

        Raises:
            Full: Too many of the same token run.
        """
        key = self.key
        self.places.begin(self)
        self.calls += 1
        before = CALLER.set(key)
        try:
            yield
        finally:
            CALLER.reset(before)
            self.calls -= 1
            _take_back(self.places.calls, key, 1)
            self.rests_since = time.monotonic()
            if self.ending and not self.calls:
                self._hang_up()

    @contextlib.contextmanager
    def body(self) -> Iterator[Callable[[int], None]]:
        """Count the body of a request as long as it is held; yield what takes how much has come.

        Raises:
            Full: Too much of the same token is held.
        """
        key, held = self.key, 0

        def grow(size: int) -> None:
            nonlocal held
            held += size
            if key is None:
                return
            self.places.bodies[key] += size
            if self.places.bodies[key] > limits.BODIES_OF_A_TOKEN_BYTES:
                self.places.met["bodies_of_a_token_bytes"] += 1
                raise Full(f"{self.who} sends more than {limits.BODIES_OF_A_TOKEN_BYTES} bytes at once")

        try:
            yield grow
        finally:
            _take_back(self.places.bodies, key, held)

    @contextlib.contextmanager
    def websocket(self) -> Iterator[None]:
        """Count a WebSocket.

        Raises:
            Full: The same token has too many.
        """
        key = self.key or ""
        if self.places.websockets[key] >= limits.WEBSOCKETS_OF_A_TOKEN:
            self.places.met["websockets_of_a_token"] += 1
            raise Full(f"{self.who} has {limits.WEBSOCKETS_OF_A_TOKEN} WebSockets, the most it may have")
        self.places.websockets[key] += 1
        try:
            yield
        finally:
            _take_back(self.places.websockets, key, 1)

    def allow(self, frame_bytes: int) -> None:
        """Take WebSocket messages of that size."""
        if self.transport is not None and isinstance(protocol := self.transport.get_protocol(), Converses):
            protocol.allow(frame_bytes)

    @property
    def who(self) -> str:
        """Whose place it is, for people."""
        return self.host if self.principal is None or not self.principal.name else self.principal.name

    @property
    def is_admin(self) -> bool:
        """Return whether an admin is here."""
        return self.principal is not None and rules.Scope.ADMIN in self.principal.scopes

    def end(self) -> None:
        """Close the connection, as its token is no longer valid; answers under way are still sent."""
        if self.transport is None:
            self.abort()
            return
        self.ending = True
        asyncio.get_running_loop().call_later(GOODBYE_SECONDS, self.abort)
        if not self.calls:
            self._hang_up()

    def _hang_up(self) -> None:
        if self.transport is None:
            return
        if isinstance(protocol := self.transport.get_protocol(), Converses):
            protocol.hang_up("the token is no longer valid")
        self.transport.close()

    def abort(self) -> None:
        """Close the connection, at any stage."""
        if self.transport is not None:
            self.transport.abort()
        else:
            # Ends it also in the midst of a TLS handshake; whoever reads from it closes it then.
            with contextlib.suppress(OSError):
                self.connected.shutdown(socket.SHUT_RDWR)


class Places:
    """The places of one server: `most` in all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = min(limits.KEPT_FOR_LOOPBACK, most // 4)
        self._taken: list[Place] = []  # the oldest first
        self.calls: Counter[str] = Counter()
        self.bodies: Counter[str] = Counter()
        self.websockets: Counter[str] = Counter()
        self.met: Counter[str] = Counter()

    def take(self, connected: socket.socket, host: str) -> Place:
        """Return a place for a connection, which keeps it until its socket is closed."""
        self._prune()
        place = Place(places=self, connected=connected, host=host)
        neighbours = [other for other in self._taken if other.key is None and other.host == host]
        is_here = _is_loopback(host)
        if len(neighbours) >= limits.STRANGERS_OF_A_HOST:
            self._send_away(neighbours[0], "strangers_of_a_host")
        elif len(self._taken) >= (self._most if is_here else self._most - self._kept):
            leaving = next(self._leaving(is_here=is_here), None)
            if leaving is None:
                place.refused = True
                self.met["connections"] += 1
            else:
                self._send_away(leaving, "connections")
        self._taken.append(place)
        return place

    def know(self, place: Place, principal: callers.Principal) -> None:
        """Give a place to a principal; see `Place.enter`."""
        key = _key(principal, place.host)
        if place.key != key:
            place.leave()
            self._prune()
            known = [other for other in self._taken if other.key is not None]
            of_token = [other for other in known if other.key == key]
            self._make_room(of_token, "connections_of_a_token", limits.CONNECTIONS_OF_A_TOKEN)
            if rules.Scope.ADMIN not in principal.scopes:
                of_host = [other for other in known if other.host == place.host and not other.is_admin]
                self._make_room(of_host, "connections_of_a_host", limits.CONNECTIONS_OF_A_HOST)
        if principal.lease is not None:
            principal.lease.hold(place)
        place.principal, place.key = principal, key

    def begin(self, place: Place) -> None:
        """Count one more call; see `Place.call`."""
        if place.key is None or place.principal is None:
            return
        most = limits.CALLS_OF_A_WORKER if rules.Scope.WORKER in place.principal.scopes else limits.CALLS_OF_A_TOKEN
        if self.calls[place.key] >= most:
            self.met["calls_of_a_token"] += 1
            raise Full(f"{most} calls of {place.who} are running already")
        self.calls[place.key] += 1

    def levels(self) -> dict[str, limits.Level]:
        """Return the use of the limits: for those of tokens and hosts, the highest."""
        self._prune()
        known = [place for place in self._taken if place.key is not None]
        strangers = Counter(place.host for place in self._taken if place.key is None)
        level = limits.Level
        return {
            "connections": level(len(self._taken), self._most),
            "connections_of_a_token": level(
                _most(Counter(place.key or "" for place in known)), limits.CONNECTIONS_OF_A_TOKEN
            ),
            "connections_of_a_host": level(
                _most(Counter(place.host for place in known if not place.is_admin)), limits.CONNECTIONS_OF_A_HOST
            ),
            "strangers_of_a_host": level(_most(strangers), limits.STRANGERS_OF_A_HOST),
            "websockets_of_a_token": level(_most(self.websockets), limits.WEBSOCKETS_OF_A_TOKEN),
            "calls_of_a_token": level(_most(self.calls), limits.CALLS_OF_A_TOKEN),
            "bodies_of_a_token_bytes": level(_most(self.bodies), limits.BODIES_OF_A_TOKEN_BYTES),
        }

    def _prune(self) -> None:
        self._taken = [place for place in self._taken if place.connected.fileno() != -1]

    def _leaving(self, *, is_here: bool) -> Iterator[Place]:
        """Yield who may have to leave when all places are taken, the next one first."""
        yield from (place for place in self._taken if place.key is None)
        known = [place for place in self._taken if place.key is not None and not place.is_admin]
        counts = Counter(place.key or "" for place in known)
        yield from sorted(
            (place for place in known if not place.calls),
            key=lambda place: (-counts[place.key or ""], place.rests_since),
        )
        if is_here:
            here = [place for place in self._taken if place.key is not None and _is_loopback(place.host)]
            yield from sorted((place for place in here if not place.is_admin), key=lambda place: place.rests_since)
            yield from sorted((place for place in here if not place.calls), key=lambda place: place.rests_since)

    def _make_room(self, others: Sequence[Place], limit: str, most: int) -> None:
        if len(others) < most:
            return
        resting = [other for other in others if not other.calls]
        if not resting:
            self.met[limit] += 1
            raise Full(f"{others[0].who} has {len(others)} connections already, and calls run on all of them")
        self._send_away(min(resting, key=lambda place: place.rests_since), limit)

    def _send_away(self, place: Place, limit: str) -> None:
        self.met[limit] += 1
        self._taken.remove(place)
        place.leave()
        place.abort()


def alone() -> Place:
    """Return the place of a peer that no server of ours has accepted."""
    return Place(places=Places(1), connected=socket.socket(), host="")


def _key(principal: callers.Principal, host: str) -> str:
    """Return whose limits count: those of a token; of one that many machines share, of each machine's part."""
    shared = rules.Scope.WORKER in principal.scopes or not principal.name
    return f"{principal.name} at {host}" if shared else principal.name


def _take_back(counts: Counter[str], key: str | None, count: int) -> None:
    if key is not None:
        counts[key] -= count
        if counts[key] <= 0:
            del counts[key]


def _most(counts: Counter[str]) -> float:
    return max(counts.values(), default=0)


def _is_loopback(host: str) -> bool:
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback


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
    """Return the error if this process may open too few files for `needed` beside some connections."""
    return too_few_of(descriptors(), needed)


def too_few_of(limit: int | None, needed: int) -> str | None:
    """Return the same of a process that may open `limit` files, or any number."""
    wanted = needed + _OTHER_DESCRIPTORS + _CONNECTIONS_AT_LEAST
    if limit is None or limit >= wanted:
        return None
    return (
        f"this process may open {limit} files and needs about {wanted}: calls and stages will fail; raise the hard limit"
        f" (ulimit -Hn {wanted}, or LimitNOFILE={wanted} of its service)"
    )
