"""Run a devnode in this process.

async with devnode.serving(block_seconds=0.05) as node:
place = Place(url=node.url, token_file=…)
await node.reorganise(3)
"""

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from damocles.devnode import beginnings
from damocles.devnode.api.chain import ChainApi
from damocles.devnode.api.control import ControlApi
from damocles.devnode.api.messages import MessagesApi
from damocles.devnode.api.miners import MinersApi
from damocles.devnode.api.mining import MiningApi
from damocles.devnode.api.network import NetworkApi
from damocles.devnode.api.service import Service, app
from damocles.devnode.mischief import Mischief
from damocles.devnode.node import Node
from damocles.devnode.rules import Rules
from damocles.rpc.serving import server

_ROOMS = (NetworkApi, ChainApi, MinersApi, MiningApi, MessagesApi, ControlApi)


def service_of(node: Node, mischief: Mischief | None = None) -> Service:
    """Return all methods of a node, with the faults of the address that they are served at."""
    own = node.mischief if mischief is None else mischief
    service = Service(node, own)
    for room in _ROOMS:
        room(node, own).serve(service)
    return service


@contextlib.asynccontextmanager
async def another(node: Node, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[tuple[str, Mischief]]:
    """Yield another address of a devnode, as if it were a second node of the same devnet, with faults of its own."""
    mischief = Mischief()
    async with server.serve(app(service_of(node, mischief), node), host, port, grace_seconds=1) as bound:
        yield bound.url("/rpc/v1"), mischief


@contextlib.asynccontextmanager
async def serving(
    rules: Rules | None = None,
    *,
    home: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    block_seconds: float | None = None,
    accepts_any_proof: bool = False,
    secret: bytes | None = None,
    clock: Callable[[], float] = time.time,
    at_once: bool = False,
    is_mined: bool = False,
    changeable: Collection[str] = (),
    verify: Callable[[Any], bool] | None = None,
) -> AsyncIterator[Node]:
    """Yield a devnode that listens while the block runs.

    Without `home` nothing of it is kept. With `block_seconds` of `None` blocks are made by `node.step` alone. The same
    `secret` (32 bytes) makes a devnet with the same keys. With `at_once` the blocks that execute a message are made as soon
    as it is pushed. With `is_mined` epochs go by the clock, and miners hand in blocks. `changeable` are rules that may be
    others than before, `verify` another verifier of proofs than the devnode's own; it is called in threads.

    Raises:
        beginnings.Unsuitable: The devnet in the home was made with other rules.
        rpc.errors.ListenError: The port is in use.
    """
    of = Rules() if rules is None else rules

    def begin() -> tuple[Node, "contextlib.AbstractContextManager[object]"]:
        node, store = beginnings.begin(
            of,
            home=home,
            block_seconds=block_seconds,
            accepts_any_proof=accepts_any_proof,
            secret=secret,
            clock=clock,
            at_once=at_once,
            is_mined=is_mined,
            changeable=changeable,
            verify=verify,
        )
        return node, contextlib.nullcontext() if store is None else contextlib.closing(store)

    node, closing = await anyio.to_thread.run_sync(begin)
    failure: Exception | None = None
    with closing:
        listening = server.serve(app(service_of(node), node), host, port, grace_seconds=1, event="devnode listens")
        async with listening as bound:
            node.url = bound.url("/rpc/v1")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(node.run)
                try:
                    yield node
                except Exception as exc:  # noqa: BLE001 (raised again below, where the group does not wrap it)
                    failure = exc
                tasks.cancel_scope.cancel("the block is left")
    if failure is not None:
        raise failure
