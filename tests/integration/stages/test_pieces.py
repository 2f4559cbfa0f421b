"""Pieces from files and from HTTP servers on the loopback."""

import contextlib
import http.server
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from damocles.stages import job, pieces
from damocles.wire import tasks

PAYLOAD = bytes(range(256)) * 1000


class Server(http.server.BaseHTTPRequestHandler):
    """Serves a piece, redirects, and fails; keeps the headers of what it was asked."""

    seen: ClassVar[list[tuple[str, Mapping[str, str]]]] = []

    def do_GET(self) -> None:
        """Answer by path."""
        self.seen.append((self.path, dict(self.headers)))
        match self.path:
            case "/piece" | "/market?id=1":
                self.send_response(200)
                self.send_header("Content-Length", str(len(PAYLOAD)))
                self.end_headers()
                self.wfile.write(PAYLOAD)
            case "/moved":
                self._redirect("/market?id=1")
            case "/twice":
                self._redirect("/moved")
            case "/broken":
                self.send_response(200)
                self.send_header("Content-Length", str(len(PAYLOAD)))
                self.end_headers()
                self.wfile.write(PAYLOAD[:1000])
            case _:
                self.send_error(404)

    def _redirect(self, location: str) -> None:
        self.send_response(302)
        self.send_header("Location", location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def origin() -> Iterator[str]:
    """Return the address of a server."""
    Server.seen.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def piece(source: Any, payload_bytes: int = len(PAYLOAD), piece_bytes: int = 1 << 20) -> tasks.PieceSource:
    """Return a piece of a task."""
    return tasks.PieceSource(source, payload_bytes, piece_bytes)


def read(source: tasks.PieceSource) -> bytes | None:
    """Read a payload as the library of proofs does: so many bytes from a descriptor."""
    with pieces.source(source, job.Job()) as descriptor:
        if descriptor is None:
            return None
        data = b""
        while len(data) < source.payload_size and (more := os.read(descriptor, source.payload_size - len(data))):
            data += more
        if len(data) < source.payload_size:
            raise ValueError("the source ended early")
        return data


def test_pledged_piece_has_no_source() -> None:
    """Zeros need no descriptor; neither does a piece without payload."""
    assert read(piece("pledge", 0)) is None
    assert read(piece({"url": "http://127.0.0.1:1/"}, 0)) is None


def test_local_file_is_cut_at_the_payload(tmp_path: Path) -> None:
    """A file may be longer than its payload; the rest is not read."""
    (tmp_path / "a.car").write_bytes(PAYLOAD)
    assert PAYLOAD[:1000] == read(piece({"local": str(tmp_path / "a.car")}, 1000))


@pytest.mark.parametrize(
    ("name", "payload_bytes", "message"),
    [
        ("a.car", 300_000, "a.car has 256000 bytes, its deal says 300000"),
        ("b.car", 1, "b.car: No such file or directory"),
        ("a.car", 2_000_000, "payload of 2000000 bytes does not fit in a piece of 1048576 unpadded bytes"),
    ],
)
def test_unusable_local_files_are_named(tmp_path: Path, name: str, payload_bytes: int, message: str) -> None:
    """A missing or short file, and a payload larger than its piece, are errors before anything is written."""
    (tmp_path / "a.car").write_bytes(PAYLOAD)
    with pytest.raises(pieces.PieceUnavailable, match=message):
        read(piece({"local": str(tmp_path / name)}, payload_bytes))


@pytest.mark.parametrize("path", ["/piece", "/moved", "/twice"])
def test_piece_is_downloaded(origin: str, path: str) -> None:
    """A piece comes from the server, or from where that sends us."""
    assert PAYLOAD == read(piece({"url": origin + path}))


def test_download_is_cut_at_the_payload(origin: str) -> None:
    """What a server sends beyond the payload is not used."""
    assert PAYLOAD[:1000] == read(piece({"url": origin + "/piece"}, 1000))


def test_token_goes_only_where_the_manager_sends_us(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manager's piece store gets no token, the market behind its redirection does."""
    monkeypatch.setenv(pieces.TOKEN_VARIABLE, "secret")
    read(piece({"url": origin + "/moved"}))
    (_, first), (_, second) = Server.seen
    assert "Authorization" not in first
    lower = {name.lower(): value for name, value in second.items()}
    assert ("Bearer secret", "v1.IMarket") == (lower["authorization"], lower["x-venus-api-namespace"])


@pytest.mark.parametrize(
    ("path", "payload_bytes", "message"),
    [
        ("/none", 10, "/none: .*/none answered 404"),
        ("/broken", len(PAYLOAD), "/broken: "),
        ("/piece", len(PAYLOAD) + 1, "/piece ended after 256000 bytes, its deal says 256001"),
    ],
)
def test_failed_downloads_tell_why(origin: str, path: str, payload_bytes: int, message: str) -> None:
    """The reason of a failed download is told, not that the reader met an early end."""
    with pytest.raises(pieces.PieceUnavailable, match=message):
        read(piece({"url": origin + path}, payload_bytes))


def test_server_that_is_not_there_is_named() -> None:
    """A refused connection names the piece."""
    with pytest.raises(pieces.PieceUnavailable, match=r"piece http://127\.0\.0\.1:1/x: "):
        read(piece({"url": "http://127.0.0.1:1/x"}))


def test_reader_that_gives_up_stops_the_download(origin: str) -> None:
    """When the reader fails its own error comes out, and no thread stays behind."""
    with contextlib.suppress(LookupError), pieces.source(piece({"url": origin + "/piece"}), job.Job()):
        raise LookupError
    for thread in threading.enumerate():
        if thread.name == "piece":
            thread.join(10)
            assert not thread.is_alive()
