"""The two clients against real servers, and against peers that are none."""

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.abc import SocketAttribute, SocketStream

from damocles.rpc import address, core, errors, tls
from damocles.rpc.calling import client, sync
from damocles.rpc.serving import server, site
from damocles.wire import fleet

Caller = Callable[..., Awaitable[Any]]
INFO = fleet.WorkerInfo("worker-1", "10.0.0.7:17890", "v0.13.1", fleet.Summary(3, 1, 0))


async def call_async(url: str, method: str, params: Any = (), *, returns: Any = None, **options: Any) -> Any:
    """Make one call with the async client."""
    async with client.connect(url, **options) as peer:
        return await peer.call(method, params, returns=returns)


async def call_sync(url: str, method: str, params: Any = (), *, returns: Any = None, **options: Any) -> Any:
    """Make one call with the blocking client, beside the event loop."""

    def call() -> Any:
        with sync.connect(url, **options) as peer:
            return peer.call(method, params, returns=returns)

    return await anyio.to_thread.run_sync(call)


@pytest.fixture(params=[call_async, call_sync], ids=["async", "sync"])
def call(request: pytest.FixtureRequest) -> Caller:
    """Each client."""
    caller: Caller = request.param
    return caller


@contextlib.asynccontextmanager
async def listener(behave: Callable[[SocketStream], Awaitable[None]]) -> AsyncIterator[str]:
    """Run a peer that behaves badly; yield its URL."""

    async def handle(stream: SocketStream) -> None:
        async with stream:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.EndOfStream):
                await behave(stream)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as bad, anyio.create_task_group() as tasks:
        tasks.start_soon(bad.serve, handle)
        yield f"http://127.0.0.1:{bad.extra(SocketAttribute.local_port)}/"
        tasks.cancel_scope.cancel()


async def test_results_come_back(call: Caller, manager_at: address.Endpoint, worker_at: address.Endpoint) -> None:
    """Both clients call both servers; parameters and results are wire structs."""
    manager, worker = address.manager_url(str(manager_at)), address.worker_url(str(worker_at))

    assert await call(manager, "Venus.WorkerPing", [INFO]) is None
    assert await call(manager, "Venus.Remove", ["a"], returns=str | None) is None
    assert "é" == await call(manager, "Venus.Echo", ["é"], returns=str)
    assert "v0.13.1" == await call(worker, "VenusWorker.WorkerVersion", returns=str)


async def test_errors_come_back(call: Caller, manager_at: address.Endpoint, worker_at: address.Endpoint) -> None:
    """An error is raised with its code, whether the peer sends it with HTTP 500 or 200."""
    manager, worker = address.manager_url(str(manager_at)), address.worker_url(str(worker_at))

    with pytest.raises(errors.RpcError, match="wrong param count") as of_manager:
        await call(manager, "Venus.Echo", [1, 2])
    with pytest.raises(errors.RpcError, match="Method not found") as of_worker:
        await call(worker, "VenusWorker.Nope")

    assert (-32602, -32601) == (of_manager.value.code, of_worker.value.code)


async def test_tokens_and_headers_are_sent(call: Caller, manager_at: address.Endpoint) -> None:
    """A token reaches the handler, and a header of one's own goes with the request beside it."""
    got = await call(address.manager_url(str(manager_at)), "Venus.Whoami", returns=list[str], token="abc")

    assert "abc" == got[2]

    seen = []

    async def behave(stream: SocketStream) -> None:
        seen.append((await stream.receive()).partition(b"\r\n\r\n")[0].decode().lower().split("\r\n"))

    async with listener(behave) as url:
        with pytest.raises(errors.Disconnected):
            await call(url, "Venus.Version", token="abc", headers={"X-Tenant": "north"})
    assert {"authorization: bearer abc", "x-tenant: north"} <= set(seen[0])


async def test_nobody_listens(call: Caller) -> None:
    """A refused connection and a name without address say so, with the URL."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"http://127.0.0.1:{port}/rpc/v0"

    with pytest.raises(errors.Unreachable, match=f"^{url} cannot be reached: Connection refused"):
        await call(url, "Venus.Version")
    with pytest.raises(errors.Unreachable, match=r"no\.such\.host\.invalid"):
        await call("http://no.such.host.invalid:1/", "Venus.Version")


async def test_no_answer_in_time(call: Caller, manager_at: address.Endpoint) -> None:
    """A peer that takes too long is a time-out."""
    with pytest.raises(errors.TimedOut, match=r"did not answer within 0\.2 s"):
        await call(address.manager_url(str(manager_at)), "Venus.Wait", [1], timeout_seconds=0.2)


@pytest.mark.parametrize("said", [b"", b'HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{"result":'])
async def test_a_peer_that_drips_is_a_time_out(call: Caller, said: bytes) -> None:
    """The time-out is that of the whole call, however often a byte of head or body comes."""

    async def behave(stream: SocketStream) -> None:
        await stream.receive()
        await stream.send(said)
        while True:
            await stream.send(b"H")
            await anyio.sleep(0.05)

    async with listener(behave) as url:
        with anyio.fail_after(30), pytest.raises(errors.TimedOut, match=r"did not answer within 0\.5 s"):
            await call(url, "Venus.Version", timeout_seconds=0.5)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", errors.Disconnected),
        (b"HTTP/1.1 200 OK\r\nContent-Le", errors.CallError),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"jsonrpc":', errors.Disconnected),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", errors.BadAnswer),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", errors.BadAnswer),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", errors.BadAnswer),
    ],
)
async def test_peers_that_are_none(call: Caller, said: bytes, error: type[errors.CallError]) -> None:
    """A connection that breaks off is told from one that speaks something else."""

    async def behave(stream: SocketStream) -> None:
        await stream.receive()
        await stream.send(said)

    async with listener(behave) as url:
        with pytest.raises(error, match=url):
            await call(url, "Venus.Version")


async def test_endless_answers_are_cut(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer beyond the limit is not collected."""
    monkeypatch.setattr("damocles.rpc.messages.ANSWER_LIMIT_BYTES", 100_000)

    async def behave(stream: SocketStream) -> None:
        await stream.receive()
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            await stream.send(b" " * 10_000)

    async with listener(behave) as url:
        with pytest.raises(errors.BadAnswer, match="more than 100000 bytes"):
            await call(url, "Venus.Version")


