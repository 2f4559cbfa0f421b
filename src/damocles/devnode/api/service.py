"""How the API is spoken: Lotus' dialect of JSON-RPC, its tokens and permissions, and faults on request."""

import dataclasses
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import anyio

from damocles.devnode import wallet
from damocles.devnode.mischief import Fault, Mischief
from damocles.devnode.node import Node
from damocles.methods.rules import Scope
from damocles.rpc import callers, core, dialects, errors, messages
from damocles.rpc.admission import access
from damocles.rpc.serving import asgi

PATH = "/rpc/v1"
_HEALTH = {"/health/livez": 200, "/health/readyz": 503}  # as of a node without peers
LOTUS = dataclasses.replace(
    dialects.MANAGER,
    content_type="application/json",
    error=b'{"error":%(error)b,"id":%(id)b,"jsonrpc":"2.0"}\n',
    faults={
        fault: (code, template.partition(") ")[2].removesuffix(": error code -32700").removesuffix(": error code 0"))
        for fault, (code, template) in dialects.MANAGER.faults.items()
    },
)


class Guard(access.Guard):
    """Lotus' way: a token has permissions, and no token may read."""

    def __init__(self, secret: bytes, needs: Mapping[str, str]) -> None:
        super().__init__(self._known, help_text="")
        self._secret = secret
        self._needs = needs

    async def _known(self, token: str) -> callers.Principal:
        allowed = wallet.permissions(self._secret, token)
        if allowed is None:
            raise callers.Unidentified("unknown token")
        return callers.Principal(",".join(allowed), frozenset(Scope))

    async def identify(self, token: str | None, peer: str) -> callers.Principal:
        """Return who calls; whoever has no token may read."""
        return callers.Principal("read", frozenset(Scope)) if token is None else await self._known(token)

    async def authorize(self, name: str, token: str | None, peer: str) -> callers.Principal:
        """Return who calls, if they may; see the base."""
        principal = await self.identify(token, peer)
        needed = self._needs.get(name)
        if needed is None:
            raise callers.UnknownMethod(name)
        if needed not in principal.name.split(","):
            short = name.partition(".")[2]
            raise errors.RpcError(errors.Code.FAILED, f"missing permission to invoke '{short}' (need '{needed}')")
        return principal


class Service(core.Service):
    """The methods of a devnode; faults on request come before them."""

    def __init__(self, node: Node, mischief: Mischief) -> None:
        self.needs: dict[str, str] = {}
        super().__init__(LOTUS, guard=Guard(node.chain.secret, self.needs))
        self._mischief = mischief

    def serve(self, permission: str, handlers: Mapping[str, Any], prefix: str = "Filecoin") -> None:
        """Add methods that need a permission."""
        for name, handler in handlers.items():
            self.needs[f"{prefix}.{name}"] = permission
            self.add(f"{prefix}.{name}", handler)

    async def answer(self, body: bytes, call: core.Call) -> core.Reply:
        """Answer the body of a request; of nothing, with HTTP 400."""
        if b"".join(body.split()) in {b"", b"[]"}:
            error = errors.ProtocolError(errors.Code.INVALID_REQUEST, "Invalid request")
            return core.Reply(400, self.error(None, error))
        return await super().answer(body, call)

    async def run(self, method: core.Method, request: messages.Request, call: core.Call) -> bytes:
        """Answer, or do what was asked for instead."""
        fault = self._mischief.take(method.name)
        if fault is None:
            return await super().run(method, request, call)
        if fault.kind == "slow":
            await anyio.sleep(fault.seconds)
            return await super().run(method, request, call)
        if fault.kind == "error":
            raise errors.RpcError(errors.Code.FAILED, fault.text or "the devnode was told to fail")
        if fault.kind == "result":
            return fault.text.encode()
        if fault.kind == "missing":
            raise self.dialect.fault(dialects.Fault.UNKNOWN_METHOD, method=method.name)
        if fault.late:
            await super().run(method, request, call)
        raise Broken(fault)

    async def stream(
        self, method: core.Method, request: messages.Request, call: core.Call
    ) -> AsyncGenerator[Any, None]:
        """Answer with a stream, unless a fault keeps from it."""
        fault = self._mischief.take(method.name)
        if fault is not None and fault.kind != "slow":
            raise errors.RpcError(errors.Code.FAILED, fault.text or f"the devnode was told: {fault.kind}")
        if fault is not None:
            await anyio.sleep(fault.seconds)
        return await super().stream(method, request, call)


class Broken(Exception):
    """No answer is to be given to a call, but what a fault says."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.kind)
        self.fault = fault


def app(service: Service, node: Node) -> asgi.App:
    """Return the application: the API on `/rpc/v1`, over HTTP and WebSocket."""
    rpc = asgi.endpoint(service, websocket=True)

    async def answer(scope: asgi.Message, receive: asgi.Receive, send: asgi.Send) -> None:
        if scope["path"] != PATH:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close"})
            elif scope["path"] in _HEALTH:
                await asgi.respond(send, _HEALTH[scope["path"]], b"", "")
            else:
                await asgi.respond(send, 404, b"404 page not found\n", "text/plain; charset=utf-8")
            return
        token = asgi.call_of(scope, "http").token
        if token is not None and wallet.permissions(node.chain.secret, token) is None:
            await _refuse(scope, send)
            return
        try:
            await rpc(scope, receive, send)
        except Broken as broken:
            await _break(broken.fault, scope, send)

    return answer


async def _break(fault: Fault, scope: asgi.Message, send: asgi.Send) -> None:
    """Answer as a proxy does, or hang up."""
    if scope["type"] != "http":
        await send({"type": "websocket.close"})
    elif fault.kind == "html":
        await asgi.respond(send, 502, b"<html><body>502 Bad Gateway</body></html>", "text/html")
    else:
        # More is announced than comes, so that the server ends the connection.
        headers = [(b"content-length", b"1000"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})


async def _refuse(scope: asgi.Message, send: asgi.Send) -> None:
    """Answer a bad token: HTTP 401 and nothing else."""
    if scope["type"] == "http":
        await asgi.respond(send, 401, b"", "")
    elif "websocket.http.response" in scope.get("extensions", {}):
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b""})
    else:
        await send({"type": "websocket.close"})
