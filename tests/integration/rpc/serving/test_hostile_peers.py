"""Slow, malformed and too many peers, and what they cannot do to others."""

import asyncio
import contextlib
import errno
import os
import resource
import socket
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog.testing
from anyio.abc import SocketStream

from damocles.methods import Ask
from damocles.rpc import address, core, errors, limits
from damocles.rpc.calling import client
from damocles.rpc.serving import places, protocols, server, site

HEAD = b"POST /rpc/v0 HTTP/1.1\r\nHost: x\r\n"


async def rest(peer: SocketStream) -> bytes:
    """Return what the server sends until it closes the connection."""
    said = b""
    with anyio.fail_after(60), contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        while True:
            said += await peer.receive()
    return said


async def drip(peer: SocketStream) -> None:
    """Send the first letter of a head now and then, until the server closes the connection."""
    with contextlib.suppress(anyio.BrokenResourceError, anyio.EndOfStream):
        while True:
            await peer.send(b"P")
            with anyio.move_on_after(0.05):
                await peer.receive()


async def healthy(where: address.Endpoint) -> bool:
    """Whether another peer is still served."""
    async with client.connect(address.manager_url(str(where)), timeout_seconds=10) as other:
        return await other.call(Ask("Venus.Echo", ["x"], str)) == "x"


