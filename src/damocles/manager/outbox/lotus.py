"""The outbox's questions, put to Lotus."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.messages import Message, SignedMessage
from damocles.lotus import errors
from damocles.lotus.answers import SendSpec
from damocles.lotus.nodes import Nodes
from damocles.lotus.view import View
from damocles.manager.outbox import node
from damocles.wire.codec import CID


class LotusView:
    """The chain at the head of one Lotus node; a `node.View`."""

    def __init__(self, view: View) -> None:
        self._view = view

    @property
    def epoch(self) -> int:
        """The height of the head."""
        return self._view.epoch

    @property
    def base_fee(self) -> Amount:
        """The base fee of the head."""
        return self._view.tipset.base_fee

    async def balance(self, sender: Address) -> Amount:
        """Return what an account has; one that is not on the chain yet has nothing."""
        with _translated():
            try:
                return (await self._view.actor(sender)).balance
            except errors.NotThere:
                return Amount(0)

    async def nonce(self, sender: Address, *, depth: int) -> int:
        """Return the nonce by the state below which `depth` epochs lie.

        The state at a tipset is the one from before its own messages, so this is one epoch less than it could be.
        """
        with _translated():
            below = await self._view.node.tipset_at(max(0, self.epoch - depth), self._view.key)
            try:
                return (await View(self._view.node, below).actor(sender)).nonce
            except errors.NotThere:
                return 0

    async def receipt(self, cid: CID, *, since: int) -> node.Receipt | None:
        """Return how this very message was executed; Lotus also answers with the one that has taken its nonce."""
        with _translated():
            try:
                found = await self._view.search(cid, max(1, self.epoch - since))
            except (errors.Unseen, errors.Superseded):
                return None
        if found is None or found.message != cid:
            return None
        return node.Receipt(
            epoch=found.height,
            exit_code=found.receipt.exit_code,
            returned=bytes(found.receipt.returned),
            gas_used=found.receipt.gas_used,
        )

    async def pool_nonce(self, sender: Address) -> int:
        """Return the nonce after those on the chain and in the pool; 0 for an account that is not on the chain."""
        with _translated():
            try:
                return await self._view.node.next_nonce(sender)
            except errors.NotThere:
                return 0

    async def estimate(self, message: Message) -> node.Estimate:
        """Let Lotus execute the message; its gas limit has Lotus' own margin."""
        with _translated():
            try:
                made = await self._view.node.estimate(message, SendSpec(), self._view.key)
            except errors.WouldFail as error:
                raise node.WouldFail(error.text, error.exit_code) from error
        return node.Estimate(gas_limit=made.gas_limit, premium=made.gas_premium)

    async def sign(self, message: Message) -> SignedMessage:
        """Have the message signed by the node's wallet; the signature is verified."""
        with _translated():
            return await self._view.node.sign_message(message)

    async def push(self, message: SignedMessage) -> None:
        """Push the message."""
        with _translated():
            try:
                await self._view.node.push(message)
            except (errors.Pending, errors.NonceUsed):
                return  # it is in the last tipset, or another one's message: which, the receipt and the nonce will tell


class LotusNode:
    """Several Lotus nodes, of which one is asked at a time; a `node.Node`."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    @asynccontextmanager
    async def view(self) -> AsyncIterator[LotusView]:
        """Yield the chain from the head of a node that is well."""
        try:
            async with self._nodes.view() as view:
                yield LotusView(view)
        except errors.NodeError as error:  # what the block itself asks is translated already
            raise node.Unavailable(str(error)) from error


@contextmanager
def _translated() -> Iterator[None]:
    """Return whether to wait for the node, or that it refuses."""
    try:
        yield
    except (errors.Away, errors.NoTipSet, errors.NotYet) as error:
        raise node.Unavailable(str(error)) from error
    except errors.NodeError as error:
        raise node.NotTaken(str(error)) from error
