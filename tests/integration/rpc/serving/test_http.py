"""The two servers over HTTP, seen by a plain HTTP client."""

import contextlib
import dataclasses
import email.utils
import http.client
import time

import anyio
import anyio.to_thread
import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from damocles.rpc import address, core, errors
from damocles.rpc.serving import server, site

VERSION = b'{"jsonrpc":"2.0","id":1,"method":"Venus.Version","params":[]}'
WORKER_VERSION = b'{"jsonrpc":"2.0","id":1,"method":"VenusWorker.WorkerVersion","params":[]}'
JSON = {"Content-Type": "application/json"}


class Answer(msgspec.Struct):
    """An HTTP response."""

    status: int
    content_type: str | None
    body: bytes


async def ask(
    where: address.Endpoint, verb: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> Answer:
    """Make one request with the standard library's client."""

    def exchange() -> Answer:
        connection = http.client.HTTPConnection(where.host, where.port, timeout=10)
        try:
            connection.request(verb, path, body, headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers["content-type"], response.read())
        finally:
            connection.close()

    return await anyio.to_thread.run_sync(exchange)


class TestManager:
    async def test_answers_bear_the_date(self, manager_at: address.Endpoint) -> None:
        """The Date of each answer is that of its request, however long nobody has asked."""

        def date() -> float:
            with contextlib.closing(http.client.HTTPConnection(manager_at.host, manager_at.port, timeout=10)) as peer:
                peer.request("POST", "/rpc/v0", VERSION)
                return email.utils.parsedate_to_datetime(peer.getresponse().headers["date"]).timestamp()

        for pause_seconds in (0, 1.2):
            await anyio.sleep(pause_seconds)
            asked = time.time()
            assert int(asked) <= await anyio.to_thread.run_sync(date) <= time.time()

    @pytest.mark.parametrize("verb", ["POST", "PUT"])
    async def test_rpc_takes_any_verb_and_content_type(self, manager_at: address.Endpoint, verb: str) -> None:
        """`/rpc/v0` looks at the body only, and answers as text."""
        answer = await ask(manager_at, verb, "/rpc/v0", VERSION, {"Content-Type": "text/plain"})

        expected = Answer(200, "text/plain; charset=utf-8", b'{"jsonrpc":"2.0","result":"v0.13.1","id":1}\n')
        assert expected == answer

    @pytest.mark.parametrize(("verb", "body"), [("GET", b""), ("POST", b""), ("POST", b"{"), ("POST", b"[]")])
    async def test_rpc_answers_nonsense_with_a_body(self, manager_at: address.Endpoint, verb: str, body: bytes) -> None:
        """What is no request has HTTP 500 and an error that says why."""
        answer = await ask(manager_at, verb, "/rpc/v0", body)

        assert 500 == answer.status
        assert msgspec.json.decode(answer.body)["error"]["message"]

    async def test_notifications_have_an_empty_answer(self, manager_at: address.Endpoint) -> None:
        """A notification is HTTP 200 without body and content type."""
        body = b'{"jsonrpc":"2.0","method":"Venus.Version","params":[]}'

        assert Answer(200, None, b"") == await ask(manager_at, "POST", "/rpc/v0", body)

    @pytest.mark.parametrize("path", ["/rpc/v0/", "/rpc/v1", "/", "/healthcheck/"])
    async def test_other_paths_are_not_found(self, manager_at: address.Endpoint, path: str) -> None:
        """Paths match exactly; the rest is Go's 404."""
        expected = Answer(404, "text/plain; charset=utf-8", b"404 page not found\n")
        assert expected == await ask(manager_at, "POST", path, VERSION)

    async def test_health(self, manager_at: address.Endpoint) -> None:
        """The health check answers as the original's."""
        expected = Answer(200, "application/json", b'{"status":"OK"}\n')
        assert expected == await ask(manager_at, "GET", "/healthcheck")

    async def test_further_routes(self, manager: core.Service) -> None:
        """Routes of metrics and dashboard stand beside the JSON-RPC."""

        async def metrics(_: Request) -> Response:
            return PlainTextResponse("up 1\n")

        app = site.manager_app(manager, routes=[Route("/metrics", metrics)])
        async with server.serve(app, "127.0.0.1", 0) as where:
            assert b"up 1\n" == (await ask(where, "GET", "/metrics")).body
            assert 200 == (await ask(where, "POST", "/rpc/v0", VERSION)).status

    async def test_handlers_know_peer_and_token(self, manager_at: address.Endpoint) -> None:
        """The call has the peer's address, and the bearer token if there is one; forwarding headers count for nothing."""
        body = b'{"jsonrpc":"2.0","id":1,"method":"Venus.Whoami","params":[]}'
        headers = {"Authorization": "bearer abc", "X-Forwarded-For": "8.8.8.8"}

        answer = await ask(manager_at, "POST", "/rpc/v0", body, headers)

        transport, peer, token = msgspec.json.decode(answer.body)["result"]
        assert ("http", "127.0.0.1", "abc") == (transport, peer.split(":")[0], token)

    async def test_too_large_bodies_are_refused(self, manager: core.Service) -> None:
        """A body over the limit has HTTP 413 and an error, and is not kept."""
        manager.dialect = dataclasses.replace(manager.dialect, body_limit_bytes=1000)
        async with server.serve(site.manager_app(manager), "127.0.0.1", 0) as where:
            answer = await ask(where, "POST", "/rpc/v0", b"x" * 3000)
            length = await ask(where, "POST", "/rpc/v0", VERSION)

        assert (413, 200) == (answer.status, length.status)
        assert b"larger than 1000 bytes" in answer.body


class TestWorker:
    @pytest.mark.parametrize(("verb", "body"), [("GET", b'{"status":"OK"}\n'), ("HEAD", b"")])
    async def test_health(self, worker_at: address.Endpoint, verb: str, body: bytes) -> None:
        """The health check is the manager's, and wants no content type."""
        assert Answer(200, "application/json", body) == await ask(worker_at, verb, "/healthcheck")

    @pytest.mark.parametrize("path", ["/", "/rpc/v0", "/any/path"])
    @pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8"])
    async def test_rpc_is_served_on_any_path(self, worker_at: address.Endpoint, path: str, content_type: str) -> None:
        """Any path is the control API, which answers as JSON."""
        answer = await ask(worker_at, "POST", path, WORKER_VERSION, {"Content-Type": content_type})

        expected = b'{"jsonrpc":"2.0","result":"v0.13.1","id":1}\n'
        assert Answer(200, "application/json; charset=utf-8", expected) == answer

    @pytest.mark.parametrize(
        ("verb", "headers", "status"),
        [("POST", {}, 415), ("POST", {"Content-Type": "text/plain"}, 415), ("GET", JSON, 405), ("PUT", JSON, 405)],
    )
    async def test_other_verbs_and_types_are_refused(
        self, worker_at: address.Endpoint, verb: str, headers: dict[str, str], status: int
    ) -> None:
        """Only POST of JSON is served; a page in a browser cannot send that to another site unasked."""
        answer = await ask(worker_at, verb, "/", WORKER_VERSION, headers)

        assert status == answer.status
        assert -32600 == msgspec.json.decode(answer.body)["error"]["code"]

    async def test_body_limit(self, worker_at: address.Endpoint) -> None:
        """More than 5 MiB is HTTP 413, and the sender gets to read it."""
        assert 413 == (await ask(worker_at, "POST", "/", b" " * (5 << 20) + WORKER_VERSION, JSON)).status


class TestListening:
    async def test_port_in_use(self, manager_at: address.Endpoint, manager: core.Service) -> None:
        """A port in use is an error that names it."""
        with pytest.raises(errors.ListenError, match=rf"^127\.0\.0\.1:{manager_at.port} is in use \("):
            async with server.serve(site.manager_app(manager), "127.0.0.1", manager_at.port):
                pass

    @pytest.mark.parametrize(
        ("host", "said"),
        [("192.0.2.1", "is not an address of this machine"), ("no.such.host.invalid", "has no address")],
    )
    async def test_foreign_hosts(self, manager: core.Service, host: str, said: str) -> None:
        """A host that is not this machine is an error that names it."""
        with pytest.raises(errors.ListenError, match=f"^{host}:0 {said}"):
            async with server.serve(site.manager_app(manager), host, 0):
                pass

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", ""])
    async def test_hosts(self, manager: core.Service, host: str) -> None:
        """IPv4, IPv6, names and all interfaces can be listened on."""
        async with server.serve(site.manager_app(manager), host, 0) as bound:
            reached = bound if host else address.Endpoint("127.0.0.1", bound.port)
            assert 200 == (await ask(reached, "POST", "/rpc/v0", VERSION)).status

    @pytest.mark.parametrize("host", ["", "::", "0::0"])
    async def test_all_interfaces_are_of_both_families(self, manager: core.Service, host: str) -> None:
        """`::` takes IPv4 too, as other daemons' listeners do, and such a peer is shown with its IPv4 address."""
        peers: list[str] = []

        async def whoami(call: core.Call) -> None:
            peers.append(call.peer.rpartition(":")[0])

        manager.add("Venus.WhoAmI", whoami)
        async with server.serve(site.manager_app(manager), host, 0) as bound:
            for reached in ("127.0.0.1", "::1"):
                where = address.Endpoint(reached, bound.port)
                answer = await ask(where, "POST", "/rpc/v0", b'{"id":1,"method":"Venus.WhoAmI"}')
                assert 200 == answer.status
        assert ["127.0.0.1", "[::1]"] == peers

    async def test_port_is_free_again(self, manager: core.Service) -> None:
        """A daemon can be restarted at once on its port."""
        async with server.serve(site.manager_app(manager), "127.0.0.1", 0) as bound:
            await ask(bound, "POST", "/rpc/v0", VERSION)
        async with server.serve(site.manager_app(manager), "127.0.0.1", bound.port) as again:
            assert bound == again

    async def test_leaving_waits_for_handlers(self, manager: core.Service) -> None:
        """An answer under way is still sent when the server stops."""
        started = anyio.Event()

        async def slow() -> str:
            started.set()
            await anyio.sleep(0.3)
            return "done"

        manager.add("Venus.Slow", slow)
        answers: list[Answer] = []

        async def call(where: address.Endpoint) -> None:
            answers.append(await ask(where, "POST", "/rpc/v0", b'{"id":1,"method":"Venus.Slow"}'))

        app = site.manager_app(manager)
        async with anyio.create_task_group() as tasks, server.serve(app, "127.0.0.1", 0) as where:
            tasks.start_soon(call, where)
            await started.wait()

        assert b'{"jsonrpc":"2.0","result":"done","id":1}\n' == answers[0].body

    async def test_leaving_cancels_what_outlives_the_grace(self, manager: core.Service) -> None:
        """A handler that does not end is cancelled, also when the server itself is cancelled."""
        started, cancelled = anyio.Event(), anyio.Event()

        async def hang() -> None:
            started.set()
            try:
                await anyio.sleep_forever()
            finally:
                cancelled.set()

        manager.add("Venus.Hang", hang)
        with anyio.CancelScope() as outside:
            async with (
                server.serve(site.manager_app(manager), "127.0.0.1", 0, grace_seconds=1) as where,
                await anyio.connect_tcp(where.host, where.port) as peer,
            ):
                await peer.send(b"POST /rpc/v0 HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\n")
                await peer.send(b'{"id":1,"method":"Venus.Hang"}')
                await started.wait()
                outside.cancel()
                await anyio.sleep_forever()

        assert cancelled.is_set()


async def test_small_answers_are_not_delayed(manager_at: address.Endpoint) -> None:
    """No call waits the 40 ms of a delayed acknowledgement: the fastest of many is far below."""

    def fastest() -> float:
        connection = http.client.HTTPConnection(manager_at.host, manager_at.port, timeout=10)
        times = []
        for _ in range(40):
            start = time.perf_counter()
            connection.request("POST", "/rpc/v0", VERSION)
            connection.getresponse().read()
            times.append(time.perf_counter() - start)
        connection.close()
        return min(times[20:])

    assert await anyio.to_thread.run_sync(fastest) < 0.03
