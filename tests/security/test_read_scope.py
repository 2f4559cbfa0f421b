"""Scope read: what its holder can have the manager do, and see."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest
from anyio.abc import SocketAttribute, SocketStream
from tests.integration.access.conftest import StartManager

from damocles.manager.fleet import peers as fleet_peers
from damocles.methods.rules import Scope
from damocles.operating import dialogues
from damocles.rpc import core, dialects, errors, limits, messages
from damocles.rpc.calling import client
from damocles.rpc.serving import asgi, server
from damocles.wire import control, fleet

SECRET = "INTERNAL-METADATA-SECRET"


@asynccontextmanager
async def foreign(answer: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Run what is no worker, on loopback; yield its address and what it heard."""
    heard: list[bytes] = []

    async def talk(peer: SocketStream) -> None:
        async with peer:
            heard.append(await peer.receive())
            await peer.send(answer.encode())

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, talk)
        yield f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}", heard
        tasks.cancel_scope.cancel()


def answer_of(status: str, body: str) -> str:
    """Return an HTTP answer."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"


ASKS: list[tuple[str, Callable[[str], list[Any]]]] = [
    ("Damocles.FleetThreads", lambda dest: [{"workers": [dest]}]),
    ("Damocles.WorkerLogs", lambda dest: [dest, 0]),
    ("Damocles.WorkerDrainState", lambda dest: [dest]),
]


@pytest.mark.parametrize(("method", "params"), ASKS)
async def test_a_reader_does_not_choose_where_the_manager_calls(
    start_manager: StartManager, method: str, params: Callable[[str], list[Any]]
) -> None:
    """With scope read an address where no worker is registered is refused with the names of those that are."""
    async with foreign(answer_of("200 OK", SECRET)) as (dest, heard), start_manager() as manager:
        token = await manager.create("reader", Scope.READ)
        await manager.call("Venus.WorkerPing", fleet.WorkerInfo("w1", "127.0.0.1:9"))
        for where in (dest, f"http://{dest}", f"https://{dest}", "metadata.example:80"):
            with pytest.raises(errors.RpcError, match=r"known workers: w1; .* requires scope operate") as refused:
                await manager.call(method, *params(where), token=token)
            assert errors.Code.UNKNOWN_WORKER == refused.value.code
        assert [] == heard


async def test_a_reader_asks_registered_workers_by_name_and_address(start_manager: StartManager) -> None:
    """What is registered is asked with scope read, by its name, its address, or a URL of it."""
    service = core.Service(dialects.WORKER)

    async def threads() -> list[control.ThreadDetail]:
        return []

    service.add("Damocles.Threads", threads)
    async with start_manager() as manager, server.serve(asgi.worker_app(service), "127.0.0.1", 0) as bound:
        token = await manager.create("reader", Scope.READ)
        await manager.call("Venus.WorkerPing", fleet.WorkerInfo("w1", str(bound)))
        for name in ("w1", "w*", str(bound), f"http://{bound}"):
            told = await manager.call("Damocles.FleetThreads", {"workers": [name]}, token=token)
            assert {"threads": [], "silent": []} == told


@pytest.mark.parametrize(
    "said",
    [
        answer_of("200 OK", SECRET),
        answer_of("503 Busy", SECRET),
        answer_of("307 Elsewhere", SECRET),
        f"{SECRET}\r\n\r\n",
        answer_of("200 OK", f'{{"id":1,"result":"{SECRET}"}}'),
    ],
)
async def test_what_is_no_answer_is_not_shown(start_manager: StartManager, said: str) -> None:
    """The reason why a worker is silent has nothing of what was at its address, whoever asks."""
    async with foreign(said) as (dest, heard), start_manager() as manager:
        await manager.call("Venus.WorkerPing", fleet.WorkerInfo("w1", dest))
        for chosen in ({"all": True}, {"workers": ["w1"]}, {"workers": [dest]}):
            told = await manager.call("Damocles.FleetThreads", chosen)
            (silent,) = told["silent"]
            assert (
                "gave no valid JSON-RPC answer" in silent["reason"]
                or "cannot be reached: HTTP 503;" in silent["reason"]
            )
            assert SECRET not in str(told)
        with pytest.raises(errors.RpcError) as refused:
            await manager.call("Damocles.WorkerLogs", "w1", 0)
        assert SECRET not in refused.value.message
        assert heard


async def test_a_refusal_of_a_worker_is_cut(start_manager: StartManager) -> None:
    """The text of a worker's error is shown, but not megabytes of it."""
    body = '{"id":1,"error":{"code":1,"message":"' + "x" * 100_000 + '"}}'
    async with foreign(answer_of("200 OK", body)) as (dest, _), start_manager() as manager:
        await manager.call("Venus.WorkerPing", fleet.WorkerInfo("w1", dest))
        told = await manager.call("Damocles.FleetThreads", {"all": True})
        assert "x" * limits.REFUSAL_CHARACTERS + "…" == told["silent"][0]["reason"]


