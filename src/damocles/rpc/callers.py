"""Who calls: whom a token or an address stands for, and who decides what they may."""

from dataclasses import dataclass, field
from typing import Protocol

from damocles.methods.rules import Scope
from damocles.rpc import leases


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom the guard found behind a call; `address` of one who was let in by it.

    Of one who has a token there is the `lease`, and the `worker` that it is for, if it is for one alone.
    """

    name: str
    scopes: frozenset[Scope]
    address: str = ""
    worker: str | None = None
    lease: leases.Lease | None = field(default=None, compare=False, repr=False)


class Unidentified(Exception):
    """Why a token is good for nothing."""


class UnknownMethod(Exception):
    """There is no rule for a method or route, so that nobody may have it."""


class Gate(Protocol):
    """Whoever decides who may call, before anything else of a call is looked at."""

    async def identify(self, token: str | None, peer: str) -> Principal:
        """Return who calls.

        Raises:
            Unidentified: Nobody knows.
        """

    async def authorize(self, name: str, token: str | None, peer: str) -> Principal:
        """Return who calls a method, if they may.

        Raises:
            errors.RpcError: They may not; the text says what is needed.
            UnknownMethod: They are known, and there is no rule for the method.
        """