@pytest.mark.parametrize("head", [b"", b"POST /rpc", HEAD])
async def test_slow_heads_are_cut_off(manager: core.Service, monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    """A connection that does not complete the head of its first request in time is closed."""
    monkeypatch.setattr(protocols, "HEAD_SECONDS", 1.0)
    async with server.serve(site.manager_app(manager), "127.0.0.1", 0) as where:
        async with await anyio.connect_tcp(where.host, where.port) as peer:
            await peer.send(head)
            assert b"" == await rest(peer)
        assert await healthy(where)


async def test_dripping_heads_are_cut_off(manager: core.Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sending a byte now and then does not extend the time, neither on the first request nor on a later one."""
    monkeypatch.setattr(protocols, "HEAD_SECONDS", 1.0)
    request = b'{"id":1,"method":"Venus.Version"}'
    async with server.serve(site.manager_app(manager), "127.0.0.1", 0) as where:
        for first in (b"", HEAD + b"Content-Length: %d\r\n\r\n" % len(request) + request):
            async with await anyio.connect_tcp(where.host, where.port) as peer:
                await peer.send(first)
                with anyio.fail_after(60):
                    await drip(peer)


async def test_slow_bodies_are_cut_off(manager: core.Service) -> None:
    """A body that does not arrive in time is HTTP 408 with an error, and the connection is closed."""
    app = site.manager_app(manager, body_seconds=1.5)
    async with server.serve(app, "127.0.0.1", 0) as where, await anyio.connect_tcp(where.host, where.port) as peer:
        await peer.send(HEAD + b'Content-Length: 100\r\n\r\n{"id":1,')
        said = await rest(peer)

        assert said.startswith(b"HTTP/1.1 408 ")
        assert b"did not arrive within 1.5 s" in said
        assert await healthy(where)


async def test_a_kept_connection_outlives_the_limits(manager: core.Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit on heads does not touch a connection that rests between requests, nor a long call."""
    monkeypatch.setattr(protocols, "HEAD_SECONDS", 1.0)
    async with (
        server.serve(site.manager_app(manager, body_seconds=1.0), "127.0.0.1", 0) as where,
        client.connect(address.manager_url(str(where))) as peer,
    ):
        first = (await peer.call("Venus.Whoami", returns=list[Any]))[1]
        assert "waited" == await peer.call("Venus.Wait", [1.5], returns=str)
        await anyio.sleep(1.5)
        assert first == (await peer.call("Venus.Whoami", returns=list[Any]))[1]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS client
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x00" * 100,
        b"POST /rpc/v0 HTTP/1.1\r\nContent-Length: -1\r\nHost: x\r\n\r\n",
        b"POST /rpc/v0 HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 100_000 + b"\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_not_http_is_refused(manager_at: address.Endpoint, garbage: bytes) -> None:
    """Bytes that are no HTTP get a refusal and the end of the connection."""
    async with await anyio.connect_tcp(manager_at.host, manager_at.port) as peer:
        with contextlib.suppress(anyio.BrokenResourceError):
            await peer.send(garbage)
            await peer.send_eof()
        said = await rest(peer)

    assert said == b"" or said.startswith(b"HTTP/1.1 4")
    assert await healthy(manager_at)


async def test_vanishing_peers_do_not_harm(manager_at: address.Endpoint) -> None:
    """Peers that go in the middle of a head, a body or an answer leave the server as it was."""
    call = b'{"id":1,"method":"Venus.Wait","params":[0.1]}'
    for said in (HEAD, HEAD + b"Content-Length: 50\r\n\r\n{", HEAD + b"Content-Length: %d\r\n\r\n" % len(call) + call):
        async with await anyio.connect_tcp(manager_at.host, manager_at.port) as peer:
            await peer.send(said)

    assert await healthy(manager_at)


async def test_too_many_connections_are_turned_away(manager: core.Service) -> None:
    """When calls run on all connections, further requests get HTTP 503; when others leave, they are served again."""
    running = anyio.Semaphore(0)

    async def hang() -> None:
        running.release()
        await anyio.sleep_forever()

    manager.add("Venus.Hang", hang)
    async with server.serve(site.manager_app(manager), "127.0.0.1", 0, connections=3, grace_seconds=1) as where:
        async with anyio.create_task_group() as crowd:
            for _ in range(3):
                crowd.start_soon(hanging, where)
                await running.acquire()
            for upgrade in (b"", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"):
                async with await anyio.connect_tcp(where.host, where.port) as peer:
                    await peer.send(HEAD + upgrade + b"Content-Length: 0\r\n\r\n")
                    assert (await rest(peer)).startswith(b"HTTP/1.1 503 ")
            crowd.cancel_scope.cancel()
        with anyio.fail_after(60):
            while not await served(where):
                await anyio.sleep(0.01)


async def hanging(where: address.Endpoint) -> None:
    """Make a call that does not end."""
    async with client.connect(address.manager_url(str(where)), timeout_seconds=600) as peer:
        await peer.call("Venus.Hang")


async def test_silent_connections_make_room(manager: core.Service) -> None:
    """When all places are taken, whoever has said nothing for the longest time leaves for the one that comes."""
    async with (
        server.serve(site.manager_app(manager), "127.0.0.1", 0, connections=3) as where,
        client.connect(address.manager_url(str(where))) as known,
        await anyio.connect_tcp(where.host, where.port) as first,
        await anyio.connect_tcp(where.host, where.port) as second,
    ):
        before = (await known.call("Venus.Whoami", returns=list[Any]))[1]
        assert await healthy(where)
        assert b"" == await rest(first)
        await second.send(HEAD + b"Content-Length: 0\r\n\r\n")
        assert (await second.receive()).startswith(b"HTTP/1.1 ")
        assert before == (await known.call("Venus.Whoami", returns=list[Any]))[1]


async def test_a_host_has_few_places_for_strangers(manager: core.Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent connections from one address push out each other, long before all places are taken."""
    monkeypatch.setattr(limits, "STRANGERS_OF_A_HOST", 2)
    async with (
        server.serve(site.manager_app(manager), "127.0.0.1", 0) as where,
        await anyio.connect_tcp(where.host, where.port) as first,
        await anyio.connect_tcp(where.host, where.port),
        await anyio.connect_tcp(where.host, where.port),
    ):
        assert b"" == await rest(first)
        assert await healthy(where)


async def test_missing_descriptors_are_waited_for(manager: core.Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that cannot accept gives what it has held back, then says so once in a while, and goes on when it can."""
    loop = asyncio.get_running_loop()
    accept, failures = loop.sock_accept, [OSError(errno.EMFILE, "no more")] * (server._SPARE + 1) * 3

    async def scarce(listener: socket.socket) -> Any:
        if failures:
            raise failures.pop()
        return await accept(listener)

    monkeypatch.setattr(loop, "sock_accept", scarce)
    monkeypatch.setattr(server, "_PAUSE_SECONDS", 0.01)
    with structlog.testing.capture_logs() as logs:
        async with server.serve(site.manager_app(manager), "127.0.0.1", 0) as where:
            assert await healthy(where)
    assert ["Too many open files"] * 3 == [entry["error"] for entry in logs if "error" in entry]


async def test_spare_descriptors_are_kept_again(manager: core.Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has been held back and given to a connection is held back once more as soon as there is one to have."""
    loop = asyncio.get_running_loop()
    accept, failures = loop.sock_accept, [OSError(errno.EMFILE, "no more")]

    async def scarce(listener: socket.socket) -> Any:
        if failures:
            assert kept() == before + server._SPARE
            raise failures.pop()
        return await accept(listener)

    def kept() -> int:
        return sum(Path(entry.path).is_char_device() for entry in os.scandir("/proc/self/fd"))

    before = kept()
    monkeypatch.setattr(loop, "sock_accept", scarce)
    async with server.serve(site.manager_app(manager), "127.0.0.1", 0) as where:
        assert await healthy(where)
        assert not failures
        assert kept() == before + server._SPARE


@pytest.mark.parametrize(("limits", "places_left"), [((256, 1200), 1000), ((1024, 1024), 824), ((64, 64), 8)])
def test_all_descriptors_are_taken(monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], places_left: int) -> None:
    """The limit of the process is raised as far as it may be, and no more connections are taken than it allows."""
    wanted = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: wanted.append(both))
    assert places_left == places.affordable(1000)
    assert [(limits[1], limits[1])] * (limits[0] != limits[1]) == wanted


def test_too_few_descriptors_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The warning says how many there are, how many are needed, and how to get them; enough are not worth a word."""
    for hard, told in ((64, True), (400, True), (408, False), (resource.RLIM_INFINITY, False)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, hard=hard: (hard, hard))
        text = places.too_few(144)
        assert told is (text is not None)
        if text is not None:
            assert f"may open {hard} files and needs about 408" in text
            assert "ulimit -Hn 408, or LimitNOFILE=408" in text


async def served(where: address.Endpoint) -> bool:
    """Whether a new connection gets through; the server needs a moment to see that others have gone."""
    try:
        return await healthy(where)
    except errors.Unreachable:
        return False