async def test_a_call_names_few_addresses(start_manager: StartManager) -> None:
    """With scope operate some addresses are asked that nobody registered, and with no scope many."""
    async with start_manager() as manager:
        dests = [f"127.0.0.1:{port}" for port in range(1, limits.ADDRESSES + 2)]
        token = await manager.create("operator", Scope.OPERATE)
        told = await manager.call("Damocles.FleetThreads", {"workers": dests[:-1]}, token=token)
        assert dests[:-1] == [silent["worker"] for silent in told["silent"]]
        with pytest.raises(errors.RpcError, match="more than 16 addresses of no registered worker"):
            await manager.call("Damocles.FleetThreads", {"workers": dests}, token=token)


@pytest.mark.parametrize(
    ("what", "most"),
    [("workers", limits.NAMES_OF_WORKERS), ("sectors", limits.OTHER_NAMES), ("states", limits.OTHER_NAMES)],
)
async def test_a_selection_names_so_many(start_manager: StartManager, what: str, most: int) -> None:
    """A list of names that would hold up everybody while threads are compared with it is refused."""
    async with start_manager() as manager:
        with pytest.raises(errors.RpcError, match=rf"Expected `array` of length <= {most} - at `\$.{what}`"):
            await manager.call("Damocles.FleetThreads", {what: ["x"] * (most + 1)})


class Clients:
    """Makes clients, and counts those that are open."""

    def __init__(self) -> None:
        self.open: set[str] = set()

    @asynccontextmanager
    async def __call__(self, dest: str, answers: client.Answers) -> AsyncIterator[client.Client]:
        """Count a client while it is open."""
        async with fleet_peers.connect(dest, answers) as made:
            self.open.add(dest)
            yield made
            self.open.remove(dest)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_clients_of_workers_are_bounded(scheme: str) -> None:
    """However many addresses are asked, so many clients are kept: those of the last ones; a busy one is not closed."""
    clients = Clients()
    async with fleet_peers.open_peers(clients, most=3) as peers, peers.client(f"{scheme}://127.0.0.1:1"):
        for port in range(2, 20):
            with pytest.raises(dialogues.Unanswered):
                await peers.hold(f"{scheme}://127.0.0.1:{port}", dialogues.threads(0.0), 5)
            assert len(peers) == len(clients.open) <= 3
        assert {f"{scheme}://127.0.0.1:{port}" for port in (1, 18, 19)} == clients.open
    assert set() == clients.open


async def test_https_clients_share_what_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """The authorities of the system are loaded once for all clients of workers."""
    contexts: list[ssl.SSLContext] = []
    made = httpx2.AsyncHTTPTransport

    def spy(*, verify: ssl.SSLContext, **options: Any) -> Any:
        contexts.append(verify)
        return made(verify=verify, **options)

    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", spy)
    async with fleet_peers.open_peers() as peers:
        for port in range(1, 6):
            async with peers.client(f"https://127.0.0.1:{port}"):
                pass
    assert 5 == len(contexts)
    assert 1 == len(set(contexts))


