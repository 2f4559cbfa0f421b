"""Who answers on a port of this machine has to know a token before it gets it."""

import contextlib
import errno
import os
import re
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import anyio.to_thread
import httpcore2
import httpx2
import pytest
from tests.integration.access.conftest import StartManager

from damocles import durable
from damocles.cli import manager as manager_cli
from damocles.cli import worker as worker_cli
from damocles.methods import Ask
from damocles.rpc import address, callers, core, dialects, errors
from damocles.rpc.admission import access, handshake
from damocles.rpc.admission import tokens as token_files
from damocles.rpc.calling import client, sync
from damocles.rpc.serving import asgi, doorstep, server, site
from damocles.stages import job
from damocles.stages.files import pieces, uploads
from damocles.wire import commitments, tasks
from damocles.worker.config import model
from damocles.worker.serving import access as worker_access
from damocles.worker.serving import connections

TOKEN = "dmc_0123456789abAn0therTextThatIsLongEnough"
CID = commitments.unsealed_cid(commitments.zero_comm_d(128))
PING = Ask("Venus.WorkerPing", [], None)
DIGESTS = {token_files.id_of(TOKEN): token_files.digest(TOKEN)}
# As the original's manager answers to a path that it does not have.
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 19\r\n\r\n404 page not found\n"
# As the original's worker answers to GET.
NOT_ALLOWED = b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n"
SHAPED = b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n"
ANSWER = b'{"jsonrpc":"2.0","result":null,"id":1}\n'
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER


class Impostor:
    """Whoever took a port while its daemon was away; keeps what it hears, and says `first` and then calls are fine."""

    def __init__(self, first: Callable[[bytes], bytes], host: str) -> None:
        self.heard = b""
        self._first = first
        self._listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.at = address.Endpoint(*self._listener.getsockname()[:2])
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Leave the port."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connected, _ = self._listener.accept()
                threading.Thread(target=self._converse, args=(connected,), daemon=True).start()

    def _converse(self, connected: socket.socket) -> None:
        with connected, contextlib.suppress(OSError):
            while said := _request(connected):
                self.heard += said
                connected.sendall(self._first(said) if said.startswith(b"GET ") else OK)


def _request(connected: socket.socket) -> bytes:
    """Receive a request with its body."""
    said = b""
    while more := connected.recv(1 << 16):
        said += more
        head, end, body = said.partition(b"\r\n\r\n")
        length = re.search(rb"\ncontent-length: (\d+)", head.lower())
        if end and len(body) >= (int(length[1]) if length else 0):
            break
    return said


@contextlib.contextmanager
def impostor(first: Callable[[bytes], bytes] = lambda _: NOT_FOUND, host: str = "127.0.0.1") -> Iterator[Impostor]:
    """Let somebody else have a port."""
    one = Impostor(first, host)
    try:
        yield one
    finally:
        one.close()


async def whoami(call: core.Call) -> str | None:
    """Return the token of the caller."""
    return call.token


@contextlib.asynccontextmanager
async def manager(host: str = "127.0.0.1") -> AsyncIterator[address.Endpoint]:
    """Serve a manager that knows the token."""
    service = core.Service(dialects.MANAGER)
    service.add("Venus.Version", whoami)
    door = doorstep.Door(digests=DIGESTS.get)
    async with server.serve(doorstep.watched(site.manager_app(service), door), host, 0) as bound:
        yield bound


async def asked_blocking(url: str, token: str = TOKEN) -> tuple[str | None, str]:
    """Call with the blocking client; return the token that arrived, and why none was sent."""

    def ask() -> tuple[str | None, str]:
        with sync.connect(url, token=token, timeout_seconds=10, must_know=True) as peer:
            first = peer.call("Venus.Version", returns=str | None)
            assert first == peer.call("Venus.Version", returns=str | None)
            return first, peer.kept_back

    return await anyio.to_thread.run_sync(ask)


