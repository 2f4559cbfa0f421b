"""Odd shapes of HTTP: each is refused or read in one way only, and what is hidden behind one is not answered."""

import contextlib
import urllib.parse
from typing import NamedTuple

import anyio
import pytest
from tests.integration.access.conftest import StartManager, StartWorker

CALL = b'{"id":1,"method":"Venus.StoreList","params":[],"jsonrpc":"2.0"}'
# Hidden behind another request; an answer to it would have this id.
HIDDEN = b'{"id":"hidden","method":"Venus.StoreList"}'
INNER = b"POST /rpc/v0 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN
CHUNKS = b"%x\r\n" % len(CALL) + CALL + b"\r\n0\r\n\r\n"


class Shape(NamedTuple):
    """A request, and the status of the answer; 0 for none."""

    sent: bytes
    status: int


def shape(
    head: bytes = b"", body: bytes = CALL, *, line: bytes = b"POST /rpc/v0 HTTP/1.1", host: bytes = b"Host: x\r\n"
) -> bytes:
    """Write a request."""
    return line + b"\r\n" + host + head + b"\r\n" + body


LENGTH = b"Content-Length: %d\r\n" % len(CALL)
CHUNKED = b"Transfer-Encoding: chunked\r\n"

AMBIGUOUS = {
    "both lengths": Shape(shape(LENGTH + CHUNKED, CHUNKS + INNER), 400),
    "both lengths, the other way": Shape(shape(CHUNKED + LENGTH, CHUNKS + INNER), 400),
    "both, and no body": Shape(shape(b"Content-Length: 0\r\n" + CHUNKED, b"0\r\n\r\n" + INNER), 400),
    "two lengths": Shape(shape(LENGTH + b"Content-Length: 0\r\n", CALL + INNER), 400),
    "a list of lengths": Shape(shape(b"Content-Length: 0, %d\r\n" % len(CALL), CALL + INNER), 400),
    "a length with a sign": Shape(shape(b"Content-Length: +%d\r\n" % len(CALL), CALL + INNER), 400),
    "a negative length": Shape(shape(b"Content-Length: -1\r\n", CALL + INNER), 400),
    "a length in hexadecimal": Shape(shape(b"Content-Length: 0x3f\r\n", CALL + INNER), 400),
    "an empty length": Shape(shape(b"Content-Length: \r\n", CALL + INNER), 400),
    "another encoding": Shape(shape(b"Transfer-Encoding: gzip, chunked\r\n", CHUNKS + INNER), 400),
    "an unknown encoding": Shape(shape(b"Transfer-Encoding: xchunked\r\n", CHUNKS + INNER), 400),
    "two encodings": Shape(shape(CHUNKED + CHUNKED, CHUNKS + INNER), 400),
    "a blank before the colon": Shape(shape(b"Content-Length : %d\r\n" % len(CALL), CALL + INNER), 400),
    "a folded header": Shape(shape(b"X: a\r\n Content-Length: 5\r\n" + LENGTH, CALL), 401),
    "a chunk that is too long to count": Shape(shape(CHUNKED, b"F" * 30 + b"\r\n" + CALL), 400),
    "a negative chunk": Shape(shape(CHUNKED, b"-1\r\n" + CALL), 400),
    "a chunk without an end": Shape(shape(CHUNKED, b"3\r\nabcdef\r\n0\r\n\r\n" + INNER), 400),
}
OTHERS = {
    "no host": Shape(shape(LENGTH, host=b""), 400),
    "two hosts": Shape(shape(LENGTH, host=b"Host: x\r\nHost: y\r\n"), 400),
    "a zero byte": Shape(shape(b"X: a\x00b\r\n" + LENGTH), 400),
    "a version that there is not": Shape(shape(LENGTH, line=b"POST /rpc/v0 HTTP/9.9"), 401),
    "HTTP 0.9": Shape(b"GET /rpc/v0\r\n\r\n", 400),
    "HTTP 1.0": Shape(shape(LENGTH, line=b"POST /rpc/v0 HTTP/1.0", host=b""), 401),
    "another's URL": Shape(shape(LENGTH, line=b"POST http://evil.example/rpc/v0 HTTP/1.1"), 401),
    "a tunnel": Shape(shape(line=b"CONNECT evil.example:80 HTTP/1.1", body=b""), 401),
    "an asterisk": Shape(shape(line=b"OPTIONS * HTTP/1.1", body=b""), 401),
    "a path above": Shape(shape(LENGTH, line=b"POST /healthcheck/../rpc/v0 HTTP/1.1"), 401),
    "a path with a zero": Shape(shape(LENGTH, line=b"POST /healthcheck%00 HTTP/1.1"), 401),
    "two slashes": Shape(shape(LENGTH, line=b"POST //rpc/v0 HTTP/1.1"), 401),
    "a method in small letters": Shape(shape(LENGTH, line=b"post /rpc/v0 HTTP/1.1"), 401),
    "a method that is none": Shape(shape(LENGTH, line=b"P\xc3\x96ST /rpc/v0 HTTP/1.1"), 400),
    "a very long header": Shape(shape(b"X: " + b"a" * 1_000_000 + b"\r\n" + LENGTH), 400),
    "a very long path": Shape(shape(LENGTH, line=b"POST /" + b"a" * 1_000_000 + b" HTTP/1.1"), 400),
    "another protocol": Shape(shape(b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + LENGTH), 401),
    "trailing headers": Shape(
        shape(CHUNKED, CHUNKS.removesuffix(b"\r\n") + b"Authorization: Bearer dmc_x\r\nOrigin: x\r\n\r\n"), 401
    ),
    "the same length twice": Shape(shape(LENGTH + LENGTH), 401),
}