async def test_large_answers_of_workers_are_refused(start_manager: StartManager) -> None:
    """A worker's answer above the limit is not read on; what it costs is named as the reason."""
    body = '{"id":1,"result":[]' + " " * limits.WORKER_ANSWER_BYTES + "}"
    async with foreign(answer_of("200 OK", body)) as (dest, _), start_manager() as manager:
        await manager.call("Venus.WorkerPing", fleet.WorkerInfo("evil", dest))
        told = await manager.call("Damocles.FleetThreads", {"all": True})
        assert f"more than {limits.WORKER_ANSWER_BYTES} bytes" in told["silent"][0]["reason"]


def test_answers_together_are_limited() -> None:
    """When all answers that come in are too large together, the largest is given up and the others arrive."""
    answers = client.Answers(100, 150)
    with answers.one() as large, answers.one() as small:
        answers.add(large, b"x" * 90, "large")
        answers.add(small, b"x" * 50, "small")
        answers.add(small, b"y" * 20, "small")
        assert b"x" * 50 + b"y" * 20 == small.data
        assert 70 == answers.held_bytes
        with pytest.raises(errors.BadAnswer, match="larger than 150 bytes together"):
            answers.add(large, b"", "large")
    assert 0 == answers.held_bytes
    assert messages.ANSWER_LIMIT_BYTES > limits.WORKER_ANSWERS_BYTES > limits.WORKER_ANSWER_BYTES


async def test_who_is_evil_costs_its_own_answer(start_manager: StartManager) -> None:
    """Workers that answer nested, of wrong types, by redirects or not at all are silent; a good one is shown."""
    nested = '{"id":1,"result":' + "[" * 200_000 + "]" * 200_000 + "}"
    wrong = '{"id":1,"result":[{"info":7}]}'
    redirect = "HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:{port}/\r\nContent-Length: 0\r\n\r\n"
    service = core.Service(dialects.WORKER)

    async def threads() -> list[control.ThreadDetail]:
        return []

    service.add("Damocles.Threads", threads)
    async with (
        foreign("") as (target, heard),
        foreign(redirect.format(port=target.rpartition(":")[2])) as (redirecting, _),
        foreign(answer_of("200 OK", nested)) as (deep, _),
        foreign(answer_of("200 OK", wrong)) as (typed, _),
        server.serve(asgi.worker_app(service), "127.0.0.1", 0) as good,
        dripping() as drips,
        start_manager() as manager,
    ):
        evil = {"redirecting": redirecting, "deep": deep, "typed": typed, "drips": drips}
        for name, dest in {**evil, "good": str(good)}.items():
            await manager.call("Venus.WorkerPing", fleet.WorkerInfo(name, dest))
        told = await manager.call("Damocles.FleetThreads", {"all": True}, 5.0)
        assert sorted(evil) == [silent["worker"] for silent in told["silent"]]
        assert [] == heard


@asynccontextmanager
async def dripping() -> AsyncIterator[str]:
    """Run a worker that sends a byte of its answer now and then, for ever."""

    async def talk(peer: SocketStream) -> None:
        async with peer:
            await peer.receive()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while True:
                await peer.send(b" ")
                await anyio.sleep(0.1)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, talk)
        yield f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()


def test_errors_are_told_without_what_the_peer_said() -> None:
    """An error has its text for whoever made the call, and one without the peer's words for everybody else."""
    for error in (errors.BadAnswer("u", "HTTP 200", f", {SECRET}"), errors.Unreachable("u", "HTTP 503", f", {SECRET}")):
        assert SECRET in str(error)
        assert SECRET not in error.bare
