"""A chain with a pool of messages and one node, on which everything goes wrong that a seed asks for."""

import hashlib
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.messages import Message, Signature, SignatureType, SignedMessage
from damocles.manager.outbox import node
from damocles.wire.codec import CID

SENDERS = tuple(Address(bytes([3]) + bytes([number]) * 48) for number in (1, 2))
MINER = Address.of_id(1000)


class Crash(BaseException):
    """The manager's process dies."""


@dataclass
class Chain:
    """Epochs with the messages that each executed; `None` is somebody else's message, by its sender."""

    dice: random.Random
    epochs: list[list[SignedMessage | Address]] = field(default_factory=lambda: [[] for _ in range(5)])
    pool: dict[tuple[Address, int], SignedMessage] = field(default_factory=dict)
    base_fee: int = 100
    doomed: set[bytes] = field(default_factory=set)  # parameters of messages that would fail by now
    money: int = 10**18
    finality: int = 4  # no reorganisation abandons more
    highest: int = 0

    def nonce(self, sender: Address) -> int:
        """Return the nonce of the next message by the state at the head."""
        return _nonce(self.epochs, sender)

    def mine(self) -> None:
        """Execute what the pool has in the order of nonces, as far as fees and luck allow; sometimes nothing."""
        executed: list[SignedMessage | Address] = []
        self.epochs.append(executed)
        for sender, nonce in sorted(self.pool):
            message = self.pool[sender, nonce]
            if (
                nonce == self.nonce(sender)
                and message.message.gas_fee_cap >= self.base_fee
                and self.dice.random() < 0.8
            ):
                executed.append(self.pool.pop((sender, nonce)))
            elif nonce < self.nonce(sender):
                del self.pool[sender, nonce]

    def somebody_sends(self, sender: Address) -> None:
        """Let another program use the sender's next nonce."""
        self.epochs.append([sender])

    def somebody_pushes(self, sender: Address) -> None:
        """Let another program put a message into the pool, which is not pushed again if it is lost."""
        nonce = self.nonce(sender)
        while (sender, nonce) in self.pool:
            nonce += 1
        body = Message(to=sender, sender=sender, nonce=nonce, gas_fee_cap=Amount(2 * self.base_fee))
        self.pool[sender, nonce] = SignedMessage(body, Signature(SignatureType.BLS, b"somebody" * 12))

    def reorganise(self, depth: int) -> None:
        """Abandon the last epochs, never below what is final; their messages come back into the pool, or do not."""
        self.highest = max(self.highest, len(self.epochs))
        for _ in range(min(depth, len(self.epochs) - max(5, self.highest - self.finality))):
            for one in self.epochs.pop():
                if isinstance(one, SignedMessage) and self.dice.random() < 0.7:
                    self.pool[one.message.sender, one.message.nonce] = one


def _nonce(epochs: Sequence[Sequence[SignedMessage | Address]], sender: Address) -> int:
    executed = [one for epoch in epochs for one in epoch]
    return sum((one if isinstance(one, bytes) else one.message.sender) == sender for one in executed)


@dataclass
class View:
    """The chain at one head, which may be abandoned meanwhile."""

    sham: "Node"
    epochs: tuple[Sequence[SignedMessage | Address], ...]
    base_fee: Amount

    @property
    def epoch(self) -> int:
        """The head's."""
        return len(self.epochs) - 1

    async def balance(self, sender: Address) -> Amount:
        """Everybody has the same."""
        self.sham.fail()
        return Amount(self.sham.chain.money)

    async def nonce(self, sender: Address, *, depth: int) -> int:
        """Count what was executed below."""
        self.sham.fail()
        return _nonce(self.epochs[: max(0, self.epoch + 1 - depth)], sender)

    async def receipt(self, cid: CID, *, since: int) -> node.Receipt | None:
        """Look through the epochs."""
        self.sham.fail()
        for epoch, executed in enumerate(self.epochs):
            if epoch >= since and any(isinstance(one, SignedMessage) and one.cid == cid for one in executed):
                return node.Receipt(epoch=epoch, exit_code=0, returned=b"", gas_used=1)
        return None

    async def pool_nonce(self, sender: Address) -> int:
        """Count the pool's messages too, as far as they have no gap."""
        self.sham.fail()
        nonce = self.sham.chain.nonce(sender)
        while (sender, nonce) in self.sham.chain.pool:
            nonce += 1
        return nonce

    async def estimate(self, message: Message) -> node.Estimate:
        """Let doomed messages fail."""
        self.sham.fail()
        if bytes(message.params) in self.sham.chain.doomed:
            raise node.WouldFail("sector is proven already", 16)
        return node.Estimate(gas_limit=1000, premium=Amount(self.sham.dice.randint(1, 20)))

    async def sign(self, message: Message) -> SignedMessage:
        """Sign with nothing."""
        self.sham.fail()
        data = hashlib.sha256(repr(message).encode()).digest() * 3
        return SignedMessage(message, Signature(SignatureType.BLS, data))

    async def push(self, message: SignedMessage) -> None:
        """Take what is not taken already, and what replaces it by the pool's rule."""
        self.sham.fail()
        self.sham.pushed.append(message)
        body = message.message
        key, known = (body.sender, body.nonce), self.sham.chain.pool.get((body.sender, body.nonce))
        if body.nonce < self.sham.chain.nonce(body.sender):
            raise node.NotTaken("nonce too low")
        if known is not None and known != message and body.gas_premium <= known.message.gas_premium * 1.25:
            raise node.NotTaken("replace by fee has a too low premium")
        self.sham.chain.pool[key] = message
        self.sham.fail()


class Node:
    """The one node; `trouble` is how often a call fails or kills the manager."""

    def __init__(self, chain: Chain, dice: random.Random) -> None:
        self.chain = chain
        self.dice = dice
        self.trouble = 0.0
        self.pushed: list[SignedMessage] = []

    def fail(self) -> None:
        """Fail, or die, if it is time; and let the chain go on between two calls."""
        if self.trouble and self.dice.random() < 0.05:
            self.chain.reorganise(self.dice.randint(0, 2))
            if self.dice.random() < 0.3:
                self.chain.pool.clear()
            self.chain.mine()
        if self.dice.random() < self.trouble:
            raise Crash if self.dice.random() < 0.5 else node.Unavailable("simulated")

    @asynccontextmanager
    async def view(self) -> AsyncIterator[View]:
        """Yield the head."""
        self.fail()
        yield View(self, tuple(map(tuple, self.chain.epochs)), Amount(self.chain.base_fee))
