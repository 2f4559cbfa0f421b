"""A node that answers as a recorded one did, byte for byte but for ids."""

import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
from tests.golden.chain import recordings

from damocles.rpc.serving import server

Scope = dict[str, Any]
Answer = tuple[int, bytes]


class Replay:
    """An ASGI application.

    Answers are by method and parameters, or by method alone. `faults` are taken one by one before any answer: what
    comes instead, or seconds that it takes longer.
    `requests` are the calls that came, with the token. `dialogues` are lists of frames, one for each subscription.
    """

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Answer] = {}
        self._always: dict[str, Callable[[list[Any]], dict[str, Any]]] = {}
        self.faults: list[Answer | float] = []
        self.requests: list[tuple[dict[str, Any], str | None]] = []
        self.dialogues: list[list[Any]] = []
        self.token: str | None = None
        self.hung_up = anyio.Event()

    def load(self) -> None:
        """Take all recorded exchanges; the first of several with the same request counts."""
        for row in recordings.rows("exchanges"):
            request, answer = row["request"], row["answer"]
            body = b"" if "_not_json" in answer else json.dumps(answer).encode()
            self.answers.setdefault(key_of(request["method"], request.get("params", [])), (row["status"], body))

    def answer(self, method: str, result: Any) -> None:
        """Let a method have a result, whatever its parameters; a function gets these."""
        self._always[method] = lambda params: {"result": result(params) if callable(result) else result}

    def refuse(self, method: str, text: str) -> None:
        """Let a method fail, whatever its parameters."""
        self._always[method] = lambda _: {"error": {"code": 1, "message": text}}

    def methods(self) -> list[str]:
        """Return the methods that were called, in order."""
        return [request["method"].removeprefix("Filecoin.") for request, _ in self.requests]

    async def __call__(
        self, scope: Scope, receive: Callable[[], Awaitable[Scope]], send: Callable[[Scope], Awaitable[None]]
    ) -> None:
        """Answer a request."""
        token = dict(scope["headers"]).get(b"authorization")
        shown = None if token is None else token.decode().removeprefix("Bearer ")
        if scope["type"] == "websocket":
            await self._subscribe(receive, send, shown)
            return
        body, more = b"", True
        while more:
            event = await receive()
            body += event.get("body", b"")
            more = event.get("more_body", False)
        request = json.loads(body)
        self.requests.append((request, shown))
        status, answer = await self._answer(request, shown)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": answer})

    async def _answer(self, request: dict[str, Any], token: str | None) -> Answer:
        if self.faults:
            fault = self.faults.pop(0)
            if not isinstance(fault, float):
                return fault
            await anyio.sleep(fault)
        if self.token is not None and token not in {self.token, None}:
            return 401, b""
        method, params = request["method"], request["params"]
        short = method.removeprefix("Filecoin.")
        if short in self._always:
            return 200, json.dumps({"id": request["id"], "jsonrpc": "2.0", **self._always[short](params)}).encode()
        found = self.answers.get(key_of(method, params))
        if found is None:
            error = {"code": -32601, "message": f"method '{method}' not found"}
            return 500, json.dumps({"error": error, "id": request["id"], "jsonrpc": "2.0"}).encode()
        return found

    async def _subscribe(self, receive: Any, send: Any, token: str | None) -> None:
        await receive()
        if self.token is not None and token not in {self.token, None}:
            await send({"type": "websocket.close", "code": 1000})
            return
        await send({"type": "websocket.accept"})
        request = json.loads((await receive())["text"])
        self.requests.append((request, token))
        for frame in self.dialogues.pop(0) if self.dialogues else []:
            await send({"type": "websocket.send", "text": json.dumps(frame)})
        if self.dialogues:
            await send({"type": "websocket.close", "code": 1001})  # and the next dialogue is for the next connection
            return
        while (await receive())["type"] != "websocket.disconnect":
            pass
        self.hung_up.set()


def key_of(method: str, params: Any) -> tuple[str, str]:
    """Return what a request is about: the same whatever the letter of addresses, or what is said twice."""
    return method, json.dumps(plain(params), sort_keys=True)


def plain(value: Any) -> Any:
    """Return parameters in one of the ways that Lotus reads alike: addresses with `t`, nothing for what is not set.

    Ids of messages are left out; they follow from them.
    """
    if isinstance(value, dict):
        inner = {
            key: plain(item) for key, item in value.items() if key != "CID" or not {"Method", "Signature"} & set(value)
        }
        return {key: item for key, item in inner.items() if item is not None and item is not False}
    if isinstance(value, list):
        return [plain(inner) for inner in value] or None
    if isinstance(value, str) and value[:2] in {"f0", "f1", "f2", "f3", "f4"}:
        return f"t{value[1:]}"
    return value


@contextlib.asynccontextmanager
async def serve(replay: Replay, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Yield the URL of a node while the block runs."""
    async with server.serve(replay, "127.0.0.1", 0, grace_seconds=0, tls=tls) as where:  # type: ignore[arg-type]
        yield where.url("/rpc/v1", "https" if tls else "http")
