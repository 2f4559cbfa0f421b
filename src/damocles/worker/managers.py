"""The managers that a worker may call: several addresses of one farm, of which it uses one for as long as that answers.

One that does not (refused, silent, its certificate or our token not accepted, its disk or database away) rests for a time that
grows with each failure, and the worker goes to any other one; nobody goes back by himself, so that a manager that returns does
not get the whole fleet at once. A call that was not sent is made there at once. One that may have had its effect fails as it
does with one manager: whoever made it repeats it, under its attempt and for its store, by which all managers know it again.

The sectors of a worker are known in one database. A manager of another one gets no call; see `rpc` method `Damocles.Database`.
With one address all is as if it were called directly.
"""

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import anyio
import anyio.to_thread
import structlog

from damocles import durable, methods
from damocles.methods import Ask
from damocles.rpc import errors
from damocles.wire import control

T = TypeVar("T")

MEMORY_NAME = "database"  # in the worker's home
PATIENCE_SECONDS = 4.0  # without an answer, until a manager is asked whether it is there
ANSWER_SECONDS = 4.0
CHECK_SECONDS = 30.0  # for which it is taken to have the same database as before
_MOST_REST_SECONDS = 60.0

log = structlog.get_logger(__name__)


class Peer(Protocol):
    """A manager that can be called; raises `errors.CallError`."""

    url: str

    async def call(self, ask: Ask[T], /, *, timeout_seconds: float | None = None) -> T:
        """Make a call."""


class OtherDatabase(errors.Unreachable):
    """The manager there belongs to another database; the call was not sent."""

    def __init__(self, url: str, memory: Path) -> None:
        errors.CallError.__init__(
            self,
            f"{url} has another database than the manager of this worker's sectors, and gets no calls: correct"
            f" sector_manager.addresses; if the worker is to belong to that one now, remove {memory} and restart it",
        )
        self.url = url
        self.reason = "it has another database"


class Memory:
    """Which database the worker belongs to, in a file of its home: that of the first manager that answered."""

    def __init__(self, file: Path) -> None:
        """Read it.

        Raises:
            OSError: It is there, and cannot be read.
        """
        self.file = file
        with contextlib.suppress(FileNotFoundError):
            self.known = file.read_text(errors="replace").strip()

    known: str = ""

    async def keep(self, identity: str) -> None:
        """Belong to a database from now on."""
        self.known = identity
        try:
            await anyio.to_thread.run_sync(partial(durable.replace, self.file, f"{identity}\n".encode()))
        except OSError as error:
            log.warning("the worker will not know its database after a restart", file=str(self.file), error=str(error))


@dataclass(eq=False, slots=True)
class Way:
    """An address, what is known of it, and the calls under way there."""

    peer: Peer
    failures: int = 0  # since the last answer
    rests_until: float = 0.0
    error: str = ""
    checked_at: float | None = None
    turn: anyio.Lock = field(default_factory=anyio.Lock)
    calls: set[anyio.CancelScope] = field(default_factory=set)


def rest_seconds(failures: int, chance: float) -> float:
    """Return how long a manager rests after so many failures; `chance`, from 0 to 1, keeps a fleet from coming at once."""
    return min(2.0 ** min(failures, 10), _MOST_REST_SECONDS) * (0.5 + chance / 2)


