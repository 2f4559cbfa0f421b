"""A web page, shown on a machine that is let in by its address, gets nothing done by it."""

import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import msgspec
import pytest
import structlog.testing
from tests.integration.access.conftest import StartManager, StartWorker
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from damocles.manager.serving import auth
from damocles.rpc.admission import access

ALLOCATE = {"jsonrpc": "2.0", "id": 1, "method": "Venus.AllocateSector", "params": [{}]}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "Venus.WorkerPingInfoList", "params": []}
# What browsers add to what a page of another site sends, and what they call simple: no preflight asks for leave.
PAGES = [
    {"origin": "http://evil.example", "content-type": "text/plain"},
    {"origin": "null", "content-type": "application/x-www-form-urlencoded"},
    {"origin": "http://127.0.0.1:8080", "content-type": "text/plain", "sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "content-type": "text/plain"},
    {"sec-fetch-site": "same-origin", "content-type": "text/plain"},
    {"origin": "http://evil.example", "content-type": "application/json"},
    {"origin": "http://evil.example", "content-type": "text/plain", "authorization": "Basic YTpi"},
]
# What the clients of the original send.
GO = {"user-agent": "Go-http-client/1.1", "content-type": "application/json", "accept-encoding": "gzip"}
RUST = {"content-type": "application/json", "accept": "application/json"}


def admitted(text: str = "127.0.0.0/8") -> dict[str, Any]:
    """Return the settings of a manager that lets this machine in."""
    return {"admit": access.admitted([text], auth.ADMITTED)}


async def post(url: str, body: object, headers: dict[str, str]) -> httpx2.Response:
    """Send a call as it is."""
    async with httpx2.AsyncClient(trust_env=False) as http:
        return await http.post(url, content=msgspec.json.encode(body), headers=headers)


@pytest.mark.parametrize("headers", PAGES)
async def test_a_page_allocates_nothing(start_manager: StartManager, headers: dict[str, str]) -> None:
    """A request that a browser sends without asking first is refused, whatever its kind, and says why."""
    async with start_manager(**admitted()) as manager:
        refused = await post(manager.url, ALLOCATE, headers)
    assert 403 == refused.status_code
    assert refused.text.startswith("web pages are not served: there is a")


async def test_a_page_is_logged_once(start_manager: StartManager) -> None:
    """A page that tries again and again leaves one line in the log, with its peer."""
    async with start_manager(**admitted()) as manager:
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                await post(manager.url, LIST, PAGES[0])
    (line,) = [entry for entry in logs if entry["event"] == "call refused"]
    assert "127.0.0.1" in line["peer"]


@pytest.mark.parametrize("headers", [GO, RUST, {}, {"sec-fetch-site": "none"}])
async def test_programs_are_served(start_manager: StartManager, headers: dict[str, str]) -> None:
    """The clients of the original and of others send no such headers, and are let in as before."""
    async with start_manager(**admitted()) as manager:
        answer = await post(manager.url, LIST, headers)
    assert (200, []) == (answer.status_code, answer.json()["result"])


async def test_a_page_opens_no_websocket(start_manager: StartManager) -> None:
    """A browser puts an Origin on each WebSocket, and asks nobody first; programs put none there."""
    async with start_manager(**admitted()) as manager:
        url = manager.url.replace("http", "ws")
        for origin in ("http://evil.example", "null", manager.url.removesuffix("/rpc/v0")):
            with pytest.raises(InvalidStatus, match="403"):
                async with connect(url, additional_headers={"Origin": origin}, proxy=None):
                    pass
        async with connect(url, proxy=None) as peer:
            await peer.send(msgspec.json.encode(LIST).decode())
            assert [] == msgspec.json.decode(await peer.recv())["result"]


async def test_whoever_has_a_token_is_no_page(start_manager: StartManager) -> None:
    """Programs that send both an Origin and a token are served: browsers send no token to a site that does not agree."""
    async with start_manager() as manager:
        with_token = {"origin": "http://tool.example", "authorization": f"Bearer {manager.token}"}
        assert 200 == (await post(manager.url, LIST, with_token)).status_code
        async with connect(manager.url.replace("http", "ws"), additional_headers=with_token, proxy=None) as peer:
            await peer.send(msgspec.json.encode(LIST).decode())
            assert [] == msgspec.json.decode(await peer.recv())["result"]


async def test_no_site_gets_leave(start_manager: StartManager) -> None:
    """A browser that asks first, since a page wants to send a token or JSON, is not answered with any leave."""
    asks = {
        "origin": "http://evil.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    async with start_manager(**admitted()) as manager, httpx2.AsyncClient(trust_env=False) as http:
        for path in ("/rpc/v0", "/metrics", "/piecestore/x", "/knows/a/b"):
            answer = await http.options(manager.url.removesuffix("/rpc/v0") + path, headers=asks)
            assert 403 == answer.status_code
            assert [] == [name for name in answer.headers if name.startswith("access-control")]


HOSTS = [
    ("evil.example", False),
    ("evil.example:1789", False),
    ("127.0.0.1.nip.io", False),
    ("localhost.evil.example", False),
    ("manager.of-ours.example", True),
    ("MANAGER.of-ours.example.:1789", True),
    ("127.0.0.1:1789", True),
    ("[::1]:1789", True),
    ("10.0.0.2", True),
    ("localhost:1789", True),
    ("x.localhost", True),
    ("manager", True),
]


@pytest.mark.parametrize(("host", "served"), HOSTS)
async def test_a_name_of_others_does_not_call_us(start_manager: StartManager, host: str, served: bool) -> None:
    """Whoever is let in by address calls by an IP address or a name of ours: others can bind theirs to our address."""
    known = ["Manager.of-ours.example"]
    async with start_manager(**admitted(), known_as=known) as manager:
        call = await post(manager.url, LIST, {"host": host})
        async with httpx2.AsyncClient(trust_env=False) as http:
            site = manager.url.removesuffix("/rpc/v0")
            others = [await http.get(site + path, headers={"host": host}) for path in ("/metrics", "/piecestore/x")]
    assert [served] * 3 == [answer.status_code != 403 for answer in (call, *others)]
    assert served == ("--known-as" not in call.text)


async def test_a_token_may_call_by_any_name(start_manager: StartManager) -> None:
    """Names count for those alone who show no token; health is for everybody, and so are metrics that are open."""
    async with start_manager(**admitted(), open_metrics=True) as manager:
        with_token = {"host": "evil.example", "authorization": f"Bearer {manager.token}"}
        assert 200 == (await post(manager.url, LIST, with_token)).status_code
        async with httpx2.AsyncClient(trust_env=False) as http:
            for path in ("/healthcheck", "/metrics"):
                answer = await http.get(manager.url.removesuffix("/rpc/v0") + path, headers={"host": "evil.example"})
                assert 200 == answer.status_code


async def test_the_machine_s_own_name_is_known(start_manager: StartManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system calls itself needs not be given."""
    monkeypatch.setattr(socket, "gethostname", lambda: "Box.lan.example")
    async with start_manager(**admitted()) as manager:
        assert 200 == (await post(manager.url, LIST, {"host": "box.lan.example:1789"})).status_code


@contextlib.asynccontextmanager
async def worker_of(start_worker: StartWorker) -> AsyncIterator[str]:
    """Yield the URL of a worker that lets this machine in."""
    async with start_worker('rpc_server.admit = ["127.0.0.1"]\nrpc_server.known_as = ["gpu1.example"]') as worker:
        yield worker.url


async def test_a_worker_serves_no_page_either(start_worker: StartWorker) -> None:
    """A worker that lets its manager's machine in by address refuses the pages that are shown there."""
    pause = {"jsonrpc": "2.0", "id": 1, "method": "VenusWorker.WorkerPause", "params": [0]}
    async with worker_of(start_worker) as url:
        page = await post(url, pause, {"origin": "http://evil.example", "content-type": "application/json"})
        bound = await post(url, pause, {"host": "evil.example", "content-type": "application/json"})
        for good in (GO, {**GO, "host": "gpu1.example:17890"}):
            assert "worker #0 not found" in (await post(url, pause, good)).text
    assert (403, 403) == (page.status_code, bound.status_code)


async def test_strangers_are_told_nothing_new(start_manager: StartManager) -> None:
    """Without a token and without leave by address, a program is refused as before, by any name."""
    async with start_manager() as manager:
        assert 401 == (await post(manager.url, LIST, {"host": "evil.example"})).status_code
