"""Memory: what peers send that nobody has judged yet, and answers that they do not read."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from anyio.abc import SocketStream
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from damocles.methods.rules import Scope
from damocles.rpc import address, callers, core, dialects, limits
from damocles.rpc.admission import access
from damocles.rpc.calling import client
from damocles.rpc.serving import server, site

MIB = 1 << 20
ANSWER_BYTES = 7 * MIB  # more than the system holds of what is unread


@pytest.fixture
def service() -> core.Service:
    """Return a service with large answers, for whoever has the token `reader`, `other` or `worker`."""

    async def identify(text: str) -> callers.Principal:
        if text not in {"reader", "other", "worker"}:
            raise callers.Unidentified("unknown token")
        scope = Scope.WORKER if text == "worker" else Scope.READ
        return callers.Principal(text, frozenset({scope}))

    async def version(call: core.Call) -> str:
        return "x" * ANSWER_BYTES if call.principal != "other" else "small"

    made = core.Service(dialects.MANAGER, guard=access.Guard(identify, help_text=""))
    made.add("Venus.Version", version)
    return made


@pytest.fixture
def gauges() -> limits.Gauges:
    """Return what shows how full the server is."""
    return limits.Gauges()


@pytest.fixture
async def bound(service: core.Service, gauges: limits.Gauges) -> AsyncIterator[address.Endpoint]:
    """Serve it."""
    async with server.serve(site.manager_app(service), "127.0.0.1", 0, grace_seconds=1, gauges=gauges) as where:
        yield where


def request_of(token: str, number: Any = 1) -> bytes:
    """Return an HTTP request."""
    body = msgspec.json.encode({"id": number, "method": "Venus.Version", "params": []})
    head = f"POST /rpc/v0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@asynccontextmanager
async def asking(bound: address.Endpoint, token: str, count: int = 1) -> AsyncIterator[SocketStream]:
    """Ask and do not read."""
    async with await anyio.connect_tcp(bound.host, bound.port) as peer:
        await peer.send(request_of(token) * count)
        yield peer


async def until(gauges: limits.Gauges, name: str, least: float) -> None:
    """Wait until a limit is so full."""
    with anyio.fail_after(60):
        while gauges.levels()[name].used < least:
            await anyio.sleep(0.01)


async def rest(peer: SocketStream) -> int:
    """Read until the end; return how much there was."""
    size = 0
    with anyio.fail_after(60), contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        while True:
            size += len(await peer.receive())
    return size


def converse(bound: address.Endpoint, token: str) -> connect:
    """Return a WebSocket to be entered."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return connect(bound.url("/rpc/v0", "ws"), additional_headers=headers, max_size=None, compression=None)


def slices(size: int) -> Iterator[bytes]:
    """Yield a message of that size in pieces."""
    for _ in range(0, size, 1000):
        yield b"x" * 1000


@pytest.mark.parametrize(("token", "most"), [("", limits.STRANGER_BYTES), ("reader", limits.FRAME_BYTES)])
async def test_frames_have_a_limit_before_they_are_judged(bound: address.Endpoint, token: str, most: int) -> None:
    """A message of a stranger is as small as the body of one, and nobody's is large, in one frame or in fragments."""
    for message in (b"x" * (most + 1), slices(most + 2000)):
        async with converse(bound, token) as peer:
            with contextlib.suppress(ConnectionClosed):
                await peer.send(message)
            # The reason is lost if it comes while there is still something to send.
            with pytest.raises(ConnectionClosed, match=r"1009 |no close frame"):
                await peer.recv()


async def test_an_unfinished_frame_is_not_kept(bound: address.Endpoint) -> None:
    """The length in a frame's head is enough to refuse it."""
    async with converse(bound, "") as peer:
        peer.transport.write(b"\x81\xff" + (15 * MIB).to_bytes(8, "big") + b"mask")
        with pytest.raises(ConnectionClosed, match="1009 "):
            await peer.recv()


async def test_a_frame_has_few_fragments(bound: address.Endpoint) -> None:
    """Fragments of nothing, without end, are no message."""
    async with converse(bound, "reader") as peer:
        with contextlib.suppress(ConnectionClosed):
            await peer.send(b"" for _ in range(limits.FRAGMENTS_OF_A_FRAME * 2))
        with pytest.raises(ConnectionClosed):
            await peer.recv()


@pytest.mark.parametrize("token", ["", "reader"])
async def test_an_id_is_short(bound: address.Endpoint, token: str) -> None:
    """An id that is long is not sent back: the request is refused without one."""
    body = msgspec.json.encode({"id": "x" * (limits.ID_CHARACTERS + 1), "method": "Venus.Version"}).decode()
    async with converse(bound, token) as peer:
        await peer.send(body)
        answer = await peer.recv()
    assert len(answer) < 500
    assert msgspec.json.decode(answer)["id"] is None


