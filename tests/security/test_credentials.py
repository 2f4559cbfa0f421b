"""What lets us in elsewhere is shown to one origin alone, never to where a redirect leads, and to nobody on the way."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import anyio.to_thread
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from damocles.cli import worker as worker_cli
from damocles.manager.alerts import config, notify
from damocles.parameters import download, mirrors
from damocles.rpc import errors
from damocles.rpc.calling import client, sync
from damocles.stages import job
from damocles.stages.files import pieces, uploads
from damocles.stores.pieces import PieceStores
from damocles.testing import web
from damocles.text import urls
from damocles.wire import alerts, tasks
from damocles.worker import processors
from damocles.worker.config import model, rpc

PAYLOAD = b"payload" * 100
SECRET = "S3CRET"
Headers = Mapping[str, str]


class Server:
    """A server on loopback that redirects, or gives the payload, and keeps what it was shown."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Headers]] = []
        self.leads_to: dict[str, str] = {}
        self.refuses = False
        self.status = 302
        server = self

        class Handler(web.Handler):
            def do_GET(self) -> None:
                server.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                if (location := server.leads_to.get(self.path)) is not None:
                    self.answer(server.status, location=location)
                else:
                    self.answer(401 if server.refuses else 200, PAYLOAD)

            def do_PUT(self) -> None:
                self.body()
                self.do_GET()

            do_POST = do_PUT

        self.serving = web.serving(Handler)
        self.origin = ""

    @property
    def shown(self) -> list[str | None]:
        """What each request showed."""
        return [headers.get("authorization") for _, headers in self.seen]


Start = Callable[[], Server]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return what starts servers."""
    with contextlib.ExitStack() as stack:

        def begin() -> Server:
            server = Server()
            server.origin = stack.enter_context(server.serving)
            return server

        yield begin


def fetch(url: str, tokens: Mapping[str, str]) -> bytes:
    """Fetch a piece as the stage does."""
    source = tasks.PieceSource({"url": url}, len(PAYLOAD), 1 << 20)
    with pieces.source(source, job.Job(), tokens) as descriptor:
        assert descriptor is not None
        data = b""
        while len(data) < len(PAYLOAD) and (more := os.read(descriptor, len(PAYLOAD))):
            data += more
    return data


def test_each_server_of_a_piece_sees_its_own_token(start: Start) -> None:
    """The manager, the market that it sends on to, and the store behind that: each sees what belongs to it, or nothing."""
    manager, market, store = start(), start(), start()
    manager.leads_to["/piece"] = f"{market.origin}/resource?id=1"
    market.leads_to["/resource?id=1"] = f"{store.origin}/signed?sig=1"
    assert PAYLOAD == fetch(f"{manager.origin}/piece", {manager.origin: "m", market.origin: "s"})
    assert (["Bearer m"], ["Bearer s"], [None]) == (manager.shown, market.shown, store.shown)
    assert ["v1.IMarket"] == [headers["x-venus-api-namespace"] for _, headers in market.seen]
    assert "x-venus-api-namespace" not in {**manager.seen[0][1], **store.seen[0][1]}


def test_whoever_a_redirect_leads_to_sees_no_token(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another port of the same host, and another name of it, are other servers."""
    monkeypatch.setenv("PIECE_FETCHER_TOKEN", "s")
    manager, stranger = start(), start()
    for target in (
        stranger.origin,
        stranger.origin.replace("127.0.0.1", "localhost"),
        f"http://m@{stranger.origin[7:]}",
    ):
        manager.leads_to["/piece"] = f"{target}/x"
        assert PAYLOAD == fetch(f"{manager.origin}/piece", {manager.origin: "m", "https://market": "s"})
    assert "Bearer" not in str(stranger.seen)


def test_the_market_s_way_back_shows_the_manager_no_market_token(start: Start) -> None:
    """Who is redirected to a server that was asked before is shown that server's token, whoever sent it there."""
    manager, market = start(), start()
    manager.leads_to["/piece"] = f"{market.origin}/x"
    market.leads_to["/x"] = f"{manager.origin}/end"
    assert PAYLOAD == fetch(f"{manager.origin}/piece", {market.origin: "s"})
    assert [None, None] == manager.shown


