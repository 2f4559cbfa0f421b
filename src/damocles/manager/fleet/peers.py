"""Connections to workers, and dialogues with them."""

import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import anyio
import structlog

from damocles import methods
from damocles.operating import dialogues
from damocles.rpc import address, errors, limits, tls
from damocles.rpc.calling import client

T = TypeVar("T")

log = structlog.get_logger(__name__)

Connect: TypeAlias = Callable[[str, client.Answers], AbstractAsyncContextManager[client.Client]]

TIMEOUT_SECONDS = methods.fleet.TIMEOUT_SECONDS
_LEAST_SECONDS = 0.05  # that a call gets, however late it is in its dialogue
_STARTED_ANEW = (
    "it refuses the token of its last ping: it has restarted, or another worker has its address; its next ping"
    " brings another token"
)


def connect(
    dest: str, answers: client.Answers, *, trust: tls.Trust = None
) -> AbstractAsyncContextManager[client.Client]:
    """Return a client of the worker at `dest`, to be entered; `answers` limits what it reads.

    Raises:
        ValueError: `dest` is no address.
    """
    return client.connect(address.worker_url(dest), timeout_seconds=TIMEOUT_SECONDS, trust=trust, answers=answers)


@dataclass(slots=True, eq=False)
class _Peer:
    client: client.Client
    stack: contextlib.AsyncExitStack
    calls: int = 0  # under way


class Peers:
    """One client for each destination, made when first needed.

    Of too many, those go that have not been called for the longest time.
    """

    def __init__(self, connect: Connect, most: int) -> None:
        self._connect = connect
        self._most = most
        self._turn = anyio.Lock()
        self.answers = client.Answers(limits.WORKER_ANSWER_BYTES, limits.WORKER_ANSWERS_BYTES)
        self._known: OrderedDict[str, _Peer] = OrderedDict()  # the one called last at the end

    def __len__(self) -> int:
        """Return how many clients there are."""
        return len(self._known)

    @contextlib.asynccontextmanager
    async def client(self, dest: str) -> AsyncIterator[client.Client]:
        """Yield the client of a destination; nothing is sent.

        Raises:
            errors.Unreachable: `dest` is no address.
        """
        async with self._turn:  # nothing is waited for inside: connections are made by calls
            peer = self._known.get(dest) or await self._open(dest)
            self._known.move_to_end(dest)
            peer.calls += 1
        try:
            yield peer.client
        finally:
            peer.calls -= 1

    async def _open(self, dest: str) -> _Peer:
        idle = [known for known, peer in self._known.items() if not peer.calls]
        for known in idle[: len(self._known) + 1 - self._most]:
            await self._known.pop(known).stack.aclose()
        stack = contextlib.AsyncExitStack()
        try:
            peer = _Peer(await stack.enter_async_context(self._connect(dest, self.answers)), stack)
        except ValueError as error:
            raise errors.Unreachable(dest, str(error)) from error
        self._known[dest] = peer
        return peer

    def levels(self) -> dict[str, limits.Level]:
        """Return how full the limits are."""
        return {
            "worker_clients": limits.Level(len(self._known), self._most),
            "worker_answer_bytes": limits.Level(self.answers.largest_bytes, limits.WORKER_ANSWER_BYTES),
            "worker_answers_bytes": limits.Level(self.answers.held_bytes, limits.WORKER_ANSWERS_BYTES),
        }

    async def close(self) -> None:
        """Close all of them."""
        while self._known:
            _, peer = self._known.popitem()
            await peer.stack.aclose()

    async def hold(
        self, dest: str, dialogue: dialogues.Dialogue[T], timeout_seconds: float, *, token: str | None = None
    ) -> T:
        """Hold a dialogue with the worker at `dest`, all of it within `timeout_seconds`; show it `token`.

        Raises:
            operations.Unanswered: From the dialogue; or the worker answers what the dialogue cannot bear.
        """
        deadline = anyio.current_time() + timeout_seconds

        async def answer(place: int, ask: methods.Ask[Any], answers: list[Any]) -> None:
            left = max(_LEAST_SECONDS, deadline - anyio.current_time())
            try:
                async with self.client(dest) as peer:
                    answers[place] = await peer.call(ask, timeout_seconds=left, token=token)
            except errors.RpcError as refusal:
                if token is not None and refusal.code == errors.Code.UNAUTHORIZED:
                    answers[place] = dialogues.Refused(_STARTED_ANEW)
                    return
                text = refusal.message
                cut = text[: limits.REFUSAL_CHARACTERS] + "…" * (len(text) > limits.REFUSAL_CHARACTERS)
                answers[place] = dialogues.Refused(cut, refusal.code)
            except errors.CallError as failure:
                # Whoever asks may read what workers tell, but not what anything else says at an address.
                if failure.bare != str(failure):
                    log.info("no answer of a worker", dest=dest, error=str(failure))
                answers[place] = dialogues.Refused(failure.bare)

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
        except dialogues.Unanswered:
            raise
        except Exception as error:
            # What one worker says must not be the end of a look at all of them.
            log.exception("the answers of a worker cannot be used", dest=dest)
            reason = f"its answer cannot be used ({type(error).__name__}: {error}); see the manager's log"
            raise dialogues.Unanswered(dialogues.Refused(reason)) from error


@contextlib.asynccontextmanager
async def open_peers(connect: Connect = connect, most: int = limits.WORKER_CLIENTS) -> AsyncIterator[Peers]:
    """Yield connections; they are closed at the end of the block."""
    peers = Peers(connect, most)
    try:
        yield peers
    finally:
        await peers.close()
