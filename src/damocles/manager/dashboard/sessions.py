"""Who has logged in: a browser holds the id of a session, which means nothing to anybody else, and never a token.

Sessions are in memory alone: a manager that is started again has none. Each ends with its token, at its log-out, and
when nobody has looked for `IDLE_SECONDS`.
"""

import hmac
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import anyio

from damocles.methods.rules import Rule, Scope
from damocles.rpc import callers, leases
from damocles.rpc.admission import tokens

IDLE_SECONDS = 12 * 3600.0
MOST = 1000
MOST_OF_A_TOKEN = 50  # of which the one that has rested the longest leaves for a new one


class NotForPages(Exception):
    """A token is good for something, but not for looking at pages."""


@dataclass(slots=True, eq=False, kw_only=True, weakref_slot=True)
class Session:
    """One log-in. `marker` stands in every form of its pages, where no other site can read it. `over` is set at its end."""

    key: str
    token: str = field(repr=False)
    name: str
    scopes: frozenset[Scope]
    marker: str = field(repr=False)
    used: float
    sessions: "Sessions" = field(repr=False)
    lease: leases.Lease | None = field(repr=False)
    over: anyio.Event = field(default_factory=anyio.Event, repr=False)

    def end(self) -> None:
        """End it: its token is good for nothing any more, or somebody logs out."""
        self.sessions.forget(self)

    def has_sent(self, marker: str) -> bool:
        """Return whether a form comes from one of its pages."""
        return hmac.compare_digest(self.marker.encode(), marker.encode("utf-8", "replace"))


class Opened(NamedTuple):
    """A session and its id, which the browser keeps."""

    id: str
    session: Session


class Sessions:
    """All sessions of a manager."""

    def __init__(self, identify: Callable[[str], Awaitable[callers.Principal]], clock: Callable[[], float]) -> None:
        self._identify = identify
        self._clock = clock
        self._open: dict[str, Session] = {}  # by the digest of the id, the one used last at the end

    async def log_in(self, token: str) -> Opened:
        """Return a new session, and its id.

        Raises:
            callers.Unidentified: The token is unknown, revoked or expired.
            NotForPages: It may not even read.
        """
        principal = await self._identify(token)
        if not Rule(Scope.READ).allows(principal.scopes):
            raise NotForPages(
                f"{principal.name} has scope {', '.join(sorted(principal.scopes))}, and pages need read, operate or admin"
            )
        self._make_room(principal.name)
        text = secrets.token_urlsafe(32)
        session = Session(
            key=tokens.digest(text),
            token=token,
            name=principal.name,
            scopes=principal.scopes,
            marker=secrets.token_urlsafe(32),
            used=self._clock(),
            sessions=self,
            lease=principal.lease,
        )
        if session.lease is not None:
            session.lease.hold(session)
        self._open[session.key] = session
        return Opened(text, session)

    def find(self, ids: Iterable[str]) -> Session | None:
        """Return the session that one of the ids is of, if it is still open."""
        for text in ids:
            session = self._open.get(tokens.digest(text))
            if session is None:
                continue
            if abs(self._clock() - session.used) > IDLE_SECONDS:
                session.end()
                continue
            session.used = self._clock()
            self._open[session.key] = self._open.pop(session.key)
            return session
        return None

    def forget(self, session: Session) -> None:
        """Let a session be open no more."""
        self._open.pop(session.key, None)
        if session.lease is not None:
            session.lease.release(session)
        session.over.set()

    def __len__(self) -> int:
        return len(self._open)

    def _make_room(self, name: str) -> None:
        same = [session for session in self._open.values() if session.name == name]
        for session in same[: len(same) - MOST_OF_A_TOKEN + 1] if len(same) >= MOST_OF_A_TOKEN else ():
            session.end()
        for session in [*self._open.values()][: max(0, len(self._open) - MOST + 1)]:
            session.end()
