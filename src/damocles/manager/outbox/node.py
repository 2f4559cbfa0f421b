"""What the outbox asks of a chain's node."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.messages import Message, SignedMessage
from damocles.wire.codec import CID


class Unavailable(Exception):
    """The node does not answer, or not now; the same question may be asked again."""


class WouldFail(Exception):
    """The chain would execute the message with an error; the text is the actor's, `exit_code` its number if it is known."""

    def __init__(self, text: str, exit_code: int | None = None) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class NotTaken(Exception):
    """The node does not take the message into its pool, for now or permanently; the text is its reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a message needs to be executed, with a margin, and what others pay to be among the next."""

    gas_limit: int
    premium: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """How a message was executed; `epoch` is that of the tipset that executed it."""

    epoch: int
    exit_code: int
    returned: bytes
    gas_used: int


class View(Protocol):
    """The chain as one node sees it from one head: answers of different heads, or nodes, never meet in one decision.

    Every method raises `Unavailable` if the node does not answer.
    """

    @property
    def epoch(self) -> int:
        """The height of the head."""

    @property
    def base_fee(self) -> Amount:
        """What each unit of gas costs at the head, burnt."""

    async def balance(self, sender: Address) -> Amount:
        """Return what an account has."""

    async def nonce(self, sender: Address, *, depth: int) -> int:
        """Return the nonce of the account's next message, by the state `depth` epochs below the head."""

    async def receipt(self, cid: CID, *, since: int) -> Receipt | None:
        """Return how a message was executed on the way to this head, from the epoch `since` on; `None` if it was not."""

    async def pool_nonce(self, sender: Address) -> int:
        """Return the nonce of the account's next message, those in the node's pool counted."""

    async def estimate(self, message: Message) -> Estimate:
        """Execute a message on trial, and return what it needs.

        Raises:
            WouldFail: It would end with an error.
        """

    async def sign(self, message: Message) -> SignedMessage:
        """Sign a message with the sender's key.

        Raises:
            NotTaken: The node has no such key, or the token may not sign.
        """

    async def push(self, message: SignedMessage) -> None:
        """Put a message into the node's pool; one that is there already is as good.

        Raises:
            NotTaken: The pool refuses it.
            Unavailable: The node does not answer, and may have taken it.
        """


class Node(Protocol):
    """A chain's node, or several of which one at a time is asked."""

    def view(self) -> AbstractAsyncContextManager[View]:
        """Return the chain from the present head.

        Raises:
            Unavailable: No node answers.
        """
