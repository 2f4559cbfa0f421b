"""The plan of an act: messages that are not sent yet, and notes about them."""

from dataclasses import dataclass
from typing import Any

from damocles.chain import methods
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.methods import Method
from damocles.lotus.view import View
from damocles.manager import errors

NOTHING = Amount(0)


class Refused(errors.ManagerError):
    """An act is impossible, or would do nothing; the text is the reason and the next step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A message; without a `sender` it is one of those that are configured for its kind."""

    kind: str
    to: Address
    method: int
    params: bytes
    value: Amount = NOTHING
    sender: Address | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Messages in the order in which they are sent, and what is left out or has to be known."""

    drafts: tuple[Draft, ...]
    notes: tuple[str, ...] = ()


async def draft(
    view: View,
    kind: str,
    to: Address,
    method: Method,
    params: Any = None,
    *,
    value: Amount = NOTHING,
    sender: Address | None = None,
) -> Draft:
    """Return a message to an actor of the view's network.

    Raises:
        versions.UnknownNetwork: It is newer than what is known: nothing may be sent there.
        methods.Unavailable: Its actors do not have the method.
    """
    known = methods.of(await view.network_version(), method)
    return Draft(
        kind=kind, to=to, method=known.number, params=bytes(known.params_of(params)), value=value, sender=sender
    )
