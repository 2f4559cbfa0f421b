"""Nothing of ours reads a large file whole: copies and uploads of a file that is larger than the memory that their process may take."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from damocles.testing import web

FILE_BYTES = 256 << 20
SPARE_BYTES = 128 << 20  # for the libraries, beside what the process has when it begins

SCRIPT = f"""
import resource, sys
from pathlib import Path
from damocles.stages import job
from damocles.stages.files import copies, uploads
from damocles.rpc import tls
from damocles.wire import tasks
import httpx2

what, source, target = sys.argv[1:]
now = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (now + {SPARE_BYTES}, resource.RLIM_INFINITY))
if what == "read":
    Path(source).read_bytes()
elif what == "copy":
    route = tasks.Route({{"store_name": None, "uri": source}}, {{"store_name": None, "uri": target}})
    copies.follow(route, job.Job())
elif what == "put":
    copies.put(Path(source), Path(target), job.Job())
else:
    uploads.run(tasks.Upload(source, target + ("/offers" if what == "appends" else "/")), job.Job())
"""


@pytest.fixture
def url() -> Iterator[str]:
    """Return the URL of a server that takes all bytes and keeps none; below /offers by resumable uploads."""

    class Handler(web.Handler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            left = int(self.headers["content-length"])
            while left:
                left -= len(self.rfile.read(min(left, 1 << 20)))
            self.answer(201, location="/offers/1")

        do_PATCH = do_PUT

        def do_OPTIONS(self) -> None:
            self.send_response(204)
            if self.path == "/offers":
                self.send_header("accept-patch", "application/partial-upload")
            self.end_headers()

    with web.serving(Handler) as url:
        yield url


@pytest.mark.parametrize("what", ["read", "copy", "put", "upload", "appends"])
def test_a_file_larger_than_memory_goes_through(tmp_path: Path, url: str, what: str) -> None:
    """To another store, to a place of somebody else's choice, by a PUT, and by appends; what reads it whole ends, as a check of the limit."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.touch()
    os.truncate(source, FILE_BYTES)
    goal = url if what in {"upload", "appends"} else str(target)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, what, str(source), goal], capture_output=True, text=True, check=False
    )
    assert ("MemoryError" in done.stderr, done.returncode == 0) == (what == "read", what != "read"), done.stderr
    if what in {"copy", "put"}:
        assert FILE_BYTES == target.stat().st_size
        target.unlink()  # pytest keeps the folders of some runs
