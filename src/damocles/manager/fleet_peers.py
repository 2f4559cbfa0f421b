"""Connections to workers, and dialogues with them."""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias, TypeVar

import anyio
import structlog

from damocles.rpc import address, client, errors, tls
from damocles.sealing import operations

T = TypeVar("T")

log = structlog.get_logger(__name__)

Connect: TypeAlias = Callable[[str], AbstractAsyncContextManager[client.Client]]

TIMEOUT_SECONDS = 5.0
_LEAST_SECONDS = 0.05  # that a call gets, however late it is in its dialogue


def connect(dest: str, *, trust: tls.Trust = None) -> AbstractAsyncContextManager[client.Client]:
    """Return a client of the worker at `dest`, to be entered.

    Raises:
        ValueError: `dest` is no address.
    """
    return client.connect(address.worker_url(dest), timeout_seconds=TIMEOUT_SECONDS, trust=trust)


class Peers:
    """One client for each destination, made when first needed and kept until `open_peers` ends."""

    def __init__(self, stack: contextlib.AsyncExitStack, connect: Connect) -> None:
        self._stack = stack
        self._connect = connect
        self._turn = anyio.Lock()
        self._clients: dict[str, client.Client] = {}

    async def client(self, dest: str) -> client.Client:
        """Return the client of a destination; nothing is sent.

        Raises:
            errors.Unreachable: `dest` is no address.
        """
        async with self._turn:  # nothing is waited for inside: connections are made by calls
            if dest not in self._clients:
                try:
                    self._clients[dest] = await self._stack.enter_async_context(self._connect(dest))
                except ValueError as error:
                    raise errors.Unreachable(dest, str(error)) from error
            return self._clients[dest]

    async def hold(
        self, dest: str, dialogue: operations.Dialogue[T], timeout_seconds: float, *, token: str | None = None
    ) -> T:
        """Hold a dialogue with the worker at `dest`, all of it within `timeout_seconds`; show it `token`.

        Raises:
            operations.Unanswered: From the dialogue; or the worker answers what the dialogue cannot bear.
        """
        deadline = anyio.current_time() + timeout_seconds

        async def answer(place: int, ask: operations.Ask, answers: list[Any]) -> None:
            left = max(_LEAST_SECONDS, deadline - anyio.current_time())
            try:
                peer = await self.client(dest)
                answers[place] = await peer.call(
                    ask.method, ask.params, returns=ask.returns, timeout_seconds=left, token=token
                )
            except errors.RpcError as refusal:
                answers[place] = operations.Refused(refusal.message, refusal.code)
            except errors.CallError as failure:
                answers[place] = operations.Refused(str(failure))

        try:
            asks = next(dialogue)
            while True:
                answers: list[Any] = [None] * len(asks)
                async with anyio.create_task_group() as tasks:
                    for place, ask in enumerate(asks):
                        tasks.start_soon(answer, place, ask, answers)
                asks = dialogue.send(answers)
        except StopIteration as end:
            result: T = end.value
            return result
        except operations.Unanswered:
            raise
        except Exception as error:
            # What one worker says must not be the end of a look at all of them.
            log.exception("the answers of a worker cannot be used", dest=dest)
            reason = f"its answer cannot be used ({type(error).__name__}: {error}); see the manager's log"
            raise operations.Unanswered(operations.Refused(reason)) from error


@contextlib.asynccontextmanager
async def open_peers(connect: Connect = connect) -> AsyncIterator[Peers]:
    """Yield connections; they are closed at the end of the block."""
    async with contextlib.AsyncExitStack() as stack:
        yield Peers(stack, connect)
