"""Pieces from files and from HTTP servers on the loopback."""

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from damocles.stages import job, protocol
from damocles.stages.files import pieces
from damocles.testing import web
from damocles.wire import tasks

PAYLOAD = bytes(range(256)) * 1000


class Server(web.Handler):
    """Serves a piece, redirects, and fails; keeps the headers of what it was asked."""

    seen: ClassVar[list[tuple[str, Mapping[str, str]]]] = []
    cut_after: ClassVar[list[int]] = []  # bytes that the next answers bring before the connection breaks

    def do_GET(self) -> None:
        """Answer by path."""
        self.seen.append((self.path, dict(self.headers)))
        match self.path:
            case "/piece" | "/market?id=1":
                self._answer(PAYLOAD)
            case "/ranges" | "/market?id=2":
                begin = self._offset()
                self._answer(PAYLOAD[begin:], begin)
            case "/ranges-moved":
                self._redirect("/market?id=2")
            case "/shifted":
                self._answer(PAYLOAD[self._offset() + 1 :], self._offset() and self._offset() + 1)
            case "/unsized":
                self.send_response(200)
                self.end_headers()
                self.wfile.write(PAYLOAD[: self.cut_after.pop(0)])
                self.close_connection = True
            case "/busy" if len(self.seen) < 3:
                self.send_error(503)
            case "/busy":
                self._answer(PAYLOAD)
            case "/still":
                self.send_response(200)
                self.send_header("Content-Length", str(len(PAYLOAD)))
                self.end_headers()
                self.wfile.write(PAYLOAD[:1000])
                self.wfile.flush()
                self.rfile.read(1)  # until the client hangs up
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

    def _offset(self) -> int:
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))

    def _answer(self, body: bytes, begin: int = 0) -> None:
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(PAYLOAD) - 1}/{len(PAYLOAD)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.cut_after.pop(0)] if self.cut_after else body)

    def _redirect(self, location: str) -> None:
        self.answer(302, location=location)


@pytest.fixture
def origin() -> Iterator[str]:
    """Return the address of a server."""
    Server.seen.clear()
    Server.cut_after.clear()
    with web.serving(Server) as url:
        yield url


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let attempts follow each other quickly, and give up after two more that brought nothing."""
    monkeypatch.setattr(pieces, "_PAUSES_SECONDS", (0.01, 0.01))


def piece(source: Any, payload_bytes: int = len(PAYLOAD), piece_bytes: int = 1 << 20) -> tasks.PieceSource:
    """Return a piece of a task."""
    return tasks.PieceSource(source, payload_bytes, piece_bytes)


def read(
    source: tasks.PieceSource, tokens: Mapping[str, str] | None = None, log: list[Any] | None = None
) -> bytes | None:
    """Read a payload as the library of proofs does: so many bytes from a descriptor."""
    with pieces.source(source, job.Job(None if log is None else log.append), tokens) as descriptor:
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


@pytest.mark.parametrize("path", ["/ranges", "/ranges-moved", "/piece"])
def test_a_cut_download_goes_on_where_it_was(origin: str, path: str) -> None:
    """After each cut the rest is asked for; a server that sends all again is no trouble either."""
    Server.cut_after += [100_000, 50_000, 120_000, 0] if path == "/piece" else [100_000, 50_000, 0, 70_000]
    log: list[Any] = []
    assert PAYLOAD == read(piece({"url": origin + path}), log=log)
    asked = [headers["Range"] for seen, headers in Server.seen if "Range" in headers and "moved" not in seen]
    assert len(asked) == 4
    assert asked[0] == "bytes=100000-"
    told = [text for text in log if isinstance(text, str)]
    assert len(told) == 4
    assert "100000 of 256000 bytes are here, going on in 0.01s" in told[0]
    waits = [(news.done, news.waiting) for news in log if isinstance(news, protocol.Progress) and news.waiting]
    assert [100_000, told[0]] == [*waits[0]]
    assert told == [text for _, text in waits]
    assert protocol.Progress(256_000, 256_000) == log[-1]  # it waits no more


def test_a_download_of_unknown_length_goes_on_too(origin: str) -> None:
    """Where only the end of the connection ends a body, a short one was cut."""
    Server.cut_after += [100_000, 256_000]
    assert PAYLOAD == read(piece({"url": origin + "/unsized"}))


def test_a_busy_server_is_asked_again(origin: str) -> None:
    """A server error is worth another try; an error of ours, like 404, is not."""
    assert PAYLOAD == read(piece({"url": origin + "/busy"}))
    assert len(Server.seen) == 3


def test_attempts_without_a_byte_end_it(origin: str) -> None:
    """A download that no longer moves ends with what the last attempt met; until then it may take any time."""
    Server.cut_after += [1000, 0, 0]
    with pytest.raises(pieces.PieceUnavailable, match="/ranges: "):
        read(piece({"url": origin + "/ranges"}))
    assert len(Server.seen) == 3


def test_another_range_than_asked_for_is_refused(origin: str) -> None:
    """Bytes from another place would make another piece."""
    Server.cut_after += [1000]
    with pytest.raises(pieces.PieceUnavailable, match="and bytes 1001-255999/256000, asked for the bytes from 1000 on"):
        read(piece({"url": origin + "/shifted"}, 2000))


def test_a_server_that_stands_still_is_left(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence in the middle counts as a cut."""
    monkeypatch.setattr(pieces, "_SILENCE_SECONDS", 0.1)
    log: list[Any] = []
    with pytest.raises(pieces.PieceUnavailable, match="/still: "):
        read(piece({"url": origin + "/still"}), log=log)
    assert len(Server.seen) == 3


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
