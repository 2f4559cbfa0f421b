"""Call a daemon from a command line: blocking, with the standard library's HTTP, so that it starts fast.

with sync.connect(address.worker_url("10.0.0.7"), timeout_seconds=5) as worker:
    threads = worker.call(methods.worker.list_threads())
"""

import contextlib
import email.utils
import http.client
import io
import itertools
import select
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, overload

from damocles import methods
from damocles.rpc import address, errors, messages, tls
from damocles.rpc.admission import handshake

T = TypeVar("T")

TIMEOUT_SECONDS = 30.0


class _Incoming(io.RawIOBase):
    """What a peer sends, until the deadline: a time-out of the socket alone begins again with each byte."""

    def __init__(self, connected: socket.socket, left: Callable[[], float]) -> None:
        self._connected = connected
        self._received = connected.makefile("rb", buffering=0)  # keeps the socket open until the answer is read
        self._left = left

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Receive what there is."""
        self._connected.settimeout(self._left())
        return self._received.readinto(buffer)

    def close(self) -> None:
        """Let the socket go."""
        self._received.close()
        super().close()


class _Socket:
    """What `http.client` needs of a socket, until the deadline."""

    def __init__(self, connected: socket.socket, left: Callable[[], float]) -> None:
        self._connected = connected
        self._left = left
        self.here, self.there = connected.getsockname(), connected.getpeername()
        self.fileno = connected.fileno
        self.close = connected.close

    def sendall(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            self._connected.settimeout(self._left())
            rest = rest[self._connected.send(rest) :]

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self._connected, self._left))


class _Connection(http.client.HTTPConnection):
    """A connection on which everything that belongs to a call, also connecting, has one deadline."""

    deadline = 0.0  # by the monotonic clock

    def __init__(self, host: str, port: int | None, context: ssl.SSLContext | None, known_token: str | None) -> None:
        self.default_port = http.client.HTTP_PORT if context is None else http.client.HTTPS_PORT
        super().__init__(host, port)
        self._context = context
        self.known_token = known_token

    def meet(self) -> None:
        """Have the peer show that it knows the token that it is to know, if there is one.

        Raises:
            handshake.Stranger: It does not.
            TimeoutError: It does not answer.
        """
        if self.known_token is None:
            return
        question = handshake.Question(self.known_token, self.sock.here[0], address.Endpoint(*self.sock.there[:2]))
        try:
            self.sock.sendall(question.text)
            with self.sock.makefile("rb") as answer:
                while not question.hear(answer.read1(handshake.ANSWER_LIMIT_BYTES)):
                    pass
        except TimeoutError:
            raise
        except OSError as error:
            raise handshake.Stranger(f"the server there ended the connection: {errors.reason_of(error)}") from error

    def left(self) -> float:
        """Return the seconds until the deadline.

        Raises:
            TimeoutError: There are none.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")  # the words of a socket
        return left

    def connect(self) -> None:
        """Connect, in the time that is left for each address of the host."""
        connected = socket.create_connection((self.host, self.port), self.left())
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            try:
                connected.settimeout(self.left())
                connected = self._context.wrap_socket(connected, server_hostname=self.host)
            except BaseException:
                connected.close()
                raise
        self.sock: Any = _Socket(connected, self.left)


