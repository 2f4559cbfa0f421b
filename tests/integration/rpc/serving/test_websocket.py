"""The manager's WebSocket, seen by a real WebSocket client."""

from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from damocles.rpc import address, core
from damocles.rpc.serving import server, site
from damocles.wire import fleet

GOLDEN = Path(__file__).parents[3] / "golden" / "rpc"


def url(where: address.Endpoint, path: str = "/rpc/v0") -> str:
    """Return the URL of a WebSocket."""
    return where.url(path, "ws")


async def exchange(peer: ClientConnection, method: str, *params: Any) -> dict[str, Any]:
    """Make one call."""
    await peer.send(msgspec.json.encode({"id": 1, "method": method, "params": params}).decode())
    return msgspec.json.decode(await peer.recv(), type=dict[str, Any])


async def test_the_original_command_line_is_served(manager: core.Service) -> None:
    """What the manager's own commands send, with `meta`, is answered byte for byte as v0.13.1 does."""
    info = fleet.WorkerInfo("worker-1", "127.0.0.1:17890", "v0.11.0-fake", fleet.Summary(5, 2, 0, 3, 1, 1))
    pinged = fleet.PingInfo(info, 1795538772)

    async def listing() -> list[fleet.PingInfo]:
        return [pinged]

    async def one(name: str) -> fleet.PingInfo | None:
        return pinged if name == "worker-1" else None

    manager.add("Venus.WorkerPingInfoList", listing)
    manager.add("Venus.WorkerGetPingInfo", one)
    lines = (GOLDEN / "manager_cli_websocket.txt").read_text().splitlines()
    sent = [line[2:] for line in lines if line.startswith("> ")]
    recorded = [line[2:] for line in lines if line.startswith("< ")]

    async with server.serve(site.manager_app(manager), "127.0.0.1", 0) as where, connect(url(where)) as peer:
        heard = []
        for frame in sent:
            await peer.send(frame)
            heard.append(await peer.recv())

    assert recorded == [str(frame).rstrip("\n") for frame in heard]


async def test_streams(manager_at: address.Endpoint) -> None:
    """A stream arrives as text frames: channel, values, close."""
    async with connect(url(manager_at)) as peer:
        first = await exchange(peer, "Venus.Count", 3)
        frames = [await peer.recv() for _ in range(4)]

    assert 1 == first["result"]
    assert all(isinstance(frame, str) for frame in frames)
    decoded = [msgspec.json.decode(frame) for frame in frames]
    assert [[1, 0], [1, 1], [1, 2], [1]] == [frame["params"] for frame in decoded]


async def test_binary_frames_are_read_too(manager_at: address.Endpoint) -> None:
    """As in Go, the kind of a frame does not matter."""
    async with connect(url(manager_at)) as peer:
        await peer.send(b'{"id":1,"method":"Venus.Version"}')

        assert "v0.13.1" == msgspec.json.decode(await peer.recv())["result"]


async def test_handlers_know_the_peer(manager_at: address.Endpoint) -> None:
    """Peer and token of the handshake hold for each call of the connection."""
    async with connect(url(manager_at), additional_headers={"Authorization": "Bearer abc"}) as peer:
        transport, address_of_peer, token = (await exchange(peer, "Venus.Whoami"))["result"]

    assert ("websocket", "127.0.0.1", "abc") == (transport, address_of_peer.split(":")[0], token)


async def test_large_frames_are_refused(manager: core.Service) -> None:
    """A frame over the limit ends the connection, not the server."""
    async with server.serve(site.manager_app(manager), "127.0.0.1", 0) as where:
        async with connect(url(where), max_size=None) as peer:
            with pytest.raises(websockets.ConnectionClosedError) as closed:
                await exchange(peer, "x" * (16 << 20))
        async with connect(url(where)) as peer:
            assert "v0.13.1" == (await exchange(peer, "Venus.Version"))["result"]

    assert closed.value.rcvd is not None
    assert 1009 == closed.value.rcvd.code


@pytest.mark.parametrize("path", ["/", "/rpc/v1"])
async def test_other_paths_have_no_websocket(manager_at: address.Endpoint, path: str) -> None:
    """A handshake elsewhere is refused."""
    with pytest.raises(websockets.InvalidStatus):
        async with connect(url(manager_at, path)):
            pass


async def test_workers_have_no_websocket(worker_at: address.Endpoint) -> None:
    """A worker's control API is HTTP only."""
    with pytest.raises(websockets.InvalidStatus):
        async with connect(url(worker_at)):
            pass


async def test_hanging_up_cancels_calls(manager: core.Service) -> None:
    """A call whose peer vanishes is cancelled."""
    started, cancelled = anyio.Event(), anyio.Event()

    async def hang() -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    manager.add("Venus.Hang", hang)
    async with server.serve(site.manager_app(manager), "127.0.0.1", 0) as where:
        peer = await connect(url(where))
        await peer.send('{"id":1,"method":"Venus.Hang"}')
        await started.wait()
        peer.transport.abort()
        with anyio.fail_after(60):
            await cancelled.wait()


async def test_stopping_closes_conversations(manager: core.Service) -> None:
    """When the server stops, peers are told so, and it does not wait out its grace for them."""
    async with server.serve(site.manager_app(manager), "127.0.0.1", 0, grace_seconds=50) as where:
        peer = await connect(url(where))
        await exchange(peer, "Venus.Version")
    with pytest.raises(websockets.ConnectionClosed) as closed:
        await peer.recv()

    assert closed.value.rcvd is not None
    assert 1012 == closed.value.rcvd.code


async def test_silent_peers_are_dropped(manager: core.Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that answers no ping is disconnected, and its calls are cancelled."""
    monkeypatch.setattr(server, "PING_SECONDS", 0.5)
    monkeypatch.setattr(server, "PONG_SECONDS", 1.0)
    started, cancelled = anyio.Event(), anyio.Event()

    async def hang() -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    manager.add("Venus.Hang", hang)
    handshake = (
        b"GET /rpc/v0 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: 4akZRFi3DuJ6aHYl39r0EQ==\r\n\r\n"
    )
    frame = b'{"id":1,"method":"Venus.Hang"}'
    masked = bytes([0x81, 0x80 | len(frame), 0, 0, 0, 0]) + frame
    async with (
        server.serve(site.manager_app(manager), "127.0.0.1", 0) as where,
        await anyio.connect_tcp(where.host, where.port) as peer,
    ):
        with anyio.fail_after(60):
            await peer.send(handshake)
            assert (await peer.receive()).startswith(b"HTTP/1.1 101 ")
            await peer.send(masked)
            await started.wait()
            await cancelled.wait()
