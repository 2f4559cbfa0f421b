"""Subscribe to a stream of a peer: go-jsonrpc's channels over WebSocket, one connection for each.

    async with subscription.open_stream(url, "Filecoin.ChainNotify", [], returns=list[HeadChange]) as values:
        async for value in values: ...

The answer to the call is the number of a channel, whose values come as notifications (see `duplex`). This is the only
module that knows the WebSocket library as a client.
"""

import contextlib
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from http import HTTPStatus
from typing import Any, TypeVar

import anyio
import msgspec
import websockets
from websockets.asyncio.client import ClientConnection, connect

from damocles.rpc import errors, messages, tls
from damocles.wire import codec

T = TypeVar("T")

OPEN_SECONDS = 10.0
# A peer that vanished without a word is noticed by a ping that nobody answers.
PING_SECONDS = 10.0
PONG_SECONDS = 20.0
# A peer that goes on sending does not hear that we leave.
GOODBYE_SECONDS = 0.5

# The library writes what it sends into its log, and the token is in that.
_quiet = logging.getLogger(f"{__name__}.library")
_quiet.setLevel(logging.WARNING)

_VALUE, _CLOSE = "xrpc.ch.val", "xrpc.ch.close"


class _Frame(msgspec.Struct):
    method: str = ""
    params: msgspec.Raw = messages.NULL


_frames = msgspec.json.Decoder(_Frame)
_values = msgspec.json.Decoder(tuple[int, msgspec.Raw])
_closes = msgspec.json.Decoder(tuple[int])


@contextlib.asynccontextmanager
async def open_stream(
    url: str,
    method: str,
    params: messages.Params,
    *,
    returns: type[T],
    token: str | None = None,
    trust: tls.Trust = None,
    ping_seconds: float = PING_SECONDS,
) -> AsyncIterator[AsyncIterator[T]]:
    """Call a streaming method of a peer at an `http:` or `https:` URL, and yield its values as they come.

    The values end when the peer closes the channel.

    Raises:
        errors.CallError: As of any call. While values are waited for: `Disconnected` or `BadAnswer`.
    """
    context: ssl.SSLContext | None = tls.client_context(trust) if url.startswith("https:") else None
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    try:
        connection = await connect(
            "ws" + url.removeprefix("http"),
            ssl=context,
            additional_headers=headers,
            proxy=None,
            compression=None,
            user_agent_header=None,
            logger=_quiet,
            open_timeout=OPEN_SECONDS,
            ping_interval=ping_seconds,
            ping_timeout=PONG_SECONDS,
            close_timeout=GOODBYE_SECONDS,
            max_size=messages.ANSWER_LIMIT_BYTES,
        )
    except TimeoutError as exc:
        raise errors.TimedOut(url, OPEN_SECONDS) from exc
    except websockets.InvalidStatus as exc:
        raise _refused(url, exc) from exc
    except websockets.InvalidHandshake as exc:
        raise errors.BadAnswer(url, f"no WebSocket: {exc}") from exc
    except OSError as exc:
        raise errors.unreachable(url, exc) from exc
    async with connection:
        try:
            with anyio.fail_after(OPEN_SECONDS):
                await _send(connection, url, messages.encode_call(1, method, params).decode())
                channel = await _channel(connection, url, method)
        except TimeoutError as exc:
            raise errors.TimedOut(url, OPEN_SECONDS) from exc
        async with contextlib.aclosing(_values_of(connection, channel, returns, url, method)) as values:
            yield values


def _refused(url: str, exc: websockets.InvalidStatus) -> errors.CallError:
    status = exc.response.status_code
    return errors.BadAnswer(url, f"no WebSocket: HTTP {status}", status=HTTPStatus(status))


async def _channel(connection: ClientConnection, url: str, method: str) -> int:
    """Return the channel that the peer gives to the call: its own number, not that of the call."""
    frame = await _next(connection, url)
    channel: int = messages.decode_answer(frame, int, url=url, method=method, status=HTTPStatus.OK)
    return channel


async def _values_of(
    connection: ClientConnection, channel: int, returns: type[T], url: str, method: str
) -> AsyncGenerator[T, None]:
    while True:
        data = await _next(connection, url)
        try:
            frame = _frames.decode(data)
            if frame.method == _VALUE:
                number, value = _values.decode(frame.params)
                if number == channel:
                    yield codec.decode(value, returns)
            elif frame.method == _CLOSE and _closes.decode(frame.params)[0] == channel:
                return
        except messages.UNREADABLE as exc:
            raise errors.BadAnswer(url, f"value of {method}: {exc}") from exc


async def _send(connection: ClientConnection, url: str, text: str) -> None:
    try:
        await connection.send(text)
    except websockets.ConnectionClosed as exc:
        raise errors.Disconnected(url, str(exc)) from exc


async def _next(connection: ClientConnection, url: str) -> bytes:
    try:
        data: Any = await connection.recv(decode=False)
    except websockets.ConnectionClosed as exc:
        raise errors.Disconnected(url, str(exc)) from exc
    return bytes(data)
