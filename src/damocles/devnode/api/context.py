"""What the methods of the API share: tipsets by their keys, states, miners, and refusals in Lotus' words."""

from collections.abc import Sequence
from typing import Any, NoReturn

import anyio.to_thread

from damocles.chain.addresses import Address
from damocles.devnode import tipsets
from damocles.devnode.actors.draft import Abort, Surroundings, Unverifiable
from damocles.devnode.actors.execution import Outcome
from damocles.devnode.api import shapes
from damocles.devnode.mischief import Mischief
from damocles.devnode.node import Node
from damocles.devnode.state import SINGLETONS, Account, Miner, State, kind_of
from damocles.devnode.tipsets import TipSet
from damocles.rpc import errors
from damocles.wire.codec import CID

Key = list[CID] | None


def fail(text: str, code: int = errors.Code.FAILED, data: Any = None) -> NoReturn:
    """Refuse a call, as a node does."""
    raise errors.RpcError(code, text, data)


class Api:
    """Methods of a node; each room of the API is one of these. `mischief` is that of the address they are served at."""

    def __init__(self, node: Node, mischief: Mischief) -> None:
        self.node = node
        self.chain = node.chain
        self.mischief = mischief

    @property
    def head(self) -> TipSet:
        """The head of the chain as it is told here: it may lag on request."""
        return self.node.behind(self.mischief.behind)

    def tipset(self, key: Key) -> TipSet:
        """Return a tipset by its key, the head for none."""
        if not key:
            return self.head
        found = self.chain.known.get(key[0]) if len(key) == 1 else None
        if found is None:
            fail(f"failed to load tipset: get block {key[0]}: ipld: could not find {key[0]}")
        return found

    def state(self, key: Key) -> State:
        """Return the state at a tipset."""
        try:
            return tipsets.state_of(self.tipset(key))
        except tipsets.Forgotten as exc:
            fail(f"failed to load state: {exc}")

    def miner(self, address: Address, key: Key) -> tuple[int, Miner]:
        """Return a miner with its number."""
        state = self.state(key)
        number = state.id_of(address)
        if number is None:
            fail("failed to load miner actor: actor not found")
        if number not in state.miners:
            fail(f"failed to load miner actor state: actor code is not miner: {kind_of(state, number)}")
        return number, state.miners[number]

    def account(self, address: Address, key: Key) -> tuple[int, Account]:
        """Return an account with its number."""
        state = self.state(key)
        number = state.id_of(address)
        if number is None:
            fail(f"failed to find actor: {shapes.text(address)}")
        if number in state.miners or (number in SINGLETONS and state.account(number).key is None):
            kind = kind_of(state, number)
            fail(f"failed to get account actor state for {shapes.text(address)}: actor code is not account: {kind}")
        return number, state.account(number)

    def height(self, height: int, key: Key) -> TipSet:
        """Return the tipset from which a height is counted; refuse heights above it and below zero."""
        head = self.tipset(key)
        if height < 0:
            fail(f"height {height} is negative")
        if height > head.height:
            fail(f"looking for tipset with height greater than start point, req: {height}, head: {head.height}")
        return head

    async def after(self, tipset: TipSet) -> tuple[State, list[Outcome]]:
        """Return the state after a tipset's own messages, and what became of them."""
        try:
            return await anyio.to_thread.run_sync(self.chain.after_head, tipset)
        except (tipsets.Forgotten, Unverifiable) as exc:
            fail(str(exc))

    async def now(self) -> tuple[TipSet, State]:
        """Return the head as it is told here with the state after it: both fit the pool until the next `await`."""
        try:
            return await self.node.now(self.mischief.behind)
        except (tipsets.Forgotten, Unverifiable) as exc:
            fail(str(exc))

    def around(self, tipset: TipSet) -> Surroundings:
        """Return what messages are executed in at a tipset."""
        return self.chain.executor.around(tipset)

    def tell(self, tipset: TipSet) -> dict[str, Any]:
        """Return a tipset as the API has it."""
        return shapes.tipset(tipset, self.chain.secret, self.chain.maker)

    def drawn(self, what: str, tipset: TipSet, domain: int, epoch: int, entropy: bytes) -> str | None:
        """Return randomness: of `tickets` or of the `beacon`."""
        draws = self.chain.executor.draws(tipset)
        word = "chain" if what == "tickets" else "beacon"
        try:
            return shapes.octets(getattr(draws, what)(domain, epoch, entropy))
        except Abort as abort:
            fail(f"getting {word} randomness: {abort.text}")
        except KeyError:
            fail(f"getting {word} randomness: the devnode does not know that epoch any more")


def one_of(sequence: Sequence[Any]) -> list[Any] | None:
    """Return a list, null if nothing is in it."""
    return list(sequence) or None