class Client:
    """One kept-alive connection to one peer; made by `connect`. Not for several threads at once."""

    def __init__(
        self,
        url: str,
        connection: _Connection,
        token: str | None,
        further: dict[str, str] | None,
        timeout_seconds: float,
    ) -> None:
        self.url = url
        self._connection = connection
        self._further = further
        self._headers = messages.headers(token, further)
        self.timeout_seconds = timeout_seconds
        self._path = urllib.parse.urlsplit(url).path or "/"
        self._numbers = itertools.count(1)
        self._answered = False
        self.has_token = token is not None
        self.kept_back = ""  # why the token was not sent
        self.ahead_seconds: float | None = None  # the peer's clock against ours, by its last answer

    @overload
    def call(self, ask: methods.Ask[T], /, *, timeout_seconds: float | None = None) -> T: ...
    @overload
    def call(
        self, ask: str, params: messages.Params = (), /, *, returns: Any = None, timeout_seconds: float | None = None
    ) -> Any: ...
    def call(
        self,
        ask: methods.Ask[Any] | str,
        params: messages.Params = (),
        /,
        *,
        returns: Any = None,
        timeout_seconds: float | None = None,
    ) -> Any:
        """Make a call and return its result. What is declared nowhere is called by its name.

        `timeout_seconds` limits the whole call and defaults to that of `connect`.

        Raises:
            errors.CallError: See `damocles.rpc.errors` for the kinds, and what to do.
        """
        if isinstance(ask, str):
            ask = methods.Ask(ask, params, returns)
        body = messages.encode_call(next(self._numbers), ask.method, ask.params)
        seconds = self.timeout_seconds if timeout_seconds is None else timeout_seconds
        self._connection.deadline = time.monotonic() + seconds
        self._connect(seconds)
        try:
            status, answer = self._exchange(body, seconds)
        except Exception:
            self._connection.close()
            raise
        return messages.decode_answer(answer, ask.returns, url=self.url, method=ask.method, status=status)

    def _connect(self, seconds: float) -> None:
        connected = self._connection.sock
        if connected is not None and select.select([connected], [], [], 0)[0]:
            self._connection.close()  # readable before a request: the peer has closed it
        if self._connection.sock is None:
            self._open()
            try:
                self._connection.meet()
            except TimeoutError as exc:
                self._connection.close()
                raise errors.TimedOut(self.url, seconds) from exc
            except handshake.Stranger as exc:
                # The original needs no token; it is called without, on a connection that bears no half of an answer.
                self._connection.close()
                self._connection.known_token = None
                self._headers = messages.headers(None, self._further)
                self.kept_back = str(exc)
                self._open()

    def _open(self) -> None:
        try:
            self._connection.connect()
        except OSError as exc:
            self._connection.close()
            raise errors.unreachable(self.url, exc) from exc

    def _exchange(self, body: bytes, seconds: float) -> tuple[int, bytes]:
        try:
            self._connection.request("POST", self._path, body, self._headers)
            response = self._connection.getresponse()
            answer = response.read(messages.ANSWER_LIMIT_BYTES + 1)
            self.ahead_seconds = _ahead(response.getheader("Date"), time.time())
        except TimeoutError as exc:
            raise errors.TimedOut(self.url, seconds) from exc
        except OSError as exc:  # also http.client.RemoteDisconnected
            hint = (
                "" if self._answered or self.url.startswith("https:") else " (if it has a certificate, write https://)"
            )
            raise errors.Disconnected(self.url, f"{errors.reason_of(exc)}{hint}") from exc
        except http.client.HTTPException as exc:
            raise errors.BadAnswer(self.url, "no HTTP", f", {messages.excerpt(repr(exc).encode())}") from exc
        self._answered = True
        if len(answer) > messages.ANSWER_LIMIT_BYTES:
            raise errors.BadAnswer(self.url, f"more than {messages.ANSWER_LIMIT_BYTES} bytes")
        if response.length:  # what is still missing
            raise errors.Disconnected(self.url, "the answer is cut off")
        return response.status, answer


def _ahead(date: str | None, now: float) -> float | None:
    """Return how far the clock that wrote a header `Date` is ahead of ours; it tells whole seconds."""
    try:
        return email.utils.parsedate_to_datetime(date or "").timestamp() + 0.5 - now
    except (ValueError, OverflowError):
        return None


@contextlib.contextmanager
def connect(
    url: str,
    *,
    headers: dict[str, str] | None = None,
    token: str | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
    trust: tls.Trust = None,
    must_know: bool = False,
) -> Iterator[Client]:
    """Yield a client of `url` (made by `damocles.rpc.address`); the first call connects.

    `timeout_seconds` limits each call as a whole. `trust`: see `damocles.rpc.tls`. A peer that `must_know` the token and
    does not (see `handshake`) is called without it; `Client.kept_back` has the reason.
    """
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    context = tls.client_context(trust) if parts.scheme == "https" else None
    connection = _Connection(host, parts.port, context, token if must_know else None)
    try:
        yield Client(url, connection, token, headers, timeout_seconds)
    finally:
        connection.close()
