"""Where the bytes of a piece come from: a local file, an HTTP server, or nowhere (zeros)."""

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from damocles.stages import job
from damocles.stores import pieces
from damocles.wire import tasks

if TYPE_CHECKING:
    import httpx2

TOKEN_VARIABLE = "PIECE_FETCHER_TOKEN"  # noqa: S105 - the name of a variable
_NAMESPACE = "v1.IMarket"
_CONNECT_SECONDS = 5
_SILENCE_SECONDS = 300
_PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # between attempts that bring nothing
_PIPE_BYTES = 1 << 20
_PARTIAL_CONTENT = 206


class PieceUnavailable(Exception):
    """A piece cannot be read."""


@contextlib.contextmanager
def source(
    piece: tasks.PieceSource,
    around: job.Job,
    tokens: Mapping[str, str] | None = None,
    authorities: Mapping[str, str] | None = None,
) -> Iterator[int | None]:
    """Open the payload of a piece as a descriptor; `None` means that the whole piece is zeros.

    `tokens` and `authorities` are those of `tasks.AddPieces`.

    Raises:
        PieceUnavailable: The payload cannot be had, or is not what the task says.
    """
    if piece.payload_size > piece.piece_size:
        msg = f"payload of {piece.payload_size} bytes does not fit in a piece of {piece.piece_size} unpadded bytes"
        raise PieceUnavailable(msg)
    match piece.piece_file:
        case "pledge":
            yield None
        case _ if piece.payload_size == 0:
            yield None
        case {"local": str(path)}:
            yield from _local(path, piece.payload_size)
        case {"url": str(url)}:
            token = (tokens or {}).get(pieces.origin_of(url))
            server = _Server(url, token, authorities or {})
            with _download(server, piece.payload_size, around) as descriptor:
                yield descriptor
        case other:
            msg = f"piece source {other!r} is unknown: expected {{'local': path}}, {{'url': url}} or 'pledge'"
            raise PieceUnavailable(msg)


def _local(path: str, payload_bytes: int) -> Iterator[int]:
    try:
        file = Path(path).open("rb", buffering=0)  # noqa: SIM115 - closed right below
    except OSError as error:
        msg = f"piece {path}: {error.strerror}"
        raise PieceUnavailable(msg) from error
    with file:
        there = os.fstat(file.fileno()).st_size
        if there < payload_bytes:
            msg = f"piece {path} has {there} bytes, its deal says {payload_bytes}"
            raise PieceUnavailable(msg)
        yield file.fileno()


@contextlib.contextmanager
def _download(server: "_Server", payload_bytes: int, around: job.Job) -> Iterator[int]:
    """Stream a piece through a pipe, as the reader wants a descriptor.

    A download that breaks looks to the reader like a short file; the reason for it is then raised in its stead.
    """
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    broken: list[Exception] = []

    def feed() -> None:
        with open(write_end, "wb", buffering=0) as pipe:  # noqa: PTH123
            try:
                _feed(pipe, server, payload_bytes, around)
            except BrokenPipeError:
                pass  # the reader gave up and says why
            except Exception as error:  # noqa: BLE001 - handed over to the reader's thread
                broken.append(error)

    feeder = threading.Thread(target=feed, name="piece", daemon=True)
    feeder.start()
    try:
        yield read_end
    except Exception as error:
        if broken:
            raise broken[0] from error
        raise
    finally:
        os.close(read_end)
    feeder.join()
    if broken:
        raise broken[0]


def _feed(pipe: FileIO, server: "_Server", payload_bytes: int, around: job.Job) -> None:
    """Write a payload to a pipe; where the connection breaks, go on from there with a new one.

    It breaks for good when some attempts in a row have not brought a single byte.
    """
    done = 0
    pauses = list(_PAUSES_SECONDS)
    while True:
        began_at = done
        try:
            with contextlib.closing(_fetch(server, done)) as chunks:
                for chunk in chunks:
                    rest = memoryview(chunk)[: payload_bytes - done]
                    done += len(rest)
                    while rest:
                        rest = rest[pipe.write(rest) :]
                    around.progress(done, payload_bytes)
                    if done == payload_bytes:
                        return
            msg = f"piece {server.url} ended after {done} bytes, its deal says {payload_bytes}"
            raise PieceUnavailable(msg)
        except _Interrupted as interrupted:
            pauses = list(_PAUSES_SECONDS) if done > began_at else pauses
            if not pauses:
                raise PieceUnavailable(str(interrupted)) from interrupted
            pause_seconds = pauses.pop(0)
            here = f"{done} of {payload_bytes} bytes are here"
            around.wait(f"{interrupted}; {here}, going on in {pause_seconds:g}s", done, payload_bytes)
            _sleep(pause_seconds, around)


