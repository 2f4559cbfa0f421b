"""Call a daemon from a daemon: JSON-RPC over HTTP on kept-alive connections.

    async with client.connect(url, token=token, timeout_seconds=10) as manager:
        await manager.call(methods.sealer.worker_ping(info))
        sector = await manager.call(methods.sealer.allocate_sector(spec))

Any number of tasks may call at once. This is the only module that knows the HTTP library.
"""

import contextlib
import functools
import itertools
import math
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, TypeAlias, TypeVar, cast, overload

import anyio
import anyio.to_thread
import httpcore2  # noqa: F401 (else httpx2 imports it with the first client, where the event loop waits for the disk)
import httpx2

from damocles import methods
from damocles.rpc import errors, messages, tls
from damocles.rpc.admission import handshake

T = TypeVar("T")

# What to show to the peer: a token, or what returns the present one before each call.
Token: TypeAlias = str | Callable[[], str | None] | None

TIMEOUT_SECONDS = 60.0
CONNECT_SECONDS = 10.0
# Shorter than any server of damocles keeps an idle connection, lest a call meets one that is being closed.
IDLE_SECONDS = 5.0
# An answer with a hundred thousand sectors takes seconds to read, in which nothing else would happen.
LARGE_BYTES = 256 << 10


class _Answer:
    """An answer as far as it has come; one that was `dropped` gave its room to others."""

    __slots__ = ("data", "dropped")

    def __init__(self) -> None:
        self.data = bytearray()
        self.dropped = False


class Answers:
    """How many bytes of answers are held until they are decoded: of each, and of all clients that share this together.

    Where all are too many the largest goes, so that nobody can crowd out the small ones of others.
    """

    def __init__(self, each_bytes: int | None = None, together_bytes: float = math.inf) -> None:
        self._each_bytes = each_bytes
        self._together_bytes = together_bytes
        self._coming: set[_Answer] = set()
        self.held_bytes = 0
        self.largest_bytes = 0
        self.met: Counter[str] = Counter()

    @contextlib.contextmanager
    def one(self) -> Iterator[_Answer]:
        """Hold one answer while the block runs."""
        answer = _Answer()
        self._coming.add(answer)
        try:
            yield answer
        finally:
            self._let_go(answer)

    def add(self, answer: _Answer, chunk: bytes, url: str) -> None:
        """Take more of an answer.

        Raises:
            errors.BadAnswer: It, or all together, are too large.
        """
        each = messages.ANSWER_LIMIT_BYTES if self._each_bytes is None else self._each_bytes
        if not answer.dropped:
            answer.data += chunk
            self.held_bytes += len(chunk)
            self.largest_bytes = max(self.largest_bytes, len(answer.data))
            if len(answer.data) > each:
                self.met["worker_answer_bytes"] += 1
                raise errors.BadAnswer(url, f"more than {each} bytes")
            while self.held_bytes > self._together_bytes:
                largest = max(self._coming, key=lambda one: len(one.data))
                self._let_go(largest)
                largest.dropped = True
                largest.data = bytearray()
                self.met["worker_answers_bytes"] += 1
        if answer.dropped:
            raise errors.BadAnswer(
                url, f"the answers that come in are larger than {self._together_bytes} bytes together"
            )

    def _let_go(self, answer: _Answer) -> None:
        if answer in self._coming:
            self._coming.remove(answer)
            self.held_bytes -= len(answer.data)


