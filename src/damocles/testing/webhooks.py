"""A web server that receives webhooks, and answers as configured."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from damocles.wire import alerts, codec


@dataclass
class Receiver:
    """What has come, and the answers to give: the last one for ever."""

    url: str = ""
    statuses: list[int] = field(default_factory=lambda: [200])
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def told(self) -> list[str]:
        """Return what was told, one after the other."""
        messages = [codec.decode(body, alerts.Message) for body in self.bodies]
        return [
            f"{one.event} {one.alert.rule} {one.alert.subject}" for message in messages for one in message.notifications
        ]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Listen on a free port while the block runs."""
    receiver = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
            receiver.bodies.append(body)
            status = receiver.statuses.pop(0) if len(receiver.statuses) > 1 else receiver.statuses[0]
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Log nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        receiver.url = f"http://127.0.0.1:{server.server_port}/s3cret"
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