def test_an_endless_chain_of_redirects_ends(start: Start) -> None:
    """A server that leads to itself is left, and named without what is behind its question mark."""
    loop = start()
    loop.leads_to["/piece?sig=SECRET"] = "/piece?sig=SECRET"
    with pytest.raises(pieces.PieceUnavailable, match="more than 10 redirects") as caught:
        fetch(f"{loop.origin}/piece?sig=SECRET", {})
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://host/x?sig=SECRET", "http://[::1", "http://u:SECRET@"]
)
def test_a_redirect_to_no_server_is_refused(start: Start, location: str) -> None:
    """Only servers are followed to; the error shows no secret."""
    manager = start()
    manager.leads_to["/piece"] = location
    with pytest.raises(pieces.PieceUnavailable) as caught:
        fetch(f"{manager.origin}/piece", {manager.origin: "m"})
    assert "SECRET" not in str(caught.value)


def test_a_market_that_wants_a_token_is_named_with_the_key_of_the_configuration(start: Start) -> None:
    """The error shows the origin to configure, and not the signed query."""
    manager, market = start(), start()
    manager.leads_to["/piece"] = f"{market.origin}/resource?sig=SECRET"
    market.refuses = True
    with pytest.raises(pieces.PieceUnavailable, match=r"sector_manager\.piece_origins") as caught:
        fetch(f"{manager.origin}/piece", {})
    assert market.origin in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_no_proxy_reads_what_goes_in_the_clear(start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A proxy of the environment is passed by without TLS: it would see tokens and pieces."""
    proxy, manager = start(), start()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.origin)
    assert PAYLOAD == fetch(f"{manager.origin}/piece", {manager.origin: "m"})
    (tmp_path / "piece").write_bytes(b"piece")
    uploads.run(tasks.Upload(str(tmp_path / "piece"), f"{manager.origin}/up", {"authorization": "Bearer m"}), job.Job())
    assert [] == proxy.seen
    assert ["Bearer m"] * 2 == manager.shown


def test_an_upload_follows_no_redirect(start: Start, tmp_path: Path) -> None:
    """Neither the piece nor the token goes where an answer leads."""
    server, other = start(), start()
    server.leads_to["/up"] = f"{other.origin}/up"
    (tmp_path / "piece").write_bytes(b"piece")
    with pytest.raises(uploads.UploadFailed, match="302"):
        uploads.run(tasks.Upload(str(tmp_path / "piece"), f"{server.origin}/up", {"authorization": "m"}), job.Job())
    assert [] == other.seen


def test_the_market_s_token_is_only_along_for_the_configured_origins() -> None:
    """The task has it beside the manager's; without an origin it has none."""
    manager = {"rpc_client": {"addr": "/ip4/127.0.0.1/tcp/1789"}, "piece_token": "s"}
    named = model.SectorManager.model_validate({**manager, "piece_origins": ["HTTPS://Market.Example:443/x"]})
    assert {"https://market.example": "s"} == named.market_tokens
    assert {} == model.SectorManager.model_validate(manager).market_tokens
    stores = PieceStores(origin="http://m", token=lambda: "m", market_tokens=named.market_tokens)
    assert {"http://m": "m", "https://market.example": "s"} == stores.tokens()
    assert "'s'" not in repr(stores)


@pytest.mark.parametrize(
    "origin", ["http://market:41235", "http://10.0.0.2", "market", "ftp://127.0.0.1", "https://", ""]
)
def test_a_token_goes_over_tls_or_stays_here(origin: str) -> None:
    """What others could read on the way is no origin for a token."""
    with pytest.raises(ValueError, match="expected the address of a server"):
        rpc.check_origin(origin)
    assert "http://[::1]:41235" == rpc.check_origin("http://[::1]:41235/resource")


def test_our_processors_find_no_token_in_their_environment(tmp_path: Path) -> None:
    """Those of others get it there, as they know no other way; they show it where they like."""
    raw = {
        "sector_manager": {"rpc_client": {"addr": "/ip4/127.0.0.1/tcp/1789"}, "piece_token": "s"},
        "sealing_thread": [{"location": str(tmp_path)}],
        "processors": {"add_pieces": [{}, {"bin": "/bin/cat"}]},
    }
    stages = processors.stages(model.Config.model_validate(raw), lambda *_: None)
    ours, foreign = stages._groups["add_pieces"]
    assert "PIECE_FETCHER_TOKEN" not in ours.envs
    assert "s" == foreign.envs["PIECE_FETCHER_TOKEN"]


async def test_a_webhook_follows_no_redirect_and_uses_no_proxy(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its headers and the alerts go to the URL of the file alone; where that leads elsewhere, the log says so."""
    hook, other, proxy = start(), start(), start()
    hook.leads_to["/hook"] = f"{other.origin}/hook"
    monkeypatch.setenv("http_proxy", proxy.origin)
    target = config.Webhook(url=f"{hook.origin}/hook", headers={"Authorization": "Bearer h"})
    message = alerts.Message(manager="m", at=0.0, notifications=[])
    async with notify.open_notifier(config.Config(webhooks=(target,))) as notifier:
        with pytest.raises(notify.Undelivered, match="302 is a redirect"):
            await notifier.sinks[0].send(message)
    assert (["Bearer h"], [], []) == (hook.shown, other.shown, proxy.shown)


@pytest.mark.parametrize(
    ("entry", "is_good"),
    [
        ('url = "http://hooks.example/x"\nheaders.Authorization = "Bearer S3CRET"', False),
        ('url = "http://me:S3CRET@hooks.example/x"', False),
        ('url = "http://hooks.example/x"', True),
        ('url = "http://127.0.0.1:8080/x"\nheaders.Authorization = "Bearer S3CRET"', True),
        ('url = "https://hooks.example/x"\nheaders.Authorization = "Bearer S3CRET"', True),
    ],
)
def test_headers_of_a_webhook_go_over_tls_or_stay_here(tmp_path: Path, entry: str, is_good: bool) -> None:
    """A file that would send them in the clear is refused by a line that shows none of them."""
    file = tmp_path / "alerts.toml"
    file.write_text(f"[[webhook]]\n{entry}\n")
    if is_good:
        assert 1 == len(config.read(file).webhooks)
        return
    with pytest.raises(config.ConfigError, match=r"webhook\.0: headers, or a name and password, would") as caught:
        config.read(file)
    assert SECRET not in str(caught.value)


async def test_the_password_of_a_mirror_goes_to_its_origin_alone(start: Start) -> None:
    """Where a mirror sends us on to, nothing is shown; requests to the mirror itself have name and password."""
    mirror, other = start(), start()
    mirror.leads_to["/file"] = f"{other.origin}/file"
    url = mirror.origin.replace("//", f"//me:{SECRET}@") + "/file"
    async with download._client(download.Manner()) as client:
        await client.get(url)
    assert ([True], [None]) == ([str(shown).startswith("Basic ") for shown in mirror.shown], other.shown)


@pytest.mark.parametrize("mirror", [f"http://me:{SECRET}@mirror.example/x", f"ftp://me:{SECRET}@x/?{SECRET}"])
def test_the_password_of_a_mirror_is_neither_shown_nor_sent_in_the_clear(mirror: str) -> None:
    """Such a mirror is refused; over TLS, or on this machine, it is taken."""
    with pytest.raises(ValueError, match="mirror") as caught:
        mirrors.chosen([mirror], (), {})
    assert SECRET not in str(caught.value)
    for good in (f"https://me:{SECRET}@mirror.example/x", f"http://me:{SECRET}@[::1]/x"):
        assert [good] == mirrors.chosen([good], (), {})


@given(
    scheme=st.sampled_from(["http", "https", "market", "store", "HTTPS", "x"]),
    user=st.sampled_from([SECRET, f"u:{SECRET}", f"u:{SECRET}:{SECRET}", f"{SECRET}@{SECRET}", f"u:/{SECRET}"]),
    host=st.sampled_from(["host", "[::1]", "host:80", "", "[::1"]),
    path=st.text("ab/.%", max_size=8),
    rest=st.sampled_from([f"?a={SECRET}", f"#{SECRET}", f"?{SECRET}#{SECRET}", f"?a=http://{SECRET}@h"]),
)
def test_no_secret_of_a_url_is_shown(scheme: str, user: str, host: str, path: str, rest: str) -> None:
    """Whatever a URL looks like, what stands before its host or behind its path is not shown, and nothing raises."""
    plain = f"{scheme}://{user}@{host}/{path}{rest}"
    if not user.startswith("u:/"):  # of which nobody can tell whether it is a path
        assert SECRET not in urls.shown(plain)
    assert f"{scheme}://{host}/x" == urls.shown(f"{scheme}://{host}/x") or host == "[::1"
    assert SECRET not in urls.shown(f"{scheme}://h/{path}{rest}")


@given(st.text())
def test_any_text_can_be_shown(text: str) -> None:
    """What is no URL at all is no error."""
    assert "?" not in urls.shown(text)


@given(
    host=st.sampled_from(
        ["market.example", "MARKET.example", "\uff4darket.example", "evil.example", "market.example.evil"]
    ),
    before=st.sampled_from(["", "market.example@", "market.example:443@", "market.example\\@", "a:b@"]),
    port=st.sampled_from(["", ":443", ":0443", ":444", ":80"]),
    scheme=st.sampled_from(["https", "HTTPS", "http"]),
    after=st.sampled_from(["", "/", "/@market.example", "?@market.example", "#@market.example/", "\\@market.example"]),
)
def test_an_origin_is_where_a_request_really_goes(host: str, before: str, port: str, scheme: str, after: str) -> None:
    """No spelling of a URL has the origin of the market and leads elsewhere."""
    try:
        target = httpx2.URL(f"{scheme}://{before}{host}{port}{after}")
        origin = urls.origin(str(target))
    except (httpx2.InvalidURL, ValueError):
        return
    leads_to = (target.scheme, target.host, target.port or {"https": 443, "http": 80}[target.scheme])
    assert (origin == "https://market.example") is (leads_to == ("https", "market.example", 443))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_call_follows_no_redirect(start: Start, status: int) -> None:
    """Neither daemon, nor a command line, shows a token to where an answer of its peer leads."""
    peer, other = start(), start()
    peer.leads_to["/"], peer.status = f"{other.origin}/", status
    headers = {"damocles-call-back": "handed"}
    async with client.connect(f"{peer.origin}/", token="t", headers=headers, timeout_seconds=10) as calls:
        with pytest.raises(errors.CallError):
            await calls.call("Venus.Version", returns=str)

    def call() -> None:
        with sync.connect(f"{peer.origin}/", token="t", timeout_seconds=10) as calls:
            calls.call("Venus.Version", returns=str)

    with pytest.raises(errors.CallError):
        await anyio.to_thread.run_sync(call)
    assert (["Bearer t"] * 2, []) == (peer.shown, other.shown)


async def test_whoever_cannot_be_asked_gets_no_other_credential_either(start: Start) -> None:
    """A worker without a token for its manager hands no token to whoever answers there in the clear."""
    manager = start()
    headers = {"damocles-call-back": "handed", "X-Gateway": "secret"}
    for must_know in (True, False):
        async with client.connect(
            f"{manager.origin}/", headers=headers, timeout_seconds=10, must_know=must_know
        ) as calls:
            with pytest.raises(errors.CallError):
                await calls.call("Venus.WorkerPing", [])
    (_, unasked), (_, insecure) = manager.seen
    assert {"damocles-call-back", "x-gateway"} <= insecure.keys()
    assert not {"damocles-call-back", "x-gateway"} & unasked.keys()


@pytest.mark.parametrize("command", [("show",), ("show", "--json"), ("check",), ("check", "--json")])
@pytest.mark.parametrize("addr", ["http://10.0.0.1:1789", f"http://me:{SECRET}@10.0.0.1:x", f"ftp://me:{SECRET}@x"])
def test_a_configuration_is_shown_without_its_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...], addr: str
) -> None:
    """Tokens, headers and the passwords in URLs stay in the file, whether it is right or wrong."""
    for name in ("store", "persist"):
        (tmp_path / name).mkdir()
    file = tmp_path / "worker.toml"
    file.write_text(
        f'[sector_manager]\nrpc_client.addr = "{addr}"\nrpc_client.headers = {{ X = "{SECRET}" }}\npiece_token = "{SECRET}"\n'
        f'piece_origins = ["http://me:{SECRET}@market", "https://me:{SECRET}@[::1"]\n'
        f'[parameters]\nmirrors = ["https://me:{SECRET}@mirror/x?key={SECRET}"]\n'
        f'[[sealing_thread]]\nlocation = "{tmp_path}/store"\n[[attached]]\nlocation = "{tmp_path}/persist"\n'
    )
    worker_cli.main(["config", command[0], str(file), *command[1:]])
    file.write_text(
        file.read_text().replace(f'piece_origins = ["http://me:{SECRET}@market", "https://me:{SECRET}@[::1"]', "")
    )
    worker_cli.main(["config", command[0], str(file), *command[1:]])
    printed = capsys.readouterr()
    assert "mirror" in printed.out or "rpc_client.addr" in printed.out + printed.err or command[0] == "check"
    assert SECRET not in printed.out + printed.err
