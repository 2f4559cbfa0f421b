"""The upload stage against a server that answers by itself."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from damocles.stages import job, protocol
from damocles.stages.files import appends, uploads
from damocles.testing import web
from damocles.wire import tasks


@contextmanager
def serving(answer: Callable[[web.Handler], None], *, offers: bool = False) -> Iterator[str]:
    """Run a server that answers PUTs like this, and perhaps offers resumable uploads; yield its URL."""

    class Handler(web.Handler):
        def do_PUT(self) -> None:
            answer(self)

        def do_OPTIONS(self) -> None:
            self.send_response(204)
            if offers:
                self.send_header("accept-patch", "application/partial-upload")
            self.end_headers()

    with web.serving(Handler) as url:
        yield url


@pytest.fixture
def piece(tmp_path: Path) -> Path:
    """Return a file of three megabytes."""
    path = tmp_path / "piece"
    path.write_bytes(os.urandom(3 << 20))
    return path


def test_a_file_is_sent_whole_with_its_length(piece: Path) -> None:
    """The body has a length, headers of the task are sent, and progress is told up to the end."""
    got: list[tuple[str, Any, bytes]] = []
    told: list[protocol.Progress | str] = []

    def answer(request: web.Handler) -> None:
        got.append((request.path, request.headers, request.body()))
        request.answer(201)

    with serving(answer) as url:
        task = tasks.Upload(str(piece), f"{url}/a?b=c", {"authorization": "Bearer x"})
        assert 3 << 20 == uploads.run(task, job.Job(told.append))
    ((path, headers, body),) = got
    assert ("/a?b=c", "Bearer x", piece.read_bytes()) == (path, headers["authorization"], body)
    assert "transfer-encoding" not in headers
    assert protocol.Progress(3 << 20, 3 << 20, "B") == told[-1]


def test_a_refusal_is_told_without_secrets(piece: Path) -> None:
    """Status and text of the server are in the message, query and password of the URL are not."""

    def answer(request: web.Handler) -> None:
        request.body()
        request.answer(507, b"disk full")

    with serving(answer) as url:
        task = tasks.Upload(str(piece), url.replace("//", "//me:secret@") + "/a?token=secret")
        with pytest.raises(uploads.UploadFailed, match=f"upload to {url}/a: 507 Insufficient Storage disk full"):
            uploads.run(task, job.Job())


@pytest.mark.parametrize("offer", ["nothing", "another server"])
def test_a_server_that_does_not_offer_to_go_on_gets_a_file_whole(
    piece: Path, monkeypatch: pytest.MonkeyPatch, offer: str
) -> None:
    """No part is sent that could be taken for the whole, and no token to a server that another one names."""
    monkeypatch.setattr(appends, "STEP_BYTES", 1 << 20)
    got: list[bytes] = []

    def answer(request: web.Handler) -> None:
        body = request.body()
        is_beginning = request.headers["upload-complete"] == "?0"
        if not is_beginning:
            got.append(body)
        request.answer(201, **({"location": "http://127.0.0.2:1/up"} if is_beginning else {}))

    with serving(answer, offers=offer != "nothing") as url:
        assert 3 << 20 == uploads.run(tasks.Upload(str(piece), f"{url}/a", {"authorization": "Bearer x"}), job.Job())
    assert [piece.read_bytes()] == got
    assert [piece] == list(piece.parent.iterdir())


def test_nobody_listens(piece: Path) -> None:
    """A server that is not there is one line."""
    with serving(lambda _: None) as url:
        pass
    with pytest.raises(uploads.UploadFailed, match=f"upload to {url}/a: .*refused"):
        uploads.run(tasks.Upload(str(piece), f"{url}/a"), job.Job())


def test_a_cancelled_upload_ends(piece: Path) -> None:
    """The loop over chunks looks whether anybody still wants the file."""
    os.truncate(piece, 256 << 20)  # far more than the buffers of the connection hold while the server reads nothing
    around = job.Job()

    def answer(request: web.Handler) -> None:
        request.rfile.read(1)
        around.cancel()
        request.rfile.read(1 << 30)

    with serving(answer) as url, pytest.raises(job.Cancelled):
        uploads.run(tasks.Upload(str(piece), f"{url}/a"), around)
