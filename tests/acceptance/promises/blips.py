"""A network between a worker and its manager that cuts connections."""

import contextlib
import json
import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_PARTS = 1 << 16


@dataclass(frozen=True, slots=True)
class Call:
    """What a request asks for: a method without its namespace, and of which sector."""

    name: str
    about: str


@dataclass
class Line:
    """Each call is cut twice: first its answer is lost, then its request; later ones pass."""

    port: int
    to_port: int = 0
    cut: dict[Call, list[str]] = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def happened(self) -> dict[Call, list[str]]:
        """Return what befell the calls that were made often enough for both."""
        with self._turn:
            return {call: list(kinds) for call, kinds in self.cut.items() if len(kinds) > 1}

    def fate(self, body: bytes) -> str:
        """Decide what befalls a request."""
        call = _call_of(json.loads(body))
        with self._turn:
            kinds = self.cut.setdefault(call, [])
            if len(kinds) == 2:
                return "passes"
            kinds.append(("lost", "unheard")[len(kinds)])
            return kinds[-1]


@contextlib.contextmanager
def cutting() -> Iterator[Line]:
    """Listen for a worker; say in `to_port` where its manager is before it comes."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", line.to_port), 30) as there:
                while request := _message(self.request):
                    fate = line.fate(request[1])
                    if fate == "unheard":
                        return
                    there.sendall(request[0] + request[1])
                    answer = _message(there)
                    if fate == "lost" or answer is None:
                        return
                    self.request.sendall(answer[0] + answer[1])

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        line = Line(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield line
        finally:
            server.shutdown()
            thread.join()


def _message(sock: socket.socket) -> tuple[bytes, bytes] | None:
    """Read a request or an answer, head and body; None if the peer has gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(_PARTS)
        if not part:
            return None
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    while len(body) < (int(length[1]) if length else 0):
        part = sock.recv(_PARTS)
        if not part:
            return None
        body += part
    return head + b"\r\n\r\n", body


def _call_of(request: dict[str, object]) -> Call:
    method, params = str(request["method"]), request["params"]
    assert isinstance(params, list)
    about = ""
    if method == "Damocles.As":
        sector, _, method, rest, _ = params
        # Every report is a call of its own: news are told once, and a report that is lost is not repeated.
        about = json.dumps([sector, rest if "ReportState" in method else None])
    elif params and isinstance(params[0], dict) and "Number" in params[0]:
        about = json.dumps(params[0])
    return Call(method.rpartition(".")[2], about)
