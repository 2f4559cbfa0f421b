"""Odd handshakes of TLS: refused or read in one way only, and nobody else is held up."""

import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from tests.integration.access.conftest import Daemon, StartManager

from damocles import methods
from damocles.cli import manager as manager_cli
from damocles.rpc import tls
from damocles.rpc.calling import client

CALL = b"POST /rpc/v0 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority and certificates of a manager and a worker."""
    folder = tmp_path_factory.mktemp("tls")
    hosts = ("--host", "manager,127.0.0.1", "--host", "gpu1,127.0.0.1")
    assert 0 == manager_cli.main(["auth", "ca", "--dir", str(folder), *hosts])
    return folder


def hello() -> bytes:
    """Return the first message of a client, as OpenSSL writes it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    peer = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="manager")
    with contextlib.suppress(ssl.SSLWantReadError):
        peer.do_handshake()
    return outgoing.read()


def said(where: tuple[str, int], sent: bytes) -> bytes:
    """Send bytes and say that they are all; return what comes until the connection ends."""
    with socket.create_connection(where, 10) as peer, contextlib.suppress(ConnectionError):
        peer.sendall(sent)
        peer.shutdown(socket.SHUT_WR)
        heard = b""
        while more := peer.recv(1 << 16):
            heard += more
        return heard
    return b""


ODD: dict[str, Callable[[], bytes]] = {
    "plain HTTP": lambda: CALL,
    "half a hello": lambda: hello()[: len(hello()) // 2],
    "a hello twice": lambda: hello() * 2,
    "a hello and plain HTTP": lambda: hello() + CALL,
    "a record that is too long": lambda: b"\x16\x03\x01\xff\xff" + os.urandom(70_000),
    "an empty record": lambda: b"\x16\x03\x01\x00\x00",
    "an alert": lambda: b"\x15\x03\x03\x00\x02\x02\x28",
    "data before a handshake": lambda: b"\x17\x03\x03\x00\x40" + CALL[:64],
    "SSL 2": lambda: b"\x80\x2e\x01\x00\x02" + b"\x00" * 41,
    "a heartbeat": lambda: hello() + b"\x18\x03\x02\x00\x03\x01\x40\x00",
    "noise": lambda: os.urandom(4096),
}


async def still_serves(manager: Daemon, farm: Path) -> bool:
    """Return whether others are answered."""
    async with client.connect(manager.url, token=manager.token, trust=farm / "ca.pem", timeout_seconds=10) as peer:
        return (await peer.call(methods.util.version())).startswith("v")


def certificate(farm: Path) -> tls.Files:
    """Return the manager's."""
    return tls.Files(farm / "manager.pem", farm / "manager.key")


def port_of(manager: Daemon) -> int:
    """Return where a manager listens."""
    return int(manager.url.split(":")[2].partition("/")[0])


async def test_what_is_no_handshake_is_ended(start_manager: StartManager, farm: Path) -> None:
    """No answer of HTTP goes to whoever speaks no TLS, and the connection ends; others are served."""
    async with start_manager(certificate=certificate(farm)) as manager:
        for name, odd in ODD.items():
            heard = await anyio.to_thread.run_sync(said, ("127.0.0.1", port_of(manager)), odd())
            assert b"HTTP/1" not in heard, name
            assert b"jsonrpc" not in heard, name
        assert await still_serves(manager, farm)


@contextlib.contextmanager
def dialled(where: tuple[str, int], context: ssl.SSLContext, name: str | None = None) -> Iterator[ssl.SSLSocket]:
    """Connect as a client that trusts everybody."""
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(where, 10) as plain,
        context.wrap_socket(plain, server_hostname=name) as secured,
    ):
        yield secured


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_old_versions_are_refused(start_manager: StartManager, farm: Path, version: ssl.TLSVersion) -> None:
    """Versions that are broken are not spoken, even with whoever speaks no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version

    def dial(port: int) -> None:
        with dialled(("127.0.0.1", port), context):
            pass

    async with start_manager(certificate=certificate(farm)) as manager:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await anyio.to_thread.run_sync(dial, port_of(manager))
        assert await still_serves(manager, farm)


@pytest.mark.parametrize("ciphers", ["aNULL:eNULL:@SECLEVEL=0", "RC4:3DES:@SECLEVEL=0", "AES128-SHA:@SECLEVEL=0"])
async def test_weak_ciphers_are_refused(start_manager: StartManager, farm: Path, ciphers: str) -> None:
    """Neither ciphers without encryption or proof of who answers, nor those that a stolen key would open later."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.set_ciphers(ciphers)
    except ssl.SSLError:
        pytest.skip(f"this OpenSSL has no {ciphers}")

    def dial(port: int) -> None:
        with dialled(("127.0.0.1", port), context):
            pass

    async with start_manager(certificate=certificate(farm)) as manager:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await anyio.to_thread.run_sync(dial, port_of(manager))


async def test_a_client_s_certificate_is_no_token(start_manager: StartManager, farm: Path) -> None:
    """A certificate of our own authority, and any name that is asked for, let nobody in without a token."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(farm / "gpu1.pem", farm / "gpu1.key")
    context.set_alpn_protocols(["h2", "http/1.1"])

    def dial(port: int, name: str) -> tuple[str | None, bytes]:
        with dialled(("127.0.0.1", port), context, name) as peer:
            peer.sendall(CALL)
            return peer.selected_alpn_protocol(), peer.recv(1 << 16)

    async with start_manager(certificate=certificate(farm)) as manager:
        for name in ("manager", "localhost", "evil.example", "x" * 60):
            protocol, heard = await anyio.to_thread.run_sync(dial, port_of(manager), name)
            assert protocol != "h2"
            assert heard[:12] in {b"HTTP/1.1 401", b"HTTP/1.1 500"}, heard


def descriptors() -> int:
    """Return how many files and sockets this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_handshakes_that_are_given_up_leave_nothing(start_manager: StartManager, farm: Path) -> None:
    """Many that begin and go leave no connection behind, and others are served meanwhile."""

    def begin_and_go(port: int) -> None:
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", port), 10) as peer:
                peer.sendall(hello())

    async with start_manager(certificate=certificate(farm)) as manager:
        assert await still_serves(manager, farm)  # what the daemon opens itself for a first call is open now
        before = descriptors()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, begin_and_go, port_of(manager))
            assert await still_serves(manager, farm)
        with anyio.fail_after(60):
            while descriptors() > before + 10:
                await anyio.sleep(0.01)
        assert await still_serves(manager, farm)