async def test_connections_are_kept(manager_at: address.Endpoint) -> None:
    """Calls one after the other share a connection, in both clients."""
    url = address.manager_url(str(manager_at))
    async with client.connect(url) as peer:
        peers = {(await peer.call("Venus.Whoami", returns=list[Any]))[1] for _ in range(3)}

    def blocking() -> set[str]:
        with sync.connect(url) as peer:
            return {peer.call("Venus.Whoami", returns=list[Any])[1] for _ in range(3)}

    assert (1, 1) == (len(peers), len(await anyio.to_thread.run_sync(blocking)))


async def test_calls_run_at_once(manager_at: address.Endpoint) -> None:
    """Many tasks share a client."""
    async with client.connect(address.manager_url(str(manager_at))) as peer:
        answers = []

        async def one(number: int) -> None:
            answers.append(await peer.call("Venus.Echo", [str(number)], returns=str))

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(one, number)

    assert {str(number) for number in range(20)} == set(answers)


async def test_clients_survive_a_restart(manager: core.Service) -> None:
    """After the peer has been restarted, both clients connect anew."""
    app = site.manager_app(manager)
    async with server.serve(app, "127.0.0.1", 0) as bound:
        pass
    url = address.manager_url(str(bound))
    async with client.connect(url) as peer:
        with sync.connect(url) as blocking:
            for _ in range(2):
                async with server.serve(app, "127.0.0.1", bound.port):
                    assert "v0.13.1" == await peer.call("Venus.Version", returns=str)
                    got = await anyio.to_thread.run_sync(lambda: blocking.call("Venus.Version", returns=str))
                    assert "v0.13.1" == got


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for loopback, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    return files


async def test_tls(call: Caller, manager: core.Service, certificate: tuple[Path, Path]) -> None:
    """With a certificate the server speaks TLS only; a client must trust its authority."""
    context = tls.server_context(*certificate)
    async with server.serve(site.manager_app(manager), "127.0.0.1", 0, tls=context) as bound:
        url = bound.url("/rpc/v0", "https")

        assert "v0.13.1" == await call(url, "Venus.Version", returns=str, trust=certificate[0])
        own = ssl.create_default_context(cafile=certificate[0])
        assert "v0.13.1" == await call(url, "Venus.Version", returns=str, trust=own)
        with pytest.raises(
            errors.Untrusted, match=r"certificate is not accepted: self.signed certificate; give the file"
        ):
            await call(url, "Venus.Version")
        with pytest.raises(errors.CallError):
            await call(bound.url("/rpc/v0"), "Venus.Version")


@pytest.mark.parametrize("with_tls", [False, True])
async def test_idle_clients_do_not_hold_up_the_end_of_a_server(
    manager: core.Service, certificate: tuple[Path, Path], with_tls: bool
) -> None:
    """A client that keeps its connection and does not read from it is not waited for, with TLS neither."""
    context = tls.server_context(*certificate) if with_tls else None
    async with contextlib.AsyncExitStack() as clients:
        with anyio.fail_after(20):
            async with server.serve(site.manager_app(manager), "127.0.0.1", 0, tls=context, grace_seconds=60) as bound:
                url = bound.url("/rpc/v0", "https" if with_tls else "http")
                peer = await clients.enter_async_context(
                    client.connect(url, trust=certificate[0] if with_tls else None)
                )
                assert "v0.13.1" == await peer.call("Venus.Version", returns=str)


class WhoReads:
    """A result that knows in which thread it was read."""

    def __init__(self, thread: int) -> None:
        self.thread = thread

    @classmethod
    def from_json(cls, _: Any) -> "WhoReads":
        """Note the thread."""
        return cls(threading.get_ident())


@pytest.mark.parametrize("is_large", [False, True])
async def test_a_large_answer_does_not_hold_up_everything_else(manager: core.Service, is_large: bool) -> None:
    """It is read beside the event loop; a small one is not worth that."""
    text = "x" * (client.LARGE_BYTES + 1) if is_large else "x"

    async def send() -> str:
        return text

    manager.add("Venus.Send", send)
    async with server.serve(site.manager_app(manager), "127.0.0.1", 0) as bound:
        got = await call_async(bound.url("/rpc/v0"), "Venus.Send", returns=WhoReads)

    assert is_large is (got.thread != threading.get_ident())
