"""Where the bytes of a piece come from: a local file, an HTTP server, or nowhere (zeros)."""

import contextlib
import fcntl
import os
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from urllib.parse import urljoin

from damocles.stages import job
from damocles.wire import tasks

TOKEN_VARIABLE = "PIECE_FETCHER_TOKEN"  # noqa: S105 - the name of a variable
_NAMESPACE = "v1.IMarket"
_CONNECT_SECONDS = 5
_SILENCE_SECONDS = 300
_CHUNK_BYTES = 1 << 20


class PieceUnavailable(Exception):
    """A piece cannot be read."""


@contextlib.contextmanager
def source(piece: tasks.PieceSource, around: job.Job) -> Iterator[int | None]:
    """Open the payload of a piece as a descriptor; `None` means that the whole piece is zeros.

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
            with _download(url, piece.payload_size, around) as descriptor:
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
def _download(url: str, payload_bytes: int, around: job.Job) -> Iterator[int]:
    """Stream a piece through a pipe, as the reader wants a descriptor.

    A download that breaks looks to the reader like a short file; the reason for it is then raised in its stead.
    """
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, _CHUNK_BYTES)
    broken: list[Exception] = []

    def feed() -> None:
        with open(write_end, "wb", buffering=0) as pipe, contextlib.closing(_fetch(url)) as chunks:  # noqa: PTH123
            try:
                done = 0
                for chunk in chunks:
                    rest = memoryview(chunk)[: payload_bytes - done]
                    done += len(rest)
                    while rest:
                        rest = rest[pipe.write(rest) :]
                    around.progress(done, payload_bytes)
                    if done == payload_bytes:
                        break
                if done < payload_bytes:
                    msg = f"piece {url} ended after {done} bytes, its deal says {payload_bytes}"
                    raise PieceUnavailable(msg)  # noqa: TRY301 - handed over below
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


def _fetch(url: str) -> Generator[bytes]:
    """Get a piece in chunks.

    The first request is bare. Where it is redirected to (the manager's piece store sends on to the market) gets the
    token of `PIECE_FETCHER_TOKEN`; further redirects are followed as usual, without the token on another host.
    """
    import httpx2  # noqa: PLC0415 - 15 MB that only pieces by URL need

    timeout = httpx2.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS)
    try:
        with httpx2.Client(timeout=timeout) as client, contextlib.ExitStack() as stack:
            response = stack.enter_context(client.stream("GET", url))
            if response.has_redirect_location:
                target = urljoin(url, response.headers["Location"])
                stack.pop_all().close()
                response = stack.enter_context(
                    client.stream("GET", target, headers=_token_headers(), follow_redirects=True)
                )
            if not response.is_success:
                msg = f"piece {url}: {response.url} answered {response.status_code} {response.reason_phrase}"
                raise PieceUnavailable(msg)
            yield from response.iter_bytes(_CHUNK_BYTES)
    except httpx2.HTTPError as error:
        msg = f"piece {url}: {str(error) or type(error).__name__}"
        raise PieceUnavailable(msg) from error
    except httpx2.InvalidURL as error:
        msg = f"piece {url}: {error}"
        raise PieceUnavailable(msg) from error


def _token_headers() -> dict[str, str]:
    token = os.environ.get(TOKEN_VARIABLE)
    return {"Authorization": f"Bearer {token}", "X-VENUS-API-NAMESPACE": _NAMESPACE} if token else {}