async def asked(url: str, token: str = TOKEN) -> str | None:
    """Call with the other one; return the token that arrived."""
    async with client.connect(url, token=token, timeout_seconds=10, must_know=True) as peer:
        first: str | None = await peer.call("Venus.Version", returns=str | None)
        assert first == await peer.call("Venus.Version", returns=str | None)
        return first


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", ""])
async def test_the_daemon_that_knows_a_token_gets_it(host: str) -> None:
    """Both clients send it, over IPv4 and IPv6, also where the daemon listens for both families at once."""
    async with manager(host) as bound:
        where = ["127.0.0.1", "[::1]"] if not host else [f"[{host}]" if ":" in host else host]
        for one in where:
            url = address.manager_url(f"{one}:{bound.port}")
            assert (TOKEN, "") == await asked_blocking(url)
            assert TOKEN == await asked(url)


@pytest.mark.parametrize(
    "first",
    [
        lambda _: NOT_FOUND,
        lambda _: NOT_ALLOWED,
        lambda _: OK,
        lambda _: SHAPED + b"0" * 64,
        lambda _: b"\r\n" * 5000,
        lambda asked: SHAPED + asked[:64],
    ],
    ids=["original manager", "original worker", "another answer", "zeros", "noise", "echo"],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_nobody_else_does(first: Callable[[bytes], bytes], host: str) -> None:
    """A command calls whoever does not know the token without it, as the original wants none; a worker does not call."""
    with impostor(first, host) as other:
        url = address.manager_url(str(other.at))
        result, why = await asked_blocking(url)
        assert (None, True) == (result, "does not know our token" in why)
        with pytest.raises(
            errors.Unknowing,
            match=r"gets no token: the server there does not know our token; is it the right daemon",
        ):
            await asked(url)
        assert b"POST" in other.heard
        assert TOKEN.encode() not in other.heard
        assert b"uthorization" not in other.heard


async def test_the_question_cannot_be_passed_on() -> None:
    """An answer that another daemon gave, on another port or address, is none: the address is part of it."""
    async with manager() as bound:

        def passed_on(question: bytes) -> bytes:
            with socket.create_connection(bound) as real:
                real.sendall(question)
                answer = b""
                while len(answer.partition(b"\r\n\r\n")[2]) < 64:
                    answer += real.recv(1 << 16)
                return answer

        for host in ("127.0.0.1", "127.0.0.2"):
            with impostor(passed_on, host) as other:
                result, why = await asked_blocking(address.manager_url(str(other.at)))
                assert (None, True) == (result, "does not know our token" in why)
                assert TOKEN.encode() not in other.heard


async def test_a_daemon_without_room_is_called_so() -> None:
    """Whoever has all places taken cannot show what it knows: the token stays here, and the reason is no riddle."""
    busy = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    with impostor(lambda _: busy) as other:
        _, why = await asked_blocking(address.manager_url(str(other.at)))
        assert "has no room for another connection now (HTTP 503)" in why
        assert TOKEN.encode() not in other.heard


async def test_a_token_of_another_daemon_stays_here() -> None:
    """A daemon of ours that does not know the token gets the call without it."""
    async with manager() as bound:
        result, why = await asked_blocking(address.manager_url(str(bound)), "dmc_ba9876543210OfAnotherHome")
        assert (None, True) == (result, "does not know our token" in why)


async def test_each_connection_is_asked() -> None:
    """Somebody who takes the port between two calls gets no token either."""
    async with client_of_a_manager_that_leaves() as (peer, bound):
        said = []

        def hear(asked: bytes) -> bytes:
            said.append(asked)
            return NOT_FOUND

        with impostor(hear) as other:
            peer._connection.port = other.at.port
            assert None is await anyio.to_thread.run_sync(lambda: peer.call("Venus.Version", returns=str | None))
            assert bound.port != other.at.port
            assert (1, True) == (len(said), TOKEN.encode() not in other.heard)


@contextlib.asynccontextmanager
async def client_of_a_manager_that_leaves() -> AsyncIterator[tuple[sync.Client, address.Endpoint]]:
    """Yield a client that has been answered by a manager which is there no more."""
    with contextlib.ExitStack() as stack:
        async with manager() as bound:
            url = address.manager_url(str(bound))
            peer = stack.enter_context(sync.connect(url, token=TOKEN, timeout_seconds=10, must_know=True))
            assert TOKEN == await anyio.to_thread.run_sync(lambda: peer.call("Venus.Version", returns=str))
        yield peer, bound


async def test_silence_is_a_time_out() -> None:
    """Whoever takes the connection and says nothing holds a command up no longer than its time-out."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = address.manager_url(f"127.0.0.1:{silent.getsockname()[1]}")

        def call() -> None:
            with sync.connect(url, token=TOKEN, timeout_seconds=0.2, must_know=True) as peer:
                peer.call("Venus.Version")

        with pytest.raises(errors.TimedOut):
            await anyio.to_thread.run_sync(call)
        async with client.connect(url, token=TOKEN, timeout_seconds=0.2, must_know=True) as other:
            with pytest.raises(errors.TimedOut):
                await other.call("Venus.Version")


@pytest.mark.parametrize("program", ["manager", "worker"])
def test_commands_do_not_send_the_token_of_a_home(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], program: str
) -> None:
    """While the daemon is down its port may be anybody's, and the admin's token is not theirs."""
    durable.replace(tmp_path / "token", f"{TOKEN}\n".encode(), private=True)
    (tmp_path / "worker.toml").write_text("[worker]\n")
    with impostor() as other:
        if program == "manager":
            manager_cli.main(["auth", "list", "--listen", str(other.at), "--home", str(tmp_path)])
        else:
            home, port = f'home = "{tmp_path}"', f"rpc_server.port = {other.at.port}"
            (tmp_path / "worker.toml").write_text(f"[worker]\n{home}\n{port}\n")
            worker_cli.main(["auth", "list", "-c", str(tmp_path / "worker.toml")])
        assert b"Damocles.AuthList" in other.heard
        assert TOKEN.encode() not in other.heard
    assert TOKEN not in capsys.readouterr().err


async def test_a_refusal_says_that_the_token_was_kept_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever is refused for want of a token learns that it was there, and why it was not sent."""
    durable.replace(tmp_path / "token", b"dmc_ba9876543210OfAnotherHome\n", private=True)

    async def identify(_: str) -> callers.Principal:
        raise AssertionError

    service = core.Service(dialects.MANAGER, guard=access.Guard(identify, help_text="it is in its home"))
    app = doorstep.watched(site.manager_app(service), doorstep.Door(digests=DIGESTS.get))
    async with server.serve(app, "127.0.0.1", 0) as bound:
        command = ["auth", "list", "--listen", str(bound), "--home", str(tmp_path)]
        assert 7 == await anyio.to_thread.run_sync(manager_cli.main, command)
    assert capsys.readouterr().err.endswith("; our token was not sent: the server there does not know our token\n")


async def test_a_worker_hands_nothing_to_whoever_took_its_manager_s_port(tmp_path: Path) -> None:
    """Neither its token nor the one to call it back with goes to a manager that does not know the first."""
    file = tmp_path / "worker-token"
    durable.replace(file, f"{TOKEN}\n".encode(), private=True)
    ring = await worker_access.open_keyring(tmp_path)
    with impostor() as other:
        settings = settings_for(other.at, file)
        async with connections.managers(settings, ring) as peer:
            with pytest.raises(errors.Unknowing):
                await peer.call(PING)
        assert b"dmc_" not in other.heard
        assert core.HANDED.encode() not in other.heard.lower()
        assert other.heard.startswith(b"GET /knows/")


async def test_a_token_that_comes_later_is_asked_for_too(tmp_path: Path) -> None:
    """A connection from before the worker had a token does not serve to send it."""
    file = tmp_path / "worker-token"
    ring = await worker_access.open_keyring(tmp_path)
    with impostor() as other:
        async with connections.managers(settings_for(other.at, file), ring) as peer:
            await peer.call(PING)
            durable.replace(file, f"{TOKEN}\n".encode(), private=True)
            with pytest.raises(errors.Unknowing):
                await peer.call(PING)
        assert TOKEN.encode() not in other.heard


async def test_a_worker_s_token_goes_through_no_network_in_the_clear(tmp_path: Path) -> None:
    """A worker whose manager is on another machine wants https, or the word insecure."""
    file = tmp_path / "worker-token"
    durable.replace(file, f"{TOKEN}\n".encode(), private=True)
    ring = await worker_access.open_keyring(tmp_path)
    elsewhere = address.Endpoint("198.51.100.7", 1789)
    with pytest.raises(worker_access.Unusable, match=r"unencrypted: use https:// .* or set insecure = true on the"):
        async with connections.managers(settings_for(elsewhere, file), ring):
            pass
    insecure = model.Worker(rpc_server=model.RpcServer(insecure=True))
    async with connections.managers(settings_for(elsewhere, file).model_copy(update={"worker": insecure}), ring):
        pass


async def test_a_worker_hands_nothing_to_whoever_has_a_further_address(tmp_path: Path) -> None:
    """When its manager is away it looks elsewhere, and shows its token there no sooner than here."""
    file = tmp_path / "worker-token"
    durable.replace(file, f"{TOKEN}\n".encode(), private=True)
    ring = await worker_access.open_keyring(tmp_path)
    with socket.socket() as closed, impostor() as other:
        closed.bind(("127.0.0.1", 0))
        settings = settings_for(address.Endpoint(*closed.getsockname()), file)
        both = settings.sector_manager.model_copy(update={"addresses": (other.at.url(""),)})
        async with connections.managers(settings.model_copy(update={"sector_manager": both}), ring) as peer:
            with pytest.raises(errors.Unreachable):
                await peer.call(PING)
            assert [True, True] == [bool(seen.error) for seen in peer.seen()]
        assert b"dmc_" not in other.heard
        assert core.HANDED.encode() not in other.heard.lower()
        assert other.heard.startswith(b"GET /knows/")


@contextlib.contextmanager
def piece_from(server: address.Endpoint, token: str, name: str) -> Iterator[bytes]:
    """Yield the payload of a piece that a worker with this token gets from a manager there."""
    origin = server.url("")
    source = tasks.PieceSource({"url": f"{origin}/piecestore/{name}"}, 3, 127)
    around = job.Job(lambda _: None)
    with pieces.source(source, around, {origin: token}, {}, [origin]) as descriptor:
        assert descriptor is not None
        yield os.read(descriptor, 3)


async def test_pieces_are_got_and_given_from_who_knows_the_token_alone(
    start_manager: StartManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token goes with a piece to the manager that knows it, and to nobody on its port, in either direction."""
    monkeypatch.setattr(pieces, "_PAUSES_SECONDS", ())
    file = tmp_path / "piece"
    file.write_bytes(b"xyz")

    def get(server: address.Endpoint, token: str) -> bytes:
        with piece_from(server, token, CID) as payload:
            return payload

    def put(server: address.Endpoint, token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        task = tasks.Upload(str(file), server.url(f"/piecestore/{CID}"), headers, known_token=token)
        return uploads.run(task, job.Job(lambda _: None))

    async with start_manager() as manager:
        token = manager.token  # an admin may bring a piece that nobody unseals
        there = address.Endpoint("127.0.0.1", int(manager.url.split(":")[2].partition("/")[0]))
        # A worker brings only what it is asked to unseal; an admin brings what it likes.
        assert 3 == await anyio.to_thread.run_sync(put, there, manager.token)
        assert b"xyz" == await anyio.to_thread.run_sync(get, there, token)
    with impostor() as other:
        with pytest.raises(pieces.PieceUnavailable, match=r"the server there does not know our token$"):
            await anyio.to_thread.run_sync(get, other.at, token)
        with pytest.raises(uploads.UploadFailed, match=r"the server there does not know our token$"):
            await anyio.to_thread.run_sync(put, other.at, token)
        assert b"dmc_" not in other.heard
        assert b"xyz" not in other.heard.replace(CID.encode(), b"")


def test_a_worker_s_tasks_say_who_must_know_its_token(tmp_path: Path) -> None:
    """Over http it is the manager, and nobody over https or where the network is said to be trusted."""
    file = tmp_path / "worker-token"
    here = settings_for(address.Endpoint("127.0.0.1", 1), file)
    assert connections.piece_stores(here).must_know
    insecure = model.Worker(rpc_server=model.RpcServer(insecure=True))
    assert not connections.piece_stores(here.model_copy(update={"worker": insecure})).must_know


def settings_for(manager_at: address.Endpoint, token_file: Path) -> model.Config:
    """Return the settings of a worker with a manager there."""
    return model.Config.model_validate(
        {"sector_manager": {"rpc_client": {"addr": str(manager_at)}, "token_file": token_file}, "sealing_thread": []}
    )


@pytest.mark.parametrize(
    ("here", "there", "same"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.9", True),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("10.0.0.2", "10.0.0.2", True),
        ("fe80::1%eth0", "fe80::1%2", True),
        ("10.0.0.2", "10.0.0.3", False),
        ("127.0.0.1", "10.0.0.3", False),
        ("fd00::1", "fd00::2", False),
    ],
)
def test_both_ends_of_a_connection_show_whether_it_stays_here(here: str, there: str, same: bool) -> None:
    """A system calls itself from the address that it calls, and from loopback to loopback."""
    assert same == handshake.same_machine(here, there)


async def test_revoked_tokens_are_known(tmp_path: Path) -> None:
    """The holder of a token that is good for nothing any more is told so, and not that nobody knows it."""
    ring = await worker_access.open_keyring(tmp_path)
    text = token_files.read_file(tmp_path / "token")
    await ring.revoke("local")
    assert token_files.digest(text) == ring.digest_of(token_files.id_of(text))
    assert None is ring.digest_of("0" * 12)


async def test_a_worker_answers_the_question_too() -> None:
    """It does so at any path of its own, and beside the strict dialect of its calls."""
    service = core.Service(dialects.WORKER)
    service.add("Venus.Version", whoami)
    door = doorstep.Door(digests=DIGESTS.get)
    async with server.serve(doorstep.watched(asgi.worker_app(service), door), "127.0.0.1", 0) as bound:
        assert (TOKEN, "") == await asked_blocking(address.worker_url(str(bound)))


@pytest.mark.parametrize("left", ["nowhere", "not connected"])
async def test_a_server_that_leaves_at_once_is_one_that_is_away(left: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that has ended by the time its ends are looked at is no defect: the next try may find the server."""

    def end(_stream: object, _info: str) -> None:
        if left == "not connected":
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(httpcore2.AnyIOBackend.connect_tcp.__globals__["AnyIOStream"], "get_extra_info", end)
    monkeypatch.setattr(httpcore2.SyncBackend.connect_tcp.__globals__["SyncStream"], "get_extra_info", end)
    async with manager() as here:
        with pytest.raises(errors.Unreachable):
            await asked(address.manager_url(str(here)))
        with httpx2.Client() as blocking, pytest.raises(httpx2.ConnectError):
            await anyio.to_thread.run_sync(
                lambda: blocking.post(f"http://{here}/", extensions={"trace": handshake.tracer(TOKEN)})
            )
