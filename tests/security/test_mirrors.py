"""Mirrors of parameters that lie: about sizes, about where they lead, and without end."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from damocles.parameters import catalog, download
from damocles.testing import web

CONTENT = b"parameters" * 1000
NAME = "v28-test.params"
DIGEST = hashlib.blake2b(CONTENT).hexdigest()[:32]
FILE = catalog.File(catalog.Kind.POREP, 2048, NAME, "QmTest", DIGEST)
SET = catalog.FileSet(catalog.Kind.POREP, 2048, (FILE,))
Answer = Callable[[web.Handler], None]


class Silent:
    """Nobody watches."""

    def begin(self, name: str, doing: str, size_bytes: int, done_bytes: int) -> None:
        """Hear it."""

    def advance(self, name: str, count: int) -> None:
        """Hear it."""

    def end(self, name: str) -> None:
        """Hear it."""

    def pulse(self, name: str, text: str) -> None:
        """Hear it."""

    def say(self, text: str) -> None:
        """Hear it."""


@contextmanager
def mirror(answer: Answer) -> Iterator[str]:
    """Run a mirror that answers like this; yield its URL."""

    class Handler(web.Handler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self)

    with web.serving(Handler) as url:
        yield f"{url}/files"


def headed(status: int, body: bytes = b"", **headers: str) -> Answer:
    """Return an answer with these headers."""
    return lambda request: request.answer(status, body, **headers)


def endless(request: web.Handler) -> None:
    """Say a size when asked for it, and then send the right bytes and others behind them until nobody listens."""
    if "Range" in request.headers:
        headed(200, CONTENT)(request)
        return
    request.send_response(200)
    request.end_headers()
    request.close_connection = True
    request.wfile.write(CONTENT)
    while True:
        request.wfile.write(b"\0" * 65536)


def astray(request: web.Handler) -> None:
    """Lead in a circle."""
    headed(302, Location=request.path)(request)


good = headed(200, CONTENT)
LIARS: dict[str, Answer] = {
    "more than any disk holds": headed(206, b"x", Content_Range="bytes 0-0/900000000000000000"),
    "a size of very many digits": headed(206, b"x", Content_Range="bytes 0-0/" + "9" * 5000),
    "a place of very many digits": headed(206, b"x", Content_Range=f"bytes {'0' * 5000}-0/{len(CONTENT)}"),
    "a negative size": headed(206, b"x", Content_Range="bytes 0-0/-5"),
    "digits of another script": headed(206, b"x", Content_Range="bytes 0-0/\u00b2"),
    "nothing": headed(206, b"x", Content_Range="bytes 0-0/0"),
    "other bytes": headed(200, CONTENT[::-1]),
    "a circle": astray,
    "a file of this machine": headed(302, Location="file:///etc/hostname"),
    "another protocol": headed(302, Location="gopher://127.0.0.1/x"),
    "an address that is none": headed(302, Location="http://[::1/x"),
    "no address": headed(302, Location=""),
}


async def fetched(folder: Path, *sources: str) -> list[str]:
    """Fetch the file; return what went wrong."""

    async def at_once(_: float) -> None:
        """Wait for nothing."""

    manner = download.Manner(silence_seconds=5, tries=2, sleep=at_once)
    return await download.fetch([SET], folder, sources, Silent(), manner=manner)


@pytest.mark.parametrize("liar", [pytest.param(answer, id=name) for name, answer in LIARS.items()])
async def test_a_liar_is_left_for_the_next_mirror(tmp_path: Path, liar: Answer) -> None:
    """Whatever a mirror says, the next one is asked, and its file is the one that stays."""
    with mirror(liar) as bad, mirror(good) as right:
        assert [] == await fetched(tmp_path, bad, right)
    assert CONTENT == (tmp_path / NAME).read_bytes()


@pytest.mark.parametrize("liar", [pytest.param(answer, id=name) for name, answer in LIARS.items()])
async def test_a_liar_alone_is_told_in_a_line(tmp_path: Path, liar: Answer) -> None:
    """Without another mirror the command says what is wrong, and nothing has the name of a parameter file."""
    with mirror(liar) as bad:
        (line,) = await fetched(tmp_path, bad)
    assert line.startswith(f"{NAME}: cannot be fetched: {bad}: ")
    assert not (tmp_path / NAME).exists()
    assert [] == [path.name for path in tmp_path.iterdir() if path.stat().st_size > len(CONTENT)]


async def test_a_body_without_an_end_is_cut(tmp_path: Path) -> None:
    """What a mirror sends beyond the size that it has said is not read."""
    with mirror(endless) as one:
        assert [] == await fetched(tmp_path, one)
    assert CONTENT == (tmp_path / NAME).read_bytes()
