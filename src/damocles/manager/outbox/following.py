"""What to do about a signed order, from what is seen of it at one head. Pure."""

from dataclasses import dataclass
from typing import TypeAlias

from damocles.manager.outbox.fees import Policy
from damocles.manager.outbox.node import Receipt
from damocles.manager.outbox.orders import Order, Signed


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An order at one head: the one of its messages that was executed, if any, and its sender's settled nonce.

    `settled_nonce` is that of the sender's next message by the state as many epochs below the head as the policy is
    confident of.
    """

    epoch: int
    settled_nonce: int
    executed: tuple[Signed, Receipt] | None = None


@dataclass(frozen=True, slots=True)
class Land:
    """It is executed, and deep enough."""

    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Refuse:
    """It never will be executed: it was withdrawn or would fail, and its nonce is used up by another message.

    The reason is recorded with it already if it is empty here.
    """

    reason: str = ""


@dataclass(frozen=True, slots=True)
class WantAgain:
    """Its nonce was used up by somebody else's message."""

    reason: str


@dataclass(frozen=True, slots=True)
class Replace:
    """It waits for too long, or is withdrawn: replace it by a dearer one."""


@dataclass(frozen=True, slots=True)
class Push:
    """See to it that the node has it."""

    signed: Signed


@dataclass(frozen=True, slots=True)
class Wait:
    """It is executed, but may still be abandoned."""

    exit_code: int


Step: TypeAlias = Land | Refuse | WantAgain | Replace | Push | Wait


def step(order: Order, seen: Seen, policy: Policy) -> Step:
    """Return what to do about a signed order."""
    assert order.nonce is not None
    newest = order.signed[-1]
    if seen.executed is not None:
        signed, receipt = seen.executed
        if seen.epoch - receipt.epoch < policy.confidence:
            return Wait(receipt.exit_code)
        return Refuse() if signed.fills and not order.wish.fills_gap else Land(receipt)
    if seen.settled_nonce > order.nonce:
        if order.wish.fills_gap:
            return Refuse("somebody else's message has filled the gap")
        if order.reason:  # it was withdrawn, or would fail: the nonce is all that was left of it
            return Refuse()
        return WantAgain(
            f"nonce {order.nonce} of {order.sender} was used by a message that is not ours: does another program send"
            " with this key?"
        )
    is_withdrawn = bool(order.reason) and not newest.fills
    if is_withdrawn or seen.epoch - newest.epoch >= policy.stuck_epochs:
        return Replace()
    return Push(newest)