async def answers(url: str, sent: bytes, *, ends: bool = True) -> bytes:
    """Return all that a daemon answers until it closes the connection, after we have said all, and that it is all."""
    parts = urllib.parse.urlsplit(url)
    said = b""
    async with await anyio.connect_tcp(str(parts.hostname), parts.port or 0) as peer:
        with anyio.fail_after(60), contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            await peer.send(sent)
            if ends:
                await peer.send_eof()
            while True:
                said += await peer.receive()
    return said


@pytest.mark.parametrize("one", [pytest.param(one, id=name) for name, one in (AMBIGUOUS | OTHERS).items()])
async def test_a_manager_reads_a_shape_in_one_way(start_manager: StartManager, one: Shape) -> None:
    """The first answer is the only one, says what is expected, and harms nobody else."""
    async with start_manager() as manager:
        said = await answers(manager.url, one.sent)
        is_cut_off = len(one.sent) > 500_000 and not said  # what was not read yet may take the answer with it
        assert is_cut_off or b"HTTP/1.1 %d " % one.status == said[:13], said
        assert is_cut_off or 1 == said.count(b"HTTP/1.1 ")
        assert b"hidden" not in said
        assert [] == await manager.call("Venus.WorkerPingInfoList")


@pytest.mark.parametrize("one", [pytest.param(one, id=name) for name, one in AMBIGUOUS.items()])
async def test_a_worker_does_so_too(start_worker: StartWorker, one: Shape) -> None:
    """Lengths that are ambiguous are refused by a worker likewise."""
    async with start_worker() as worker:
        said = await answers(worker.url, one.sent.replace(b"Host:", b"Content-Type: application/json\r\nHost:", 1))
    assert b"HTTP/1.1 %d " % one.status == said[:13], said
    assert b"hidden" not in said


async def test_requests_in_a_row_are_answered_in_turn(start_manager: StartManager) -> None:
    """What is sent without waiting is answered in order, each by its own length."""
    first = shape(LENGTH).replace(b'"id":1', b'"id":7')
    async with start_manager() as manager:
        said = await answers(manager.url, first + INNER)
    assert said.index(b'"id":7') < said.index(b'"id":"hidden"')


@pytest.mark.parametrize(
    "head",
    [LENGTH + CHUNKED, CHUNKED, LENGTH, b"X: y\r\n" * 200, b"X: " + b"y" * 9000 + b"\r\n"],
    ids=["both lengths", "chunked", "a length", "many headers", "a long header"],
)
async def test_a_handshake_that_is_none_is_refused(start_manager: StartManager, head: bytes) -> None:
    """A WebSocket's handshake with a body, or more than one needs, is refused at once, and nothing behind it is read."""
    upgrade = (
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: 4akZRFi3DuJ6aHYl39r0EQ==\r\n"
    )
    async with start_manager() as manager:
        said = await answers(
            manager.url, shape(upgrade + head, CHUNKS + INNER, line=b"GET /rpc/v0 HTTP/1.1"), ends=False
        )
    assert b"HTTP/1.1 400 " == said[:13], said
    assert b"hidden" not in said
