"""A service as an ASGI application, without a framework in between.

The endpoint reads a body within limits of size and time, asks the service and writes the answer. On a WebSocket it
holds a `duplex` conversation. Whatever is wrong below JSON-RPC (size, content type, time) is answered with the HTTP
status the original uses and a JSON-RPC error as the body.
"""

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import anyio

from damocles.methods import rules
from damocles.rpc import callers, core, dialects, errors, limits
from damocles.rpc.admission import access
from damocles.rpc.serving import duplex, places

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

BODY_SECONDS = 30.0
STRANGER_SECONDS = 5.0  # for the first frame of a peer whose call will be refused
# How much of a body beyond the limit is read and dropped, so that its sender gets to read why it is refused.
_DRAIN_FACTOR = 4
HEALTHY = b'{"status":"OK"}\n'
_POLICY_VIOLATION, _TRY_AGAIN_LATER = 1008, 1013
_REASON_CHARACTERS = 100  # the protocol has room for 123 bytes

_FOUR_IN_SIX = re.compile(r"^::ffff:([\d.]+)$")
CALL = "damocles.call"  # in a scope behind the guard: the `core.Call`


@runtime_checkable
class Requests(Protocol):
    """A layer of a service that stands around requests of HTTP, too."""

    def request(
        self, call: core.Call, name: str, path: str
    ) -> contextlib.AbstractAsyncContextManager[Callable[[int, bytes], None]]:
        """Return a block around a request that its rule is about; it yields what takes status and body."""


