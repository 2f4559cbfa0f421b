"""The tokens of a daemon: those it knows, whom they stand for, and the API that makes and revokes them."""

import asyncio
import hmac
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import structlog

from damocles import methods
from damocles.methods import rules
from damocles.rpc import callers, core, errors, leases
from damocles.rpc.admission import token_names, tokens
from damocles.wire import control, fleet

log = structlog.get_logger(__name__)

OWN_NAME = "local"  # of the token that a daemon makes for the command line on its own machine
THE_DAEMON = "the daemon"  # that has made its own tokens, where a shelf has only one
_LONGEST_TIMER_SECONDS = 3600.0  # so that a clock that is set is noticed
USED_SECONDS = 60.0  # how exactly the last use is kept


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a token; `worker` is the one that it is for. Times are unix seconds."""

    id: str
    digest: str
    name: str
    scope: rules.Scope
    created: float
    created_by: str
    expires: float | None = None
    revoked: float | None = None
    used: float | None = None
    worker: str | None = None

    def lives(self, now: float) -> bool:
        """Return whether the token is valid."""
        return self.revoked is None and (self.expires is None or now < self.expires)

    @property
    def is_shared(self) -> bool:
        """Whether it stands for any worker."""
        return self.scope is rules.Scope.WORKER and self.worker is None

    def shown(self) -> control.Token:
        """Return what lists show."""
        return control.Token(
            id=self.id,
            name=self.name,
            scope=self.scope.value,
            created=self.created,
            created_by=self.created_by,
            expires=self.expires,
            revoked=self.revoked,
            used=self.used,
            worker=self.worker,
            shared=self.is_shared,
        )


def keep(
    text: str,
    *,
    name: str,
    scope: rules.Scope,
    now: float,
    by: str,
    expires_seconds: float | None = None,
    worker: str | None = None,
) -> Kept:
    """Return what to keep of a token."""
    return Kept(
        id=tokens.id_of(text),
        digest=tokens.digest(text),
        name=name,
        scope=scope,
        created=now,
        created_by=by,
        expires=None if expires_seconds is None else now + expires_seconds,
        worker=worker,
    )


class Shelf(Protocol):
    """Where the tokens of a daemon are kept."""

    async def load(self) -> Sequence[Kept]:
        """Return all, the oldest first."""

    async def add(self, token: Kept) -> None:
        """Keep one more."""

    async def revoke(self, ids: Sequence[str], at: float) -> None:
        """Mark tokens as revoked."""

    async def used(self, token_id: str, at: float) -> None:
        """Note a use; it need not survive a power cut."""


class Keyring:
    """The tokens of a daemon, at hand in memory."""

    def __init__(
        self, shelf: Shelf, clock: Callable[[], float] = time.time, *, fresh_seconds: float | None = None
    ) -> None:
        """Args: fresh_seconds: Look at the shelf again when the memory is older; None if nobody else writes to it."""
        self._shelf = shelf
        self._clock = clock
        self._fresh_seconds = fresh_seconds
        self._loaded_at = clock()
        self._kept: dict[str, Kept] = {}
        self._lent: dict[str, Kept] = {}
        self._own_names: set[str] = set()
        self._leases: dict[str, leases.Lease] = {}  # by the ids of tokens

    async def load(self) -> None:
        """Take up what is on the shelf."""
        self._loaded_at = self._clock()
        self._kept = {token.id: token for token in await self._shelf.load()}
        for token_id in [*self._leases]:
            kept = self._lent.get(token_id) or self._kept.get(token_id)
            if kept is None or kept.revoked is not None:
                self._end(token_id)

    async def adopt(self, text: str, name: str, scope: rules.Scope, by: str = THE_DAEMON) -> None:
        """Make the token of a file valid instead of those it had before; one that was revoked stays so.

        Tokens of the same name that are not `by` this daemon are those of others on the same shelf.
        """
        self._own_names.add(name)
        if tokens.id_of(text) not in self._kept:
            await self._revoke([token for token in self.named(name) if token.created_by == by])
            await self._add(keep(text, name=name, scope=scope, now=self._clock(), by=by))

    def lend(self, name: str, scope: rules.Scope) -> str:
        """Return a new token that is valid while this process lives."""
        self._own_names.add(name)
        text = tokens.mint()
        kept = keep(text, name=name, scope=scope, now=self._clock(), by=THE_DAEMON)
        self._lent[kept.id] = kept
        return text

    async def identify(self, text: str) -> callers.Principal:
        """Return whose token this is.

        Raises:
            callers.Unidentified: It is unknown, revoked or expired.
        """
        now = self._clock()
        # Either way: a clock that was set back would leave the memory young for as long as it was set back.
        if self._fresh_seconds is not None and abs(now - self._loaded_at) > self._fresh_seconds:
            await self.load()
        token_id = tokens.id_of(text)
        kept = self._lent.get(token_id) or self._kept.get(token_id)
        if kept is None or not hmac.compare_digest(kept.digest, tokens.digest(text)):
            raise callers.Unidentified("unknown token")
        if kept.revoked is not None:
            back = "; for a new one delete its file and restart the daemon" if self.is_own(kept.name) else ""
            raise callers.Unidentified(f"token {kept.name!r} was revoked{back}")
        if not kept.lives(now):
            raise callers.Unidentified(f"token {kept.name!r} has expired")
        if token_id in self._kept and (kept.used is None or abs(now - kept.used) >= USED_SECONDS):
            self._kept[token_id] = msgspec.structs.replace(kept, used=now)  # before the wait, lest others write too
            try:
                await self._shelf.used(token_id, now)
            except errors.DiskFails:
                pass  # told already, and it keeps nobody out
            except Exception as error:  # noqa: BLE001 (a disk that is full, whatever the shelf calls it, keeps nobody out)
                log.warning("the use of a token cannot be noted", token=kept.name, error=str(error))
        return callers.Principal(kept.name, frozenset({kept.scope}), worker=kept.worker, lease=self._lease(kept))

    def digest_of(self, token_id: str) -> str | None:
        """Return the record of the token with this id, also of one that is no longer valid: its holder learns that."""
        kept = self._lent.get(token_id) or self._kept.get(token_id)
        return None if kept is None else kept.digest

    def all(self) -> list[Kept]:
        """Return the tokens on the shelf as they are known here."""
        return list(self._kept.values())

    def is_own(self, name: str) -> bool:
        """Return whether the daemon itself makes the tokens of this name."""
        return name in self._own_names

    def named(self, name: str) -> list[Kept]:
        """Return the valid tokens of a name."""
        return [token for token in self._kept.values() if token.name == name and token.lives(self._clock())]

    def shared(self) -> list[Kept]:
        """Return the valid tokens that stand for any worker."""
        return [token for token in self._kept.values() if token.is_shared and token.lives(self._clock())]

    def has_own(self, worker: str) -> bool:
        """Return whether a worker has a token of its own."""
        now = self._clock()
        return any(token.worker == worker and token.lives(now) for token in self._kept.values())

    async def create(
        self, name: str, scope: rules.Scope, expires_seconds: float | None, by: str, worker: str | None = None
    ) -> tuple[Kept, str]:
        """Make a token; its text is nowhere afterwards but in the answer."""
        text = tokens.mint()
        kept = keep(
            text, name=name, scope=scope, now=self._clock(), by=by, expires_seconds=expires_seconds, worker=worker
        )
        await self._add(kept)
        return kept, text

    async def revoke(self, name: str) -> list[Kept]:
        """Revoke all tokens of a name and return them."""
        return await self._revoke(self.named(name))

    async def _revoke(self, some: Sequence[Kept]) -> list[Kept]:
        now = self._clock()
        ids = [token.id for token in some]
        await self._shelf.revoke(ids, now)
        for token_id in ids:
            self._kept[token_id] = msgspec.structs.replace(self._kept[token_id], revoked=now)
            self._end(token_id)
        return [self._kept[token_id] for token_id in ids]

    def _lease(self, token: Kept) -> leases.Lease:
        lease = self._leases.get(token.id)
        if lease is None:
            lease = self._leases[token.id] = leases.Lease()
            if token.expires is not None:
                self._end_in_time(token.id, token.expires)
        return lease

    def _end_in_time(self, token_id: str, expires: float) -> None:
        """End a lease when its token expires, and not before, whatever becomes of the clock meanwhile."""
        if (left := expires - self._clock()) <= 0:
            self._end(token_id)
        else:
            later = min(left, _LONGEST_TIMER_SECONDS)
            asyncio.get_running_loop().call_later(later, self._end_in_time, token_id, expires)

    def _end(self, token_id: str) -> None:
        if (lease := self._leases.pop(token_id, None)) is not None:
            lease.end()

    async def _add(self, token: Kept) -> None:
        await self._shelf.add(token)
        self._kept[token.id] = token


class TokenAPI:
    """`Damocles.Auth*` of either daemon."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def register(self, service: core.Service) -> None:
        """Serve the API."""
        service.add(methods.access.create_token, self.create)
        service.add(methods.access.list_tokens, self.list_all)
        service.add(methods.access.revoke_tokens, self.revoke)

    async def create(
        self,
        call: core.Call,
        name: str,
        scope: rules.Scope,
        expires_seconds: control.Seconds | None = None,
        worker: str | None = None,
    ) -> control.NewToken:
        """Make a token; the answer is the only place that ever shows its text. One of scope worker is for that `worker`."""
        if refusal := token_names.refusal(name):
            raise _invalid(refusal)
        if expires_seconds is not None and expires_seconds <= 0:
            raise _invalid("a token must be valid for some time: pass a positive number of seconds")
        if worker is not None and scope is not rules.Scope.WORKER:
            raise _invalid(f"only tokens of scope worker are a worker's: one of scope {scope} cannot be for {worker!r}")
        if worker is not None and not fleet.is_name(worker):
            raise _invalid(f"{worker[: fleet.MOST_CHARACTERS]!r} cannot be the name of a worker")
        await self._keyring.load()
        if self._keyring.named(name):
            raise _invalid(f"a token {name!r} already exists: revoke it first, or choose another name")
        kept, text = await self._keyring.create(name, scope, expires_seconds, call.principal or call.peer, worker)
        return control.NewToken(token=kept.shown(), text=text)

    async def list_all(self) -> list[control.Token]:
        """Return all tokens, also those that are no longer valid."""
        await self._keyring.load()
        return [token.shown() for token in self._keyring.all()]

    async def revoke(self, call: core.Call, name: str, sure: bool = False) -> list[control.Token]:
        """Revoke the tokens of a name; the caller's and the daemon's own only if that is `sure`."""
        await self._keyring.load()
        if not sure and self._keyring.named(name):
            whose = "the daemon's own" if self._keyring.is_own(name) else "yours" if name == call.principal else ""
            if whose:
                raise _invalid(f"token {name!r} is {whose}: its users are locked out at once; to do it anyway: --yes")
        revoked = await self._keyring.revoke(name)
        if not revoked:
            if any(token.name == name for token in self._keyring.all()):
                raise _invalid(f"token {name!r} is already revoked")
            names = sorted({token.name for token in self._keyring.all() if token.revoked is None})
            raise _invalid(f"there is no token {name!r}; there are: {', '.join(names)}")
        return [token.shown() for token in revoked]


def _invalid(text: str) -> errors.RpcError:
    return errors.RpcError(errors.Code.INVALID_PARAMS, text)