async def test_a_large_answer_arrives(bound: address.Endpoint) -> None:
    """What is sent in pieces comes out whole, on HTTP and on a WebSocket, whatever comes between."""
    async with asking(bound, "reader", 3) as peer:
        await peer.send(request_of("reader").replace(b"Host: x", b"Host: x\r\nConnection: close"))
        assert 4 * ANSWER_BYTES < await rest(peer) < 4 * ANSWER_BYTES + 4000
    async with converse(bound, "reader") as websocket:
        for _ in range(3):
            await websocket.send(b'{"id":1,"method":"Venus.Version"}')
        for _ in range(3):
            assert "x" * ANSWER_BYTES == msgspec.json.decode(await websocket.recv())["result"]


async def test_what_is_unread_has_a_limit(
    bound: address.Endpoint, gauges: limits.Gauges, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When too much waits for readers, the connection goes of which nothing was taken for the longest time."""
    monkeypatch.setattr(limits, "UNREAD_BYTES", 20 * MIB)
    async with contextlib.AsyncExitStack() as crowd:
        peers = []
        for _ in range(8):
            peers.append(await crowd.enter_async_context(asking(bound, "reader")))
            await until(gauges, "unread_bytes", min(len(peers), 2) * 3 * MIB)
            assert gauges.levels()["unread_bytes"].used <= 20 * MIB
        async with converse(bound, "other") as other:
            await other.send(b'{"id":1,"method":"Venus.Version"}')
            assert "small" == msgspec.json.decode(await other.recv())["result"]
        assert ANSWER_BYTES < await rest_of_answer(peers[-1])
        assert ANSWER_BYTES > await rest(peers[0])
    assert gauges.met()["unread_bytes"] >= 1


async def rest_of_answer(peer: SocketStream) -> int:
    """Read one answer."""
    size = 0
    with anyio.fail_after(60), contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        while size <= ANSWER_BYTES:
            size += len(await peer.receive())
    return size


async def test_who_takes_nothing_is_dropped(
    bound: address.Endpoint, gauges: limits.Gauges, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that takes nothing for a while loses its connection, and its answer is forgotten."""
    monkeypatch.setattr(limits, "UNREAD_SECONDS", 0.2)
    async with asking(bound, "reader"), converse(bound, "worker"):
        with anyio.fail_after(60):
            while gauges.met().get("unread_bytes", 0) < 1 or gauges.levels()["unread_bytes"].used:
                await anyio.sleep(0.01)


async def test_who_asks_for_more_without_reading_is_dropped(
    bound: address.Endpoint, gauges: limits.Gauges, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a WebSocket many answers can wait at once: not with so much unread."""
    monkeypatch.setattr(limits, "UNREAD_OF_A_CONNECTION_BYTES", ANSWER_BYTES)
    async with converse(bound, "reader") as peer:
        peer.transport.pause_reading()
        for _ in range(20):
            await peer.send(b'{"id":1,"method":"Venus.Version"}')
        with anyio.fail_after(60):
            while gauges.met().get("unread_bytes", 0) < 1:
                await anyio.sleep(0.01)
        assert gauges.levels()["unread_bytes"].used <= 3 * ANSWER_BYTES


async def test_half_heads_and_large_bodies_cost_strangers_only(bound: address.Endpoint, gauges: limits.Gauges) -> None:
    """Beside strangers with half heads, bodies without end and wrong protocols others are answered."""
    garbage = [b"POST /rpc", b"\x16\x03\x01\x02\x00\x01\x00", request_of("")[:-10], b"A: " + b"x" * 100_000]
    large = b"POST /rpc/v0 HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n" + b"x" * 200_000
    async with contextlib.AsyncExitStack() as crowd:
        for said in [*garbage, large] * 20:
            peer = await crowd.enter_async_context(await anyio.connect_tcp(bound.host, bound.port))
            with contextlib.suppress(anyio.BrokenResourceError):
                await peer.send(said)
        async with converse(bound, "other") as other:
            await other.send(b'{"id":1,"method":"Venus.Version"}')
            assert "small" == msgspec.json.decode(await other.recv())["result"]
        assert 0 == gauges.levels()["bodies_of_a_token_bytes"].used


async def test_bodies_of_a_token_are_refused(bound: address.Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that sends too much at once is told to try again later."""
    monkeypatch.setattr(limits, "BODIES_OF_A_TOKEN_BYTES", 100_000)
    head = b"POST /rpc/v0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer reader\r\nContent-Length: 200000\r\n\r\n"
    async with await anyio.connect_tcp(bound.host, bound.port) as peer:
        await peer.send(head + b"x" * 150_000)
        assert b"503 " in await peer.receive()


async def test_memory_of_many_requests_is_given_back(bound: address.Endpoint, gauges: limits.Gauges) -> None:
    """After thousands of calls on connections that come and go nothing of them is counted, or kept, any more."""

    async def some(connections: int) -> None:
        for _ in range(connections):
            async with client.connect(bound.url("/rpc/v0"), token="other") as reader:
                for _ in range(10):
                    assert "small" == await reader.call("Venus.Version", returns=str)

    await some(10)
    before = resident_bytes()
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(some, 5)
    with anyio.fail_after(60):
        while any(level.used for level in gauges.levels().values()):
            await anyio.sleep(0.01)
    assert resident_bytes() - before < 20 * MIB


def resident_bytes() -> int:
    """Return how much memory this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