class _Refused(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def endpoint(service: core.Service, *, websocket: bool, body_seconds: float = BODY_SECONDS) -> App:
    """Return the application that serves `service` on every path it is given."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _answer(service, body_seconds, scope, receive, send)
        elif websocket:
            await _converse(service, scope, receive, send)
        else:
            await send({"type": "websocket.close"})  # refuses the handshake

    return app


def worker_app(service: core.Service, *, body_seconds: float = BODY_SECONDS) -> App:
    """Return the application of a worker: JSON-RPC over POST on any path, and `GET /healthcheck` for everybody."""
    rpc = endpoint(service, websocket=False, body_seconds=body_seconds)

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and access.route(scope["method"], scope["path"]) == access.HEALTH:
            await respond(send, 200, HEALTHY, "application/json")
        else:
            await rpc(scope, receive, send)

    return app


def guarded(
    app: App,
    guard: callers.Gate | None,
    name_of: Callable[[Message], str],
    *,
    auditor: Requests | None = None,
) -> App:
    """Return `app` behind a guard, which knows a request by the name that `name_of` gives to its scope.

    Of what changes something, the auditor makes an entry.
    """
    if guard is None:
        return app

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close"})  # refuses the handshake
            return
        call, name, place = call_of(scope, "http"), name_of(scope), place_of(scope)
        running = contextlib.ExitStack()
        try:
            principal = await guard.authorize(name, call.token, call.peer)
            if principal.scopes:  # not of what is open to everybody
                place.enter(principal)
            running.enter_context(place.websocket() if name in access.STREAMS else place.call())
        except callers.UnknownMethod:
            await respond(send, 404, b"404 page not found\n", "text/plain; charset=utf-8")
        except errors.RpcError as error:
            # What keeps tokens from being looked up is no status of HTTP.
            status = error.code if error.code in {errors.Code.UNAUTHORIZED, errors.Code.FORBIDDEN} else 503
            await respond(send, status, f"{error.message}\n".encode(), "text/plain; charset=utf-8", close=True)
        except places.Full as full:
            await _turn_away(send, full)
        else:
            scope[CALL] = call = call.of(principal)
            with running:
                await _audited(app, auditor, call, name, scope, receive, send)

    return answer


async def _audited(  # noqa: PLR0917 (the last three are those of an application)
    app: App,
    auditor: Requests | None,
    call: core.Call,
    name: str,
    scope: Message,
    receive: Receive,
    send: Send,
) -> None:
    """Answer a request; if it changes something, the answer waits until its entry is complete."""
    rule = access.rule_of(name)
    if auditor is None or rule is None or not rule.is_audited(call.scopes):
        await app(scope, receive, send)
        return
    held: list[Message] = []

    async def hold(message: Message) -> None:
        held.append(message)

    try:
        async with auditor.request(call, access.known_as(name), scope["path"]) as tell:
            await app(scope, receive, hold)
            body = b"".join(message.get("body", b"") for message in held)
            tell(next((message["status"] for message in held if "status" in message), 0), body)
    except errors.DiskFails as error:
        await respond(send, 503, f"{error.message}\n".encode(), "text/plain; charset=utf-8", close=True)
        return
    for message in held:
        await send(message)


async def respond(send: Send, status: int, body: bytes, content_type: str, *, close: bool = False) -> None:
    """Send a whole HTTP response."""
    headers = [(b"content-length", b"%d" % len(body))]
    if body:
        headers.append((b"content-type", content_type.encode()))
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _answer(service: core.Service, body_seconds: float, scope: Message, receive: Receive, send: Send) -> None:
    headers = dict(scope["headers"])
    call, place = call_of(scope, "http"), place_of(scope)
    try:
        _admit(service.dialect, scope["method"], headers)
        principal = await service.identify(call)
        if principal is None:
            place.leave()
            limit, why = limits.STRANGER_BYTES, ", which is the limit without a valid token"
        else:
            place.enter(principal)
            limit, why = service.dialect.body_limit_bytes, ""
            if not rules.Rule(rules.Scope.OPERATE).allows(principal.scopes):
                limit, why = min(limit, limits.SMALL_BODY_BYTES), ", which is the limit with its scope"
        with place.call(), place.body() as grow:
            body = await _body(receive, limit, body_seconds, why, grow)
            if body is not None:
                reply = await service.answer(body, call)
                await respond(send, reply.status, reply.body, service.dialect.content_type)
    except _Refused as refused:
        error = service.dialect.fault(dialects.Fault.INVALID, reason=refused.reason)
        await respond(send, refused.status, service.error(None, error), service.dialect.content_type, close=True)
    except places.Full as full:
        await _turn_away(send, full)


async def _turn_away(send: Send, full: places.Full) -> None:
    """Answer as a server does that has too many connections: clients of ours try again after a while.

    Not at once: a greedy client would only ask again faster.
    """
    await anyio.sleep(limits.REFUSED_SECONDS)
    await respond(send, 503, f"{full}: try again later\n".encode(), "text/plain; charset=utf-8", close=True)


def call_of(scope: Message, transport: Literal["http", "websocket"]) -> core.Call:
    """Return who asks, from the peer's address and the headers."""
    headers = dict(scope["headers"])
    host, port = scope.get("client") or ("", 0)
    host = _FOUR_IN_SIX.sub(r"\1", host)  # as a socket for both families shows IPv4
    kind, _, token = headers.get(b"authorization", b"").partition(b" ")
    handed = headers.get(core.HANDED.encode())
    return core.Call(
        peer=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        transport=transport,
        token=token.strip().decode("latin-1") if kind.lower() == b"bearer" else None,
        handed=handed.decode("latin-1") if handed else None,
    )


def place_of(scope: Message) -> places.Place:
    """Return the place of a connection; outside of our server one of its own."""
    place = scope.get("state", {}).get(places.STATE)
    return place if isinstance(place, places.Place) else places.alone()


def _admit(dialect: dialects.Dialect, verb: str, headers: dict[bytes, bytes]) -> None:
    if dialect.verbs and verb not in dialect.verbs:
        raise _Refused(405, f"HTTP method {verb} is not allowed, use {' or '.join(dialect.verbs)}")
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
    if dialect.accepts and kind not in dialect.accepts:
        raise _Refused(415, f"content type {kind or '(none)'} is not served, send {' or '.join(dialect.accepts)}")


async def _body(receive: Receive, limit: int, seconds: float, why: str, grow: Callable[[int], None]) -> bytes | None:
    """Return the whole body; None if the peer hung up. `grow` is called with the size held."""
    chunks: list[bytes] = []
    size = 0
    try:
        with anyio.fail_after(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                chunk = message.get("body", b"")
                size += len(chunk)
                if size <= limit:
                    grow(len(chunk))
                    chunks.append(chunk)
                if not message.get("more_body", False) or size > limit * _DRAIN_FACTOR:
                    break
    except TimeoutError:
        raise _Refused(408, f"the request body did not arrive within {seconds:g} s") from None
    if size > limit:
        raise _Refused(413, f"the request body is larger than {limit} bytes{why}")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _converse(service: core.Service, scope: Message, receive: Receive, send: Send) -> None:
    await receive()  # websocket.connect
    await send({"type": "websocket.accept"})

    call = call_of(scope, "websocket")

    async def frames() -> AsyncIterator[bytes]:
        while True:
            message = await receive()
            if message["type"] != "websocket.receive":
                return
            text = message.get("text")
            yield message.get("bytes") or b"" if text is None else text.encode()

    async def send_frame(frame: bytes) -> None:
        # A peer that has gone is noticed by `frames`; uvicorn says so here by OSError, or RuntimeError while closing.
        with contextlib.suppress(OSError, RuntimeError):
            await send({"type": "websocket.send", "text": frame.decode()})

    principal = await service.identify(call)
    place = place_of(scope)
    if principal is None:
        # Told why, on the first frame, because the original's command line shows only that; and then sent away.
        with anyio.move_on_after(STRANGER_SECONDS):
            async for frame in frames():
                await send_frame((await service.answer(frame, call)).body)
                break
        await _hang_up(send, _POLICY_VIOLATION)
        return
    try:
        place.enter(principal)
        with place.websocket():
            place.allow(limits.FRAME_BYTES)
            await duplex.serve(service, call, frames(), send_frame, place.call)
    except places.Full as full:
        await _hang_up(send, _TRY_AGAIN_LATER, str(full))


async def _hang_up(send: Send, code: int, reason: str = "") -> None:
    with contextlib.suppress(OSError, RuntimeError):
        await send({"type": "websocket.close", "code": code, "reason": reason[:_REASON_CHARACTERS]})
