"""A conversation over a connection that carries frames both ways: go-jsonrpc's WebSocket mode, without the WebSocket.

One JSON object per frame, calls run side by side. Beyond JSON-RPC there are three notifications:

- `xrpc.cancel` `[id]` from the caller cancels a running call, which is still answered;
- `xrpc.ch.val` `[channel, value]` and `xrpc.ch.close` `[channel]` to the caller carry the values of a streaming method,
  whose result is the number of the channel.
"""

import contextlib
import itertools
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any

import anyio
import anyio.abc
import msgspec
import structlog

from damocles.rpc import core, errors, limits, messages
from damocles.rpc.serving import places
from damocles.wire import codec

log = structlog.get_logger(__name__)

Send = Callable[[bytes], Awaitable[None]]

_cancelled_ids = msgspec.json.Decoder(tuple[messages.ID])


async def serve(
    service: core.Service,
    call: core.Call,
    frames: AsyncIterable[bytes],
    send: Send,
    running: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
) -> None:
    """Answer `frames` until they end, then cancel what still runs. `send` must take frames from several tasks.

    A block of `running` is around each call; it may raise `places.Full`.
    """
    conversation = _Conversation(service, call, send, running)
    async with anyio.create_task_group() as tasks:
        async for frame in frames:
            await conversation.take(frame, tasks)
        tasks.cancel_scope.cancel("the peer hung up")


class _Conversation:
    def __init__(
        self,
        service: core.Service,
        call: core.Call,
        send: Send,
        counted: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._counted = counted
        self._service = service
        self._call = call
        self._send = send
        self._channels = itertools.count(1)
        self._running = 0
        self._scopes: dict[messages.ID, anyio.CancelScope] = {}

    async def take(self, frame: bytes, tasks: anyio.abc.TaskGroup) -> None:
        """Start the call in a frame, or cancel the one it names."""
        try:
            request = self._service.read(frame)
        except errors.ProtocolError as error:
            await self._send(self._service.error(messages.id_of(frame), error))
            return
        if request.method == "xrpc.cancel":
            self._cancel(request)
        elif self._running >= limits.CALLS_OF_A_WEBSOCKET:
            # Refused, not queued: a full queue would also hold up the frames that cancel calls.
            text = f"{limits.CALLS_OF_A_WEBSOCKET} calls are running on this connection"
            busy = errors.RpcError(errors.Code.OVERLOADED, text)
            await self._answer(request, self._service.error(self._service.id_of(request), busy))
        else:
            self._running += 1
            scope = anyio.CancelScope()
            if not self._service.notifies(request):
                self._scopes[self._service.id_of(request)] = scope
            tasks.start_soon(self._run, request, scope)

    def _cancel(self, request: messages.Request) -> None:
        with contextlib.suppress(*messages.UNREADABLE):
            (number,) = _cancelled_ids.decode(request.params)
            scope = self._scopes.get(number)
            if scope is not None:
                scope.cancel("cancelled by the caller")

    async def _run(self, request: messages.Request, scope: anyio.CancelScope) -> None:
        number = self._service.id_of(request)
        try:
            with self._counted():
                await self._hold(request, scope)
        except places.Full as full:
            error = errors.RpcError(errors.Code.OVERLOADED, str(full))
            await self._answer(request, self._service.error(number, error))
        finally:
            self._running -= 1
            if self._scopes.get(number) is scope:
                del self._scopes[number]

    async def _hold(self, request: messages.Request, scope: anyio.CancelScope) -> None:
        number = self._service.id_of(request)
        answered = False
        try:
            with scope:
                method, call = await self._service.admit(request, self._call)
                if method.streams:
                    values = await self._service.stream(method, request, call)
                    answered = True
                    await self._pump(method, request, values)
                else:
                    result = await self._service.run(method, request, call)
            if answered:
                return
            if scope.cancelled_caught:
                raise errors.RpcError(errors.Code.FAILED, "context canceled")  # noqa: TRY301 (Go's words)
            answer = self._service.result(method, request, result)
        except errors.RpcError as error:
            answer = self._service.error(number, error)
        await self._answer(request, answer)

    async def _pump(self, method: core.Method, request: messages.Request, values: AsyncGenerator[Any, None]) -> None:
        channel = next(self._channels)
        async with contextlib.aclosing(values):
            # Shielded: whoever cancels must still learn the channel, and that it is closed.
            with anyio.CancelScope(shield=True):
                await self._answer(request, self._service.result(method, request, b"%d" % channel))
            try:
                async for value in values:
                    await self._notify("xrpc.ch.val", channel, value)
            except Exception:
                # The protocol has no word for a stream that fails halfway: the caller only sees it end.
                log.exception("rpc stream broke off", method=method.name, peer=self._call.peer)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._notify("xrpc.ch.close", channel)

    async def _answer(self, request: messages.Request, answer: bytes) -> None:
        if not self._service.notifies(request):
            await self._send(answer)

    async def _notify(self, method: str, *params: Any) -> None:
        await self._send(b'{"jsonrpc":"2.0","method":%b,"params":%b}' % (codec.encode(method), codec.encode(params)))
