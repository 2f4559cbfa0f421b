"""Connections: what strangers, one token and one host can take of them, and who always finds a place."""

import contextlib
import json
import socket
import sqlite3
from collections.abc import AsyncIterator, Iterator

import anyio
import msgspec
import pytest
from anyio.abc import SocketStream
from tests.integration.access.conftest import Daemon, StartManager, StartWorker
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from damocles.methods.rules import Scope
from damocles.rpc import address, callers, errors, limits
from damocles.rpc.serving import places

READER = callers.Principal("reader", frozenset({Scope.READ}))
ADMIN = callers.Principal("local", frozenset({Scope.ADMIN}))
WORKERS = callers.Principal("local-worker", frozenset({Scope.WORKER}))
HERE, AWAY = "127.0.0.1", "10.0.0.9"


@pytest.fixture
def sockets() -> Iterator[contextlib.ExitStack]:
    """Close all sockets at the end."""
    with contextlib.ExitStack() as stack:
        yield stack


class House:
    """Places, and who comes to them."""

    def __init__(self, most: int, stack: contextlib.ExitStack) -> None:
        self.places = places.Places(most)
        self._stack = stack

    def comes(self, host: str, principal: callers.Principal | None = None) -> places.Place:
        """Let somebody come from a host, and show a token if it is given."""
        ours, theirs = socket.socketpair()
        self._stack.enter_context(ours)
        self._stack.enter_context(theirs)
        ours.setblocking(False)
        place = self.places.take(ours, host)
        if principal is not None:
            place.enter(principal)
        return place


def is_there(place: places.Place) -> bool:
    """Return whether a connection has been neither refused nor sent away."""
    if place.refused:
        return False
    with contextlib.suppress(BlockingIOError):
        return bool(place.connected.recv(1))
    return True


