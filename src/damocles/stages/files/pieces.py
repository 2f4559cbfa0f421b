"""Where the bytes of a piece come from: a local file, an HTTP server, or nowhere (zeros)."""

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Collection, Generator, Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from damocles.stages import job
from damocles.text import urls
from damocles.wire import tasks

if TYPE_CHECKING:
    import httpx2

_NAMESPACE = "v1.IMarket"  # what a market wants to hear beside its token
_CONNECT_SECONDS = 5
_SILENCE_SECONDS = 300
_PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # between attempts that bring nothing
_PIPE_BYTES = 1 << 20
_PARTIAL_CONTENT = 206
_UNAUTHORIZED = frozenset({401, 403})
_MOST_REDIRECTS = 10


class PieceUnavailable(Exception):
    """A piece cannot be read."""


@contextlib.contextmanager
def source(
    piece: tasks.PieceSource,
    around: job.Job,
    tokens: Mapping[str, str] | None = None,
    authorities: Mapping[str, str] | None = None,
    must_know: Collection[str] = (),
) -> Iterator[int | None]:
    """Open the payload of a piece as a descriptor; `None` means that the whole piece is zeros.

    `tokens`, `authorities` and `must_know` are those of `tasks.AddPieces`.

    Raises:
        PieceUnavailable: The payload is unavailable, or does not match the task.
    """
    if piece.payload_size > piece.piece_size:
        raise PieceUnavailable(
            f"payload of {piece.payload_size} bytes does not fit in a piece of {piece.piece_size} unpadded bytes"
        )
    match piece.piece_file:
        case "pledge":
            yield None
        case _ if piece.payload_size == 0:
            yield None
        case {"local": str(path)}:
            yield from _local(path, piece.payload_size)
        case {"url": str(url)}:
            server = _Server(url, tokens or {}, authorities or {}, must_know)
            with _download(server, piece.payload_size, around) as descriptor:
                yield descriptor
        case other:
            raise PieceUnavailable(
                f"piece source {other!r} is unknown: expected {{'local': path}}, {{'url': url}} or 'pledge'"
            )


def _local(path: str, payload_bytes: int) -> Iterator[int]:
    try:
        file = Path(path).open("rb", buffering=0)  # noqa: SIM115 - closed right below
    except OSError as error:
        raise PieceUnavailable(f"piece {path}: {error.strerror}") from error
    with file:
        there = os.fstat(file.fileno()).st_size
        if there < payload_bytes:
            raise PieceUnavailable(f"piece {path} has {there} bytes, its deal says {payload_bytes}")
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

    It fails once several tries in a row have not brought a single byte.
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
            raise PieceUnavailable(f"{server.name} ended after {done} bytes, its deal says {payload_bytes}")
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
    """Where a piece comes from; tokens to show and authorities to trust, each for one origin and no other."""

    url: str
    tokens: Mapping[str, str]
    authorities: Mapping[str, str]
    must_know: Collection[str]

    @property
    def name(self) -> str:
        """The piece, for messages."""
        return f"piece {urls.shown(self.url)}"

    def client(self, origin: str) -> "httpx2.Client":
        """Return a client for the server there."""
        import httpx2  # noqa: PLC0415 - see `_fetch`

        from damocles.rpc import tls  # noqa: PLC0415 - likewise

        timeout = httpx2.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS)
        # Without TLS no proxy of the environment: it would read what is sent.
        return httpx2.Client(
            timeout=timeout, verify=tls.client_context(self.authorities.get(origin)), mounts={"http://": None}
        )

    def extensions(self, origin: str) -> dict[str, Any]:
        """Return what has the server there show that it knows its token, where it has to."""
        from damocles.rpc.admission import handshake  # noqa: PLC0415 - see `_fetch`

        return {"trace": handshake.tracer(self.tokens[origin])} if origin in self.must_know else {}

    def headers(self, origin: str, offset: int, *, is_first: bool) -> dict[str, str]:
        """Return what to send to an origin; the first one is the manager, those it sends on to are markets."""
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        if (token := self.tokens.get(origin)) is not None:
            headers["Authorization"] = f"Bearer {token}"
            if not is_first:
                headers["X-VENUS-API-NAMESPACE"] = _NAMESPACE
        return headers