def _sleep(seconds: float, around: job.Job) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        around.check()
        time.sleep(min(left, 0.2))


@dataclass(frozen=True, slots=True)
class _Server:
    """Where a piece comes from, the token to show there, and whom to trust, by origin."""

    url: str
    token: str | None
    authorities: Mapping[str, str]

    def client(self, url: str) -> "httpx2.Client":
        """Return a client for this URL, or for where it leads."""
        import httpx2  # noqa: PLC0415 - see `_fetch`

        from damocles.rpc import tls  # noqa: PLC0415 - likewise

        timeout = httpx2.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS)
        return httpx2.Client(timeout=timeout, verify=tls.client_context(self.authorities.get(pieces.origin_of(url))))


class _Interrupted(Exception):
    """The server cannot be reached, has hung up or stands still: the next attempt may have more luck."""


def _fetch(server: "_Server", offset: int) -> Generator[bytes]:
    """Get a piece in chunks, from an offset on.

    The first request shows the token for the manager, if there is one. Where it is redirected to (the manager's piece
    store sends on to the market) gets that of `PIECE_FETCHER_TOKEN`; further redirects are followed as usual, without
    the token on another host. There is no limit to how long it takes, only to how long no byte comes.
    """
    import httpx2  # noqa: PLC0415 - 15 MB that only pieces by URL need

    from damocles.rpc import tls  # noqa: PLC0415 - likewise

    url, token = server.url, server.token
    span = {"Accept-Encoding": "identity", **({"Range": f"bytes={offset}-"} if offset else {})}
    first = {"Authorization": f"Bearer {token}"} if token is not None else {}
    try:
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(server.client(url))
            response = stack.enter_context(client.stream("GET", url, headers={**span, **first}))
            if response.has_redirect_location:
                target = urljoin(url, response.headers["Location"])
                stack.pop_all().close()
                client = stack.enter_context(server.client(target))
                response = stack.enter_context(
                    client.stream("GET", target, headers={**span, **_market_headers()}, follow_redirects=True)
                )
            skipped = _check_answer(url, response, offset)
            for chunk in response.iter_bytes():
                fresh = chunk[skipped:]
                skipped -= len(chunk) - len(fresh)
                if fresh:
                    yield fresh
            if "Content-Length" not in response.headers:
                msg = f"piece {url}: the connection ended"
                raise _Interrupted(msg)  # nobody can tell whether that was all
    except tls.Unusable as error:
        raise PieceUnavailable(f"piece {url}: {error}") from error
    except httpx2.TransportError as error:
        if text := tls.untrusted(error):
            raise PieceUnavailable(f"piece {url}: {text}") from error
        msg = f"piece {url}: {str(error) or type(error).__name__}"
        raise _Interrupted(msg) from error
    except httpx2.HTTPError as error:
        msg = f"piece {url}: {str(error) or type(error).__name__}"
        raise PieceUnavailable(msg) from error
    except httpx2.InvalidURL as error:
        msg = f"piece {url}: {error}"
        raise PieceUnavailable(msg) from error


def _check_answer(url: str, response: "httpx2.Response", offset: int) -> int:
    """Return how many bytes of the body we have already: all up to the offset, where a server does not know ranges."""
    answered = f"piece {url}: {response.url} answered {response.status_code} {response.reason_phrase}"
    if response.is_server_error:
        raise _Interrupted(answered)
    if not response.is_success:
        raise PieceUnavailable(answered)
    if response.status_code != _PARTIAL_CONTENT:
        return offset
    told = response.headers.get("Content-Range", "")
    if not told.startswith(f"bytes {offset}-"):
        msg = f"{answered} and {told or 'no Content-Range'}, asked for the bytes from {offset} on"
        raise PieceUnavailable(msg)
    return 0


def _market_headers() -> dict[str, str]:
    token = os.environ.get(TOKEN_VARIABLE)
    return {"Authorization": f"Bearer {token}", "X-VENUS-API-NAMESPACE": _NAMESPACE} if token else {}
