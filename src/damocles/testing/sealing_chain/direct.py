"""A client of a devnode in the same process: the same JSON, and no sockets. With it what simulations on a devnode share."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import anyio

from damocles import failpoints
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.messages import Message, SignedMessage
from damocles.devnode import serving
from damocles.devnode.api import shapes
from damocles.devnode.api.service import Broken
from damocles.devnode.chain import Chain, Change
from damocles.devnode.node import Node as Devnode
from damocles.devnode.tipsets import TipSet
from damocles.lotus import errors
from damocles.lotus.answers import HeadChange
from damocles.lotus.node import Node
from damocles.lotus.nodes import Nodes
from damocles.lotus.places import Place
from damocles.lotus.view import View
from damocles.manager.chain import interface, lifetimes
from damocles.manager.chain.accounts import Accounts
from damocles.manager.chain.fitness import Fitness
from damocles.manager.chain.rounds import Rounds
from damocles.manager.chain.terms import Miner
from damocles.manager.db.engine import Database
from damocles.rpc import core, messages
from damocles.rpc import errors as rpc
from damocles.testing.simulation import virtual
from damocles.wire import codec

T = TypeVar("T")
URL = "http://devnode/rpc/v1"
BLOCK_SECONDS = 30.0


class Died(BaseException):
    """The manager's process is gone."""


class DirectNode(Node):
    """Our client, with the devnode's service behind it instead of a connection."""

    def __init__(self, devnode: Devnode) -> None:
        super().__init__(Place(url=URL), None, devnode.token, ())  # type: ignore[arg-type]
        self._devnode = devnode
        self._service = serving.service_of(devnode)

    async def _once(self, returns: type[T], method: str, params: Sequence[Any], seconds: float) -> T:
        name = f"Filecoin.{method}"
        failpoints.reach(f"node.before:{method}")
        try:
            await anyio.lowlevel.checkpoint()
            with anyio.fail_after(seconds):
                body = messages.encode_call(1, name, list(params))
                reply = await self.answer(body)
            answer: T = messages.decode_answer(reply.body, returns, url=URL, method=name, status=reply.status)
        except TimeoutError as exc:
            raise errors.of(rpc.TimedOut(URL, seconds), URL, method) from exc
        except Broken as exc:
            raise errors.of(rpc.Disconnected(URL, "as it was told"), URL, method) from exc
        except rpc.CallError as exc:
            raise errors.of(exc, URL, method) from exc
        failpoints.reach(f"node.after:{method}")
        return answer

    async def answer(self, body: bytes) -> core.Reply:
        """Return what the devnode answers."""
        return await self._service.answer(body, core.Call(token=self.token))

    @contextlib.asynccontextmanager
    async def changes(self) -> AsyncIterator[AsyncIterator[list[HeadChange]]]:
        """Yield what happens to the head, until the node has a fault; see `Node.changes`."""
        async with self._devnode.changes() as changes:

            async def told() -> AsyncIterator[list[HeadChange]]:
                yield self._told([Change("current", self._devnode.head)])
                async for change in changes:
                    yield self._told(change)

            yield told()

    def _told(self, some: Iterable[Change]) -> list[HeadChange]:
        fault = self._devnode.mischief.take("ChainNotify")
        if fault is not None and fault.kind != "slow":
            raise errors.Away(f"{URL} broke off")
        chain = self._devnode.chain
        return codec.decode(codec.encode(shapes.changes(some, chain.secret, chain.maker)), list[HeadChange])


def network(devnode: Devnode) -> interface.Network:
    """Return the rules of a devnode's network as a manager has them."""
    return interface.Network(
        ticket_lookback=lifetimes.TICKET_LOOKBACK,
        ticket_max_age=lifetimes.TICKET_MAX_AGE,
        ni_ticket_max_age=lifetimes.NI_TICKET_MAX_AGE,
        challenge_delay=devnode.rules.challenge_delay,
        seed_confidence=6,
        block_seconds=BLOCK_SECONDS,
    )


def rounds(
    database: Database,
    devnode: Devnode,
    nodes: Nodes,
    miners: Iterable[Miner],
    clock: Callable[[], float] = virtual.wall_clock,
) -> Rounds:
    """Return the rounds of a manager that has just started: it knows the database, and nothing else."""
    accounts = Accounts()
    return Rounds(
        database=database,
        nodes=nodes,
        miners=list(miners),
        accounts=accounts,
        fitness=Fitness(accounts),
        network=network(devnode),
        aggregator=None,
        epoch=devnode.chain.head.height,
        clock=clock,
    )


def executed(chain: Chain) -> Iterator[tuple[SignedMessage, TipSet, int]]:
    """Yield the messages that a chain executed, the newest first, with the tipset that tells of it, and exit code."""
    child = chain.head
    while child.parent is not None:
        parent = chain.known[child.parent]
        for signed, outcome in reversed(list(zip(parent.messages, child.outcomes, strict=True))):
            yield signed, child, outcome.exit_code
        child = parent


async def sign_as(node: Node, account: Address) -> SignedMessage:
    """Return a message that does nothing, of somebody who has the same key; raises `errors.NodeError`."""
    key = await View(node, await node.head()).key_of(account)
    message = Message(
        to=key,
        sender=key,
        nonce=await node.next_nonce(key),
        gas_limit=10_000_000,
        gas_fee_cap=Amount(10**10),
        gas_premium=Amount(10**6),
    )
    return await node.sign_message(message)