def test_a_token_has_so_many_connections(sockets: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than the limit ends the connection of the same token that has rested the longest, and nobody else's."""
    monkeypatch.setattr(limits, "CONNECTIONS_OF_A_TOKEN", 3)
    house = House(100, sockets)
    other = house.comes(AWAY, callers.Principal("other", frozenset({Scope.READ})))
    first, second, third = (house.comes(f"10.0.0.{number}", READER) for number in range(3))
    with first.call():
        pass
    fourth = house.comes(AWAY, READER)
    assert [True, False, True, True, True] == [is_there(one) for one in (first, second, third, fourth, other)]
    with contextlib.ExitStack() as calls:
        for place in (first, third, fourth):
            calls.enter_context(place.call())
        with pytest.raises(places.Full, match="reader has 3 connections already, and calls run on all of them"):
            house.comes(AWAY, READER)


def test_workers_with_one_token_have_a_limit_each(
    sockets: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that many machines share has its limit on each of them."""
    monkeypatch.setattr(limits, "CONNECTIONS_OF_A_TOKEN", 2)
    house = House(100, sockets)
    workers = [house.comes(f"10.0.0.{number}", WORKERS) for number in range(20)]
    assert all(map(is_there, workers))
    assert 1 == house.places.levels()["connections_of_a_token"].used


def test_a_host_has_so_many_connections(sockets: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tokens a host has, its connections have a limit; an admin's do not count."""
    monkeypatch.setattr(limits, "CONNECTIONS_OF_A_HOST", 3)
    house = House(100, sockets)
    guests = [house.comes(AWAY, callers.Principal(f"t{number}", frozenset({Scope.READ}))) for number in range(5)]
    admin = house.comes(AWAY, ADMIN)
    assert [False, False, True, True, True, True] == [is_there(one) for one in (*guests, admin)]


def test_whoever_has_the_most_makes_room(sockets: contextlib.ExitStack) -> None:
    """When all places are taken by peers with tokens, one that rests goes, of whoever has the most."""
    house = House(4, sockets)
    modest = house.comes(AWAY, callers.Principal("modest", frozenset({Scope.READ})))
    greedy = [house.comes(AWAY, READER) for _ in range(2)]
    late = house.comes(AWAY, callers.Principal("late", frozenset({Scope.READ})))
    assert [True, False, True, True] == [is_there(one) for one in (modest, *greedy, late)]


def test_an_admin_here_finds_a_place(sockets: contextlib.ExitStack) -> None:
    """When calls run on all connections, one from this machine still finds a place, and again when others took it."""
    house = House(8, sockets)
    with contextlib.ExitStack() as calls:
        for number in range(6):
            holder = callers.Principal(f"t{number}", frozenset({Scope.READ}))
            calls.enter_context(house.comes(AWAY, holder).call())
        assert not is_there(house.comes(AWAY))
        local = [house.comes(HERE, callers.Principal(f"l{number}", frozenset({Scope.READ}))) for number in range(4)]
        for place in filter(is_there, local):
            calls.enter_context(place.call())
        admins = [house.comes(host, ADMIN) for host in (HERE, "::1", "::ffff:127.0.0.1")]
        strangers = [house.comes(HERE) for _ in range(20)]
        assert is_there(admins[-1])
        assert 1 == sum(map(is_there, strangers))
        assert is_there(house.comes(HERE, ADMIN))


def test_calls_of_a_token_have_a_limit(sockets: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many calls of one token run at once, on however many connections; those of others run beside."""
    monkeypatch.setattr(limits, "CALLS_OF_A_TOKEN", 2)
    house = House(100, sockets)
    with contextlib.ExitStack() as calls:
        for _ in range(2):
            calls.enter_context(house.comes(AWAY, READER).call())
        with (
            pytest.raises(places.Full, match="2 calls of reader are running already"),
            house.comes(AWAY, READER).call(),
        ):
            pass
        with house.comes(AWAY, ADMIN).call():
            assert 2 == house.places.levels()["calls_of_a_token"].used
    with house.comes(AWAY, READER).call():
        pass
    assert {} == house.places.calls


def test_bodies_of_a_token_have_a_limit(sockets: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many bytes of requests of one token are held at once; they are given back with the answer."""
    monkeypatch.setattr(limits, "BODIES_OF_A_TOKEN_BYTES", 100)
    house = House(100, sockets)
    with house.comes(AWAY, READER).body() as first, house.comes(AWAY, READER).body() as second:
        first(60)
        with pytest.raises(places.Full, match="reader sends more than 100 bytes at once"):
            second(60)
    assert {} == house.places.bodies


@contextlib.asynccontextmanager
async def kept_alive(manager: Daemon, token: str, count: int) -> AsyncIterator[list[SocketStream]]:
    """Hold connections, each with one answered call behind it."""
    body = msgspec.json.encode({"id": 1, "method": "Venus.Version", "params": []})
    head = (
        f"POST /rpc/v0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    where = address.host_port(manager.url.removeprefix("http://").removesuffix("/rpc/v0"), 0)
    async with contextlib.AsyncExitStack() as stack:
        peers = []
        for _ in range(count):
            peer = await stack.enter_async_context(await anyio.connect_tcp(where.host, where.port))
            await peer.send(head.encode() + body)
            assert (await peer.receive()).startswith(b"HTTP/1.1 200 ")
            peers.append(peer)
        yield peers


async def ended(peer: SocketStream) -> bool:
    """Wait until a connection is closed."""
    with anyio.fail_after(60), contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        while True:
            await peer.receive()
    return True


async def test_a_leaked_token_takes_no_places_of_others(
    start_manager: StartManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more connections than there are places a token has its share, and can be revoked; that ends them all."""
    monkeypatch.setattr(limits, "CONNECTIONS", 40)
    monkeypatch.setattr(limits, "CONNECTIONS_OF_A_TOKEN", 10)
    async with start_manager() as manager:
        leaked, other = await manager.create("leaked", Scope.READ), await manager.create("other", Scope.READ)
        async with kept_alive(manager, other, 1) as others, kept_alive(manager, leaked, 60) as held:
            assert [True] * 50 == [await ended(peer) for peer in held[:50]]
            await manager.call("Damocles.AuthRevoke", "leaked")
            assert [True] * 10 == [await ended(peer) for peer in held[50:]]
            with anyio.move_on_after(0.1) as waiting:
                await others[0].receive()
            assert waiting.cancelled_caught
            with pytest.raises(errors.RpcError, match="was revoked"):
                await manager.call("Venus.Version", token=leaked)


async def test_a_workers_connections_end_too(start_worker: StartWorker) -> None:
    """A worker's own admin finds a place beside a leaked token, and revokes it."""
    async with start_worker() as worker:
        leaked = await worker.create("leaked", Scope.READ)
        async with worker.client(leaked) as reader:
            await reader.call("VenusWorker.WorkerVersion", returns=str)
            await worker.call("Damocles.AuthRevoke", "leaked")
            with pytest.raises(errors.RpcError, match="was revoked"):
                await reader.call("VenusWorker.WorkerVersion", returns=str)


def converse(manager: Daemon, token: str) -> connect:
    """Return a WebSocket to be entered."""
    url = manager.url.replace("http", "ws")
    return connect(url, additional_headers={"Authorization": f"Bearer {token}"}, max_size=None)


async def closed(peer: ClientConnection) -> str:
    """Wait until a WebSocket is closed, and return why."""
    with anyio.fail_after(60):
        await peer.wait_closed()
    with pytest.raises(ConnectionClosed) as why:
        await peer.recv()
    return str(why.value)


async def test_an_expired_token_ends_its_websocket(start_manager: StartManager) -> None:
    """When a token expires, its connections are closed though nobody calls."""
    async with start_manager() as manager:
        token = await manager.create("short", Scope.READ, 1.0)
        async with converse(manager, token) as peer:
            assert "the token is no longer valid" in await closed(peer)


async def test_whoever_revokes_its_own_token_gets_the_answer(start_manager: StartManager) -> None:
    """The answer to the call that ends the caller's own token is still sent, on HTTP and on a WebSocket."""
    body = {"id": 1, "method": "Damocles.AuthRevoke", "params": ["boss", True]}
    async with start_manager() as manager:
        async with manager.client(await manager.create("boss", Scope.ADMIN)) as boss:
            assert await boss.call("Damocles.AuthRevoke", ["boss", True], returns=list)
        async with converse(manager, await manager.create("boss", Scope.ADMIN)) as peer:
            await peer.send(msgspec.json.encode(body).decode())
            assert "boss" == msgspec.json.decode(await peer.recv())["result"][0]["name"]
            assert "the token is no longer valid" in await closed(peer)


async def test_a_token_that_another_manager_revoked_loses_its_connections(start_manager: StartManager) -> None:
    """When tokens are read again, connections of those that are good for nothing are closed."""
    async with start_manager() as manager:
        token = await manager.create("leaked", Scope.READ)
        async with converse(manager, token) as peer:
            with anyio.fail_after(60):
                await (await peer.ping())
            with contextlib.closing(sqlite3.connect(manager.home / "manager.db")) as database, database:
                database.execute("UPDATE tokens SET revoked = 1 WHERE name = 'leaked'")
            await manager.call("Damocles.AuthList")
            assert "the token is no longer valid" in await closed(peer)


async def test_a_token_has_few_websockets(start_manager: StartManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """A WebSocket beyond the limit is closed with the reason."""
    monkeypatch.setattr(limits, "WEBSOCKETS_OF_A_TOKEN", 2)
    async with start_manager() as manager:
        token = await manager.create("reader", Scope.READ)
        async with converse(manager, token) as first, converse(manager, token) as second:
            for peer in (first, second):  # counted once they are known, which takes a look into the database
                await peer.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "Venus.Version", "params": []}))
                assert b"result" in await peer.recv(decode=False)
            async with converse(manager, token) as third:
                assert "1013 (try again later) reader has 2 WebSockets, the most it may have" in await closed(third)


async def test_calls_beyond_the_limit_are_to_be_repeated(
    start_manager: StartManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call above a token's limit is refused as a server does that is too busy, so that workers try again."""
    monkeypatch.setattr(limits, "CALLS_OF_A_TOKEN", 0)
    monkeypatch.setattr(limits, "REFUSED_SECONDS", 0.0)
    async with start_manager() as manager:
        with pytest.raises(
            errors.Unreachable, match="HTTP 503, '0 calls of local are running already: try again later'"
        ):
            await manager.call("Venus.Version")