class Managers:
    """Calls to whichever manager answers. Without a `memory` they may belong to any database, as a single one may."""

    def __init__(
        self,
        peers: Sequence[Peer],
        memory: Memory | None,
        *,
        now: Callable[[], float] = time.monotonic,
        chances: random.Random | None = None,
    ) -> None:
        self._ways = [Way(peer) for peer in peers]
        self._memory = memory
        self._now = now
        self._chances = chances or random.Random()  # noqa: S311 (to spread a fleet, not to keep a secret)
        self._at = self._ways[0]
        self._answered: Way | None = None
        self._since: float | None = None
        self.changes = 0

    @property
    def url(self) -> str:
        """The address that is used now."""
        return self._at.peer.url

    def seen(self) -> list[control.ManagerSeen]:
        """Return what is known of each address, in the order of the configuration."""
        return [
            control.ManagerSeen(
                url=way.peer.url,
                in_use=way is self._at,
                answered_since=self._since if way is self._answered and not way.error else None,
                error=way.error,
            )
            for way in self._ways
        ]

    async def call(self, ask: Ask[T], /) -> T:
        """Make a call, at the first address where it can be sent.

        Raises:
            errors.CallError: There is no result; of several reasons, one that passes by itself.
        """
        tried: list[Way] = []
        refusals: list[errors.CallError] = []
        while (way := self._choose(tried)) is not None:
            tried.append(way)
            try:
                await self._check(way)
            except errors.CallError as error:
                refusals.append(error)
                continue
            try:
                result = await self._watched(way, ask)
            except errors.CallError as error:
                if not _is_gone(error):
                    self._is_well(way)
                    raise
                self._leave(way, error)
                if not _is_unsent(error):
                    raise
                refusals.append(error)
            else:
                self._is_well(way)
                return result
        raise next((error for error in refusals if _passes(error)), refusals[-1])

    def _choose(self, tried: Sequence[Way]) -> Way | None:
        """Return where to send a call that was not sent to those that were tried."""
        now = self._now()
        ready = [way for way in self._ways if way not in tried and way.rests_until <= now]
        if self._at not in ready:
            if not ready and tried:
                return None
            self._at = self._chances.choice(ready) if ready else min(self._ways, key=lambda way: way.rests_until)
        return self._at

    def _leave(self, way: Way, error: errors.CallError) -> None:
        """Let a manager rest."""
        now, way.checked_at = self._now(), None
        if str(error) != way.error:
            say = log.error if isinstance(error, OtherDatabase) else log.warning
            if len(self._ways) > 1:
                say("a manager is left for another", manager=way.peer.url, error=str(error))
            way.error = str(error)
        if way.rests_until <= now:
            way.failures += 1
            way.rests_until = now + rest_seconds(way.failures, self._chances.random())

    def _is_well(self, way: Way) -> None:
        way.failures, way.rests_until, way.error = 0, 0.0, ""
        if self._answered is not way:
            if self._answered is not None:
                self.changes += 1
                log.info("another manager is used", manager=way.peer.url, before=self._answered.peer.url)
            self._answered, self._since = way, time.time()

    async def _check(self, way: Way) -> None:
        """Make sure that a manager has our database, unless that is known since a short time.

        Raises:
            errors.CallError: It has not, or does not answer; it is left already.
        """
        memory, failures = self._memory, way.failures
        if memory is None:
            return
        async with way.turn:
            if way.checked_at is not None and self._now() - way.checked_at < CHECK_SECONDS:
                return
            if way.failures > failures:  # somebody has asked just now
                raise errors.Unreachable(way.peer.url, way.error)
            try:
                found = await _database_of(way.peer)
                if found != memory.known:
                    if memory.known:
                        raise OtherDatabase(way.peer.url, memory.file)
                    await memory.keep(found)
            except errors.CallError as error:
                self._leave(way, error)
                raise
            way.checked_at = self._now()

    async def _watched(self, way: Way, ask: Ask[T]) -> T:
        """Make a call that ends when the manager turns out to answer nobody.

        Raises:
            errors.CallError: There is no result.
        """
        if len(self._ways) == 1:
            return await way.peer.call(ask)
        outcome: list[T] = []
        failed: list[Exception] = []
        with _among(way.calls) as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, way)
                with scope:
                    try:
                        outcome.append(await way.peer.call(ask))
                    except Exception as error:  # noqa: BLE001 (raised below, outside the group that would wrap it)
                        failed.append(error)
                tasks.cancel_scope.cancel()
        if outcome:
            return outcome[0]
        raise failed[0] if failed else errors.Disconnected(way.peer.url, "it answers nothing any more")

    async def _watch(self, way: Way) -> None:
        """Ask a manager that takes its time whether it is there at all, and leave it if it is not."""
        while True:
            await anyio.sleep(PATIENCE_SECONDS)
            try:
                await way.peer.call(methods.util.version(), timeout_seconds=ANSWER_SECONDS)
            except errors.RpcError:
                continue  # it is there
            except errors.CallError as error:
                self._leave(way, error)
                for scope in list(way.calls):
                    scope.cancel()
                return


@contextlib.contextmanager
def _among(calls: set[anyio.CancelScope]) -> Iterator[anyio.CancelScope]:
    scope = anyio.CancelScope()
    calls.add(scope)
    try:
        yield scope
    finally:
        calls.discard(scope)


async def _database_of(peer: Peer) -> str:
    """Return the identity of a manager's database; empty if it knows of none, as the original's and older ones do."""
    try:
        return await peer.call(methods.util.database(), timeout_seconds=ANSWER_SECONDS)
    except errors.RpcError as error:
        if error.code != errors.Code.METHOD_NOT_FOUND:
            raise
        return ""


def _is_gone(error: errors.CallError) -> bool:
    """Whether another manager may do better."""
    if isinstance(error, errors.RpcError):
        return error.code in {errors.Code.DISK_FAILS, errors.Code.UNAUTHORIZED}
    # A result that cannot be read is a matter of this one call; something that is no JSON-RPC is nobody's answer.
    return not isinstance(error, errors.BadAnswer) or error.status is not None


def _is_unsent(error: errors.CallError) -> bool:
    """Whether the manager has certainly done nothing."""
    if isinstance(error, errors.RpcError):
        return error.code == errors.Code.UNAUTHORIZED
    return isinstance(error, errors.Unreachable)


def _passes(error: errors.CallError) -> bool:
    """Whether there is nothing for a person to mend."""
    if isinstance(error, errors.RpcError):
        return error.code == errors.Code.DISK_FAILS
    if isinstance(error, errors.Untrusted | errors.Unknowing | OtherDatabase):
        return False
    return isinstance(error, errors.Unreachable | errors.Disconnected | errors.TimedOut)
