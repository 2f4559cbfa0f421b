"""Besiege a manager and a worker: strangers, a hostile worker, and tokens with scope read that have leaked, all at once.

`python -m damocles.testing.siege --manager HOST:PORT --worker HOST:PORT --read FILE --worker-read FILE --worker-token FILE`
goes on until it is killed. Everybody does as much harm as fast as possible; what is refused is tried again.
"""

import argparse
import base64
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import SocketAttribute, SocketStream

from damocles import methods
from damocles.rpc import address, errors, messages
from damocles.rpc.calling import client
from damocles.wire import commitments, control, fleet
from damocles.wire.sectors import SectorID

STRANGERS = 30
HOARDED = 300  # connections of a token that leaked
UNREAD = 60  # answers
PAUSE_SECONDS = 0.05
MIB = 1 << 20

Attack = Callable[[], Awaitable[None]]
_BROKEN = (OSError, anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError, errors.CallError)


@dataclass(frozen=True, slots=True)
class Target:
    """A daemon: where it is, the path of its methods, and a token of it that has leaked."""

    where: address.Endpoint
    path: str
    token: str
    readable: Sequence[bytes]  # calls whose answers are large

    def request(self, body: bytes, *, token: bool = True, length: int | None = None) -> bytes:
        """Return an HTTP request, whose body may be a part of what its head says."""
        authorization = f"Authorization: Bearer {self.token}\r\n" if token else ""
        head = f"POST {self.path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{authorization}"
        return f"{head}Content-Length: {length or len(body)}\r\n\r\n".encode() + body

    def handshake(self, *, token: bool) -> bytes:
        """Return the request for a WebSocket."""
        authorization = f"Authorization: Bearer {self.token}\r\n" if token else ""
        key = base64.b64encode(os.urandom(16)).decode()
        return (
            f"GET {self.path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{authorization}"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        ).encode()


def body_of(ask: methods.Ask[Any]) -> bytes:
    """Write a call."""
    return messages.encode_call(1, ask.method, ask.params)


async def for_ever(attack: Attack) -> None:
    """Attack again and again, whatever comes of it."""
    while True:
        with contextlib.suppress(*_BROKEN):
            await attack()
        await anyio.sleep(PAUSE_SECONDS)


@asynccontextmanager
async def connected(target: Target) -> AsyncIterator[SocketStream]:
    """Connect to a daemon."""
    async with await anyio.connect_tcp(target.where.host, target.where.port) as peer:
        yield peer


async def pour(peer: SocketStream, size: int) -> None:
    """Send much."""
    for _ in range(size // 65536):
        await peer.send(b"x" * 65536)


# Strangers ----------------------------------------------------------------------------------------------------------


def strangers(target: Target) -> list[Attack]:
    """Return what peers without a token do."""

    async def websocket(*, token: bool = False) -> None:
        async with connected(target) as peer:
            await peer.send(target.handshake(token=token))
            await peer.receive()
            await peer.send(b"\x81\xff" + (15 * MIB).to_bytes(8, "big") + b"mask")
            await pour(peer, 15 * MIB)

    async def body() -> None:
        async with connected(target) as peer:
            await peer.send(target.request(b"{", token=False, length=20 * MIB))
            await pour(peer, 20 * MIB)

    async def name() -> None:
        async with connected(target) as peer:
            await peer.send(target.request(b'{"method":"m","id":"' + b"x" * 60_000 + b'"}', token=False))
            await peer.receive()

    async def half_a_head() -> None:
        async with connected(target) as peer:
            await peer.send(b"POST /rpc/v0 HTTP/1.1\r\nHost: ")
            await anyio.sleep(2)

    async def other_protocol() -> None:
        async with connected(target) as peer:
            await peer.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 2000)
            await peer.receive()

    return [websocket, body, name, half_a_head, other_protocol]


# A token that has leaked --------------------------------------------------------------------------------------------


def readers(target: Target) -> list[Attack]:
    """Return what whoever has a token with scope read does, to take the daemon from others."""

    async def hoard() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(HOARDED):
                peer = await stack.enter_async_context(connected(target))
                await peer.send(target.request(target.readable[-1]))
            await anyio.sleep(2)

    async def leave_unread() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for number in range(UNREAD):
                peer = await stack.enter_async_context(connected(target))
                await peer.send(target.request(target.readable[number % len(target.readable)]))
            await anyio.sleep(2)

    async def converse() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(UNREAD):
                peer = await stack.enter_async_context(connected(target))
                await peer.send(target.handshake(token=True))
                for body in target.readable:
                    masked = bytes(byte ^ mask for byte, mask in zip(body, b"mask" * len(body), strict=False))
                    await peer.send(b"\x81\xfe" + len(body).to_bytes(2, "big") + b"mask" + masked)
            await anyio.sleep(2)

    async def large_body() -> None:
        async with connected(target) as peer:
            await peer.send(target.request(b"{", length=16 * MIB))
            await pour(peer, 16 * MIB)

    async def elsewhere() -> None:
        async with connected(target) as peer:
            dests = [f"https://127.0.0.1:{port}" for port in range(1, 200)]
            await peer.send(target.request(body_of(methods.fleet.threads(control.Selection(workers=dests)))))
            await peer.receive()

    return [hoard, leave_unread, converse, large_body, elsewhere]


