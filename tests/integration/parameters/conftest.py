"""A web server with parameter files that can misbehave in the ways of real mirrors."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from damocles.testing import web


@dataclass
class Mirror:
    """What the server has and how it behaves; `asked` lists the requests: path and range."""

    files: dict[str, bytes]
    ranges: bool = True
    cut_after: int | None = None  # bytes of each body, then the connection breaks
    stop_after: int | None = None  # bytes in total, then every request gets a 503
    statuses: list[int] = field(default_factory=list)  # for the next requests
    url: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    sent: int = 0

    def bodies(self) -> list[tuple[int, int]]:
        """Return the ranges that were asked for, without the questions for the size."""
        spans = [re.fullmatch(r"bytes=(\d+)-(\d+)", wanted) for _, wanted in self.asked if wanted]
        return [(int(span[1]), int(span[2]) + 1) for span in spans if span and span[0] != "bytes=0-0"]


@pytest.fixture
def serving():
    """Return what runs a mirror with the given files and behaviour (see `Mirror`) as a context."""

    def serve(files: dict[str, bytes], **behaviour):
        return _served(Mirror(files, **behaviour))

    return serve


@contextmanager
def _served(mirror: Mirror) -> Iterator[Mirror]:
    """Run the server on a free port of the loopback interface."""

    class Handler(web.Handler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            mirror.asked.append((self.path, wanted))
            content = mirror.files.get(self.path.rpartition("/")[2])
            status = mirror.statuses.pop(0) if mirror.statuses else 200
            if mirror.stop_after is not None and mirror.sent >= mirror.stop_after:
                status = 503
            if content is None:
                status = 404
            if status != 200 or content is None:
                self.answer(status)
                return
            span = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted or "") if mirror.ranges else None
            body = content[int(span[1]) : int(span[2]) + 1] if span else content
            self.send_response(206 if span else 200)
            if span:
                self.send_header("Content-Range", f"bytes {span[1]}-{int(span[1]) + len(body) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self._send(body)

        def _send(self, body: bytes) -> None:
            limit = len(body) if mirror.cut_after is None else mirror.cut_after
            if mirror.stop_after is not None and len(body) > 1:
                limit = min(limit, max(0, mirror.stop_after - mirror.sent))
            mirror.sent += min(limit, len(body))
            self.wfile.write(body[:limit])
            if limit < len(body):
                self.close_connection = True

    with web.serving(Handler) as url:
        mirror.url = f"{url}/files"
        yield mirror
