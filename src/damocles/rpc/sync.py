"""Call a daemon from a command line: blocking, with the standard library's HTTP, so that it starts fast.

with sync.connect(address.worker_url("10.0.0.7"), timeout_seconds=5) as worker:
    threads = worker.call("VenusWorker.WorkerList", returns=list[fleet.ThreadInfo])
"""

import contextlib
import http.client
import itertools
import select
import urllib.parse
from collections.abc import Iterator
from types import UnionType
from typing import Any, TypeVar, overload

from damocles.rpc import errors, messages, tls

T = TypeVar("T")

TIMEOUT_SECONDS = 30.0


class Client:
    """One kept-alive connection to one peer; made by `connect`. Not for several threads at once."""

    def __init__(
        self, url: str, connection: http.client.HTTPConnection, headers: dict[str, str], timeout_seconds: float
    ) -> None:
        self.url = url
        self._connection = connection
        self._headers = headers
        self._timeout_seconds = timeout_seconds
        self._path = urllib.parse.urlsplit(url).path or "/"
        self._numbers = itertools.count(1)
        self._answered = False

    @overload
    def call(self, method: str, params: messages.Params = (), *, returns: None = None) -> None: ...
    @overload
    def call(self, method: str, params: messages.Params = (), *, returns: type[T]) -> T: ...
    @overload
    def call(self, method: str, params: messages.Params = (), *, returns: UnionType) -> Any: ...
    def call(self, method: str, params: messages.Params = (), *, returns: Any = None) -> Any:
        """Call a method with positional parameters; return its result as `returns` (None: drop it).

        Raises:
            errors.CallError: See `damocles.rpc.errors` for the kinds, and what to do.
        """
        body = messages.encode_call(next(self._numbers), method, params)
        self._connect()
        try:
            status, answer = self._exchange(body)
        except Exception:
            self._connection.close()
            raise
        return messages.decode_answer(answer, returns, url=self.url, method=method, status=status)

    def _connect(self) -> None:
        connected = self._connection.sock
        if connected is not None and select.select([connected], [], [], 0)[0]:
            self._connection.close()  # readable before a request: the peer has closed it
        if self._connection.sock is None:
            try:
                self._connection.connect()
            except OSError as exc:
                self._connection.close()
                raise errors.unreachable(self.url, exc) from exc

    def _exchange(self, body: bytes) -> tuple[int, bytes]:
        try:
            self._connection.request("POST", self._path, body, self._headers)
            response = self._connection.getresponse()
            answer = response.read(messages.ANSWER_LIMIT_BYTES + 1)
        except TimeoutError as exc:
            raise errors.TimedOut(self.url, self._timeout_seconds) from exc
        except OSError as exc:  # also http.client.RemoteDisconnected
            hint = (
                "" if self._answered or self.url.startswith("https:") else " (if it has a certificate, write https://)"
            )
            raise errors.Disconnected(self.url, f"{errors.reason_of(exc)}{hint}") from exc
        except http.client.HTTPException as exc:
            raise errors.BadAnswer(self.url, f"no HTTP, {messages.excerpt(repr(exc).encode())}") from exc
        self._answered = True
        if len(answer) > messages.ANSWER_LIMIT_BYTES:
            raise errors.BadAnswer(self.url, f"more than {messages.ANSWER_LIMIT_BYTES} bytes")
        if response.length:  # what is still missing
            raise errors.Disconnected(self.url, "the answer is cut off")
        return response.status, answer


@contextlib.contextmanager
def connect(
    url: str,
    *,
    headers: dict[str, str] | None = None,
    token: str | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
    trust: tls.Trust = None,
) -> Iterator[Client]:
    """Yield a client of `url` (made by `damocles.rpc.address`); the first call connects.

    `timeout_seconds` limits connecting, and each pause of the peer. `trust`: see `damocles.rpc.tls`.
    """
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    connection = (
        http.client.HTTPSConnection(host, parts.port, timeout=timeout_seconds, context=tls.client_context(trust))
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, parts.port, timeout=timeout_seconds)
    )
    try:
        yield Client(url, connection, messages.headers(token, headers), timeout_seconds)
    finally:
        connection.close()