# A worker that has been taken over ----------------------------------------------------------------------------------


async def answer(peer: SocketStream, kind: int) -> None:
    """Answer the manager's call with what is meant to harm it."""
    async with peer:
        with contextlib.suppress(*_BROKEN):
            await peer.receive()
            match kind:
                case 0:
                    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (90 * MIB))
                    await pour(peer, 90 * MIB)
                case 1:
                    await _send(peer, b'{"id":1,"result":' + b"[" * 200_000 + b"]" * 200_000 + b"}")
                case 2:
                    thread = (
                        b'{"since":0,"info":{"location":"","plan":"","job_id":null,"index":0,"thread_state":{"state":"Paused"}'
                        b',"job_state":"","job_stage":null,"last_error":null}}'
                    )
                    await _send(peer, b'{"id":1,"result":[' + b",".join([thread] * 20_000) + b"]}")
                case 3:
                    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                    await anyio.sleep_forever()
                case _:
                    await peer.send(b"HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")


async def _send(peer: SocketStream, body: bytes) -> None:
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


KINDS = 5


async def hostile_worker(target: Target, token: str) -> None:
    """Ping under some names, answer with harm, and bring pieces, reports and connections."""
    async with anyio.create_task_group() as tasks:
        pings = []
        for number in range(KINDS):
            listener = await anyio.create_tcp_listener(local_host="127.0.0.1")

            async def serve(peer: SocketStream, number: int = number) -> None:
                await answer(peer, number)

            tasks.start_soon(listener.serve, serve)
            port = listener.extra(SocketAttribute.local_port)  # noqa: S610 (no Django here)
            pings.append(fleet.WorkerInfo(f"evil{number}", f"127.0.0.1:{port}"))

        async def ping() -> None:
            async with client.connect(target.where.url(target.path), token=token) as manager:
                for info in pings:
                    await manager.call(methods.sealer.worker_ping(info))
                await manager.call(methods.sealer.report_aborted(SectorID(10000, 1), "x" * 900_000))

        async def bring() -> None:
            piece = commitments.unsealed_cid(os.urandom(31) + b"\x00")
            head = f"PUT /piecestore/{piece} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            async with connected(target) as peer:
                await peer.send(f"{head}Content-Length: {60 * MIB}\r\n\r\n".encode())
                await pour(peer, 60 * MIB)

        for attack in (ping, bring, bring):
            tasks.start_soon(for_ever, attack)


async def besiege(manager: Target, worker: Target, worker_token: str) -> None:
    """Let everybody attack, the strangers both daemons."""
    async with anyio.create_task_group() as tasks:
        everywhere = [*strangers(manager), *strangers(worker)]
        for number in range(STRANGERS):
            tasks.start_soon(for_ever, everywhere[number % len(everywhere)])
        for target in (manager, worker):
            for attack in readers(target):
                tasks.start_soon(for_ever, attack)
        tasks.start_soon(hostile_worker, manager, worker_token)


def main() -> None:
    """Besiege until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manager", required=True)
    parser.add_argument("--worker", required=True)
    for name in ("read", "worker-read", "worker-token"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    asked = parser.parse_args()
    manager = Target(
        address.host_port(asked.manager, 0),
        address.MANAGER_PATH,
        asked.read.read_text().strip(),
        [
            body_of(methods.access.list_audit(control.AuditQuery(limit=10_000))),
            body_of(methods.fleet.threads(control.Selection(all=True))),
            body_of(methods.util.version()),
        ],
    )
    worker = Target(
        address.host_port(asked.worker, 0),
        "/",
        asked.worker_read.read_text().strip(),
        [
            body_of(methods.worker.logs(0, 0, 30)),
            body_of(methods.worker.threads()),
            body_of(methods.worker.version()),
        ],
    )
    anyio.run(besiege, manager, worker, asked.worker_token.read_text().strip())


if __name__ == "__main__":
    main()