class Client:
    """Calls to one peer; made by `connect`."""

    def __init__(
        self,
        url: str,
        transport: httpx2.AsyncHTTPTransport,
        headers: dict[str, str] | None,
        token: Token,
        timeout_seconds: float,
        *,
        must_know: bool,
        answers: Answers,
    ) -> None:
        self.url = url
        try:
            self._url = httpx2.URL(url)
        except httpx2.InvalidURL as exc:  # which is no ValueError
            raise ValueError(f"{url!r} is not a URL: {exc}") from exc
        # The transport, not AsyncClient: no cookies, redirects, proxies or log line for each call, half the CPU.
        self._transport = transport
        self._further = headers
        self._token = token
        self._timeout_seconds = timeout_seconds
        self._must_know = must_know
        self._answers = answers
        self._numbers = itertools.count(1)

    @overload
    async def call(
        self, ask: methods.Ask[T], /, *, timeout_seconds: float | None = None, token: str | None = None
    ) -> T: ...
    @overload
    async def call(
        self,
        ask: str,
        params: messages.Params = (),
        /,
        *,
        returns: Any = None,
        timeout_seconds: float | None = None,
        token: str | None = None,
    ) -> Any: ...
    async def call(
        self,
        ask: methods.Ask[Any] | str,
        params: messages.Params = (),
        /,
        *,
        returns: Any = None,
        timeout_seconds: float | None = None,
        token: str | None = None,
    ) -> Any:
        """Make a call and return its result. What is declared nowhere is called by its name.

        `timeout_seconds` limits the whole call; it and `token` default to those of `connect`.

        Raises:
            errors.CallError: See `damocles.rpc.errors` for the kinds, and what to do.
        """
        if isinstance(ask, str):
            ask = methods.Ask(ask, params, returns)
        body = messages.encode_call(next(self._numbers), ask.method, ask.params)
        seconds = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        with self._answers.one() as answer:
            status = await self._exchange(body, token, answer, seconds)
            decode = partial(
                messages.decode_answer, answer.data, ask.returns, url=self.url, method=ask.method, status=status
            )
            return await anyio.to_thread.run_sync(decode) if len(answer.data) > LARGE_BYTES else decode()

    async def _exchange(self, body: bytes, token: str | None, answer: _Answer, seconds: float) -> int:
        try:
            with anyio.fail_after(seconds):
                return await self._send(body, token, answer)
        except TimeoutError as exc:
            raise errors.TimedOut(self.url, seconds) from exc
        except handshake.Stranger as exc:
            raise errors.Unknowing(self.url, str(exc)) from exc
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as exc:
            raise errors.unreachable(self.url, exc) from exc
        except httpx2.RemoteProtocolError as exc:
            if str(exc).startswith(("Server disconnected", "peer closed")):
                raise errors.Disconnected(self.url, str(exc)) from exc
            raise errors.BadAnswer(self.url, "no HTTP", f", {messages.excerpt(str(exc).encode())}") from exc
        except httpx2.TransportError as exc:
            raise errors.Disconnected(self.url, errors.reason_of(exc)) from exc
        except ValueError as exc:  # a host or a header that cannot be written as bytes
            raise errors.Unreachable(self.url, str(exc)) from exc

    async def _send(self, body: bytes, token: str | None, answer: _Answer) -> int:
        if token is None:
            token = self._token() if callable(self._token) else self._token
        # Without a token nobody can be asked whether it knows it, and the other headers let somebody in, too.
        headers = messages.headers(token, self._further if token is not None or not self._must_know else None)
        extensions: dict[str, Any] = {"timeout": {"connect": CONNECT_SECONDS}}
        if self._must_know:
            if token is None:
                headers["connection"] = "close"  # none that has seen no question may serve for a call with a token
            else:
                extensions["trace"] = partial(_meet, token)
        request = httpx2.Request("POST", self._url, headers=headers, content=body, extensions=extensions)
        response = await self._transport.handle_async_request(request)
        try:
            async for chunk in cast("httpx2.AsyncByteStream", response.stream):
                self._answers.add(answer, chunk, self.url)
        finally:
            await response.aclose()
        return response.status_code


@contextlib.asynccontextmanager
async def connect(
    url: str,
    *,
    headers: dict[str, str] | None = None,
    token: Token = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
    trust: tls.Trust = None,
    must_know: bool = False,
    answers: Answers | None = None,
) -> AsyncIterator[Client]:
    """Yield a client of `url` (made by `damocles.rpc.address`); the first call connects. `trust`: see `rpc.tls`.

    A peer that `must_know` the token and does not (see `handshake`) gets no call: `errors.Unknowing`. `answers` limits what is read of the peer's answers.

    Raises:
        ValueError: `url` is no URL.
    """
    # Without TLS the authorities of the system need not be loaded: 20 ms and some MB.
    context = tls.client_context(trust) if url.startswith("https:") else _no_context()
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=8, keepalive_expiry=IDLE_SECONDS)
    async with httpx2.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits) as transport:
        yield Client(url, transport, headers, token, timeout_seconds, must_know=must_know, answers=answers or Answers())


async def _meet(token: str, event: str, info: dict[str, Any]) -> None:
    """Have the peer of each new connection show that it knows the token.

    Raises:
        handshake.Stranger: It does not.
        httpx2.ConnectError: It has left again.
    """
    if event != "connection.connect_tcp.complete":
        return
    stream = info["return_value"]
    try:
        question = handshake.Question(token, *handshake.ends(stream))
        await stream.write(question.text)
        while not question.hear(await stream.read(handshake.ANSWER_LIMIT_BYTES)):
            pass
    except BaseException:
        with anyio.CancelScope(shield=True):
            await stream.aclose()
        raise


@functools.cache
def _no_context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
