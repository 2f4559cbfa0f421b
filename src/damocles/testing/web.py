"""Small web servers of tests: on loopback, on a free port, quiet."""

import http.server
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Handler(http.server.BaseHTTPRequestHandler):
    """What answers a request; of a test's own are `do_GET`, `do_PUT` and so on."""

    def log_message(self, *_: Any) -> None:
        """Be quiet."""

    def answer(self, status: int, body: bytes = b"", /, **headers: str) -> None:
        """Answer with a status, a body with its length, and headers, in whose names `_` stands for `-`."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> bytes:
        """Read the body of the request, which has to say its length."""
        return self.rfile.read(int(self.headers["content-length"]))


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # clients of tests hang up
            super().handle_error(request, client_address)


@contextmanager
def serving(handler: type[Handler]) -> Iterator[str]:
    """Serve while the block runs; yield where, like `http://127.0.0.1:8080`."""
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