class _Interrupted(Exception):
    """The server cannot be reached, has hung up or stands still: the next attempt may have more luck."""


def _fetch(server: "_Server", offset: int) -> Generator[bytes]:
    """Get a piece in chunks, from an offset on.

    Redirects are followed: the manager's piece store sends on to the market, and that perhaps to an object store. Each
    server is shown the token that belongs to its origin, if there is one. There is no limit to how long it takes, only
    to how long no byte comes.
    """
    import httpx2  # noqa: PLC0415 - 15 MB that only pieces by URL need

    from damocles.rpc import tls  # noqa: PLC0415 - likewise
    from damocles.rpc.admission import handshake  # noqa: PLC0415 - likewise

    try:
        with contextlib.ExitStack() as stack:
            response = _answer(server, offset, stack)
            skipped = _check_answer(server, response, offset)
            for chunk in response.iter_bytes():
                fresh = chunk[skipped:]
                skipped -= len(chunk) - len(fresh)
                if fresh:
                    yield fresh
            if "Content-Length" not in response.headers:
                raise _Interrupted(f"{server.name}: the connection ended")  # nobody can tell whether that was all
    except tls.Unusable as error:
        raise PieceUnavailable(f"{server.name}: {error}") from error
    except handshake.Stranger as error:
        raise _Interrupted(f"{server.name}: {error}") from error
    except httpx2.TransportError as error:
        if text := tls.untrusted(error):
            raise PieceUnavailable(f"{server.name}: {text}") from error
        raise _Interrupted(f"{server.name}: {str(error) or type(error).__name__}") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        raise PieceUnavailable(f"{server.name}: {str(error) or type(error).__name__}") from error


def _answer(server: "_Server", offset: int, stack: contextlib.ExitStack) -> "httpx2.Response":
    """Return the answer of the last server of a chain of redirects, its body unread."""
    import httpx2  # noqa: PLC0415 - see `_fetch`

    target = httpx2.URL(server.url)
    for hop in range(_MOST_REDIRECTS + 1):
        origin = urls.origin(str(target))
        client = stack.enter_context(server.client(origin))
        headers = server.headers(origin, offset, is_first=hop == 0)
        extensions = server.extensions(origin)
        response = stack.enter_context(client.stream("GET", target, headers=headers, extensions=extensions))
        if not response.has_redirect_location:
            return response
        target = target.join(response.headers["Location"])
        stack.pop_all().close()
    raise PieceUnavailable(
        f"{server.name}: more than {_MOST_REDIRECTS} redirects, the last to {urls.shown(str(target))}"
    )


def _check_answer(server: "_Server", response: "httpx2.Response", offset: int) -> int:
    """Return how many bytes of the body we have already: all up to the offset, where a server does not know ranges."""
    url = str(response.url)
    answered = f"{server.name}: {urls.shown(url)} answered {response.status_code} {response.reason_phrase}"
    if response.is_server_error:
        raise _Interrupted(answered)
    if response.status_code in _UNAUTHORIZED and (origin := urls.origin(url)) not in server.tokens:
        raise PieceUnavailable(
            f"{answered}; it was sent no token: if it is the market, set sector_manager.piece_token, and name"
            f" {origin} in sector_manager.piece_origins"
        )
    if not response.is_success:
        raise PieceUnavailable(answered)
    if response.status_code != _PARTIAL_CONTENT:
        return offset
    served = response.headers.get("Content-Range", "")
    if not served.startswith(f"bytes {offset}-"):
        raise PieceUnavailable(f"{answered} and {served or 'no Content-Range'}, asked for the bytes from {offset} on")
    return 0
