"""Run an ASGI application inside our own tree of tasks, with uvicorn.

    async with server.serve(app, "127.0.0.1", 1789) as bound:
        print(bound)                                        # 127.0.0.1:1789

What holds off slow and malformed peers: time-outs for the head of a request (here), its body (`asgi`), the pause
between requests, a TLS handshake and the acknowledgement of what we send; limits on connections (`places`), bodies,
frames and calls at once on a WebSocket; and on what is unread (`outbox`). Not covered: a handler has no time limit.
"""

import asyncio
import contextlib
import errno
import ipaddress
import itertools
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Generator

import anyio
import anyio.abc
import anyio.lowlevel
import structlog
import uvicorn

from damocles.rpc import address, errors, limits
from damocles.rpc.serving import asgi, listeners, outbox, places, protocols

log = structlog.get_logger(__name__)

KEEP_ALIVE_SECONDS = 120  # longer than the 90 s after which Go's and Rust's clients drop an idle connection themselves
UNACKNOWLEDGED_SECONDS = 60
PING_SECONDS = 5  # WebSocket pings, as the manager of v0.13; a peer that is silent for PONG_SECONDS is dropped
PONG_SECONDS = 25
HANDSHAKE_SECONDS = 10
GOODBYE_SECONDS = 0.5
_SPARE = 4
_AT_ONCE = 20  # connections accepted before others have their turn: a crowd must not be long at the door either
_PAUSE_SECONDS = 1.0  # when no connection can be accepted or no descriptor kept; also what limits the warnings
GRACE_SECONDS = 10


class _Ending(logging.Filter):
    """Makes a warning of what uvicorn calls an error: at the end of the grace connections are closed, as they shall be."""

    def filter(self, record: logging.LogRecord) -> bool:
        if str(record.msg).startswith("Cancel %s running task"):
            record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
        return True


logging.getLogger("uvicorn.error").addFilter(_Ending())


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which are the daemon's, and without its ten ticks a second: it waits."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket, taken: places.Places) -> None:
        super().__init__(config)
        self._nudge = asyncio.Event()  # to stop, or a spare descriptor has been given away
        self._listener = listener
        self._places = taken
        self._spare: list[int] = []  # descriptors for connections when the process has no other ones

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def main_loop(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._accept, tasks)
            while not self.should_exit:
                self._nudge.clear()
                is_full = self._keep_spare()
                with anyio.move_on_after(None if is_full else _PAUSE_SECONDS):
                    await self._nudge.wait()
            tasks.cancel_scope.cancel("no more connections")
        self._listener.close()
        while self._spare:
            os.close(self._spare.pop())

    def _keep_spare(self) -> bool:
        """Hold some descriptors back, so that people can look at a process that has opened all files it may.

        Return whether all of them are there.
        """
        with contextlib.suppress(OSError):
            while len(self._spare) < _SPARE:
                self._spare.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        return len(self._spare) == _SPARE

    async def _accept(self, tasks: anyio.abc.TaskGroup) -> None:
        """Accept connections for ever; here and not by asyncio, which counts nothing and logs each that it cannot."""
        loop = asyncio.get_running_loop()
        for number in itertools.count(1):
            try:
                connected, peer = await loop.sock_accept(self._listener)
            except ConnectionAbortedError:
                continue
            except OSError as exc:  # of descriptors or memory there is no more
                if self._spare:
                    os.close(self._spare.pop())
                    self._nudge.set()
                    continue
                log.warning("no connection can be accepted; trying again", error=errors.reason_of(exc))
                await anyio.sleep(_PAUSE_SECONDS)
                continue
            tasks.start_soon(self._take, connected, self._places.take(connected, peer[0]))
            if number % _AT_ONCE == 0:
                await anyio.lowlevel.checkpoint()  # a crowd at the door must not hold up those who are inside

    async def _take(self, connected: socket.socket, place: places.Place) -> None:
        def protocol() -> protocols.Http:
            state = {**self.lifespan.state, places.STATE: place}
            made = protocols.Http(config=self.config, server_state=self.server_state, app_state=state)
            if place.refused:
                made.refused, made.limit_concurrency = True, 0  # so that it answers HTTP 503
            return made

        tls = self.config.ssl
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                protocol,
                connected,
                ssl=tls,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if tls else None,
                # A peer whose connection is idle does not read, and so does not see that we say goodbye.
                ssl_shutdown_timeout=GOODBYE_SECONDS if tls else None,
            )
        except OSError as exc:
            log.debug("connection refused", peer=place.host, error=errors.reason_of(exc))

    def stop(self) -> None:
        self.should_exit = True
        self._nudge.set()

    async def run_until_stopped(self) -> None:
        """Serve until `stop`; return when no connection and no handler is left."""
        with (
            self._listener,
            anyio.CancelScope(shield=True),
        ):  # ends by `stop` only, so that answers under way are still sent
            await self.serve(sockets=[])  # accepts nothing itself
            # uvicorn cancels what outlives the grace period, but does not wait for it.
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            while self.server_state.tasks:
                await asyncio.wait(self.server_state.tasks)


@contextlib.asynccontextmanager
async def serve(
    app: asgi.App,
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    connections: int | None = None,
    grace_seconds: int = GRACE_SECONDS,
    gauges: limits.Gauges | None = None,
    event: str = "listening",
) -> AsyncIterator[address.Endpoint]:
    """Serve `app` while the block runs; yield the address it listens on, which the log says as `event`.

    An empty host means all interfaces, port 0 a free port. Beyond `connections`, strangers must leave, and then requests
    are answered with HTTP 503 (see `places`). `gauges` show how full that is. Leaving the block, even by cancellation, waits for the handlers under way, at most `grace_seconds`.

    Raises:
        errors.ListenError: The port is in use, or the host is not one of this machine.
    """
    listener = await _listen(host, port)
    bound = address.Endpoint(*listener.getsockname()[:2])
    taken = places.Places(places.affordable(limits.CONNECTIONS if connections is None else connections))
    leaving = outbox.Outbox()
    if gauges is not None:
        gauges.watch(taken.levels, taken.met)
        gauges.watch(leaving.levels, leaving.met)
    server = _Server(
        uvicorn.Config(
            leaving.watching(app),
            interface="asgi3",
            http=protocols.Http,
            ws=protocols.WebSocket,
            ws_max_size=limits.STRANGER_BYTES,  # until it is known who asks
            ws_ping_interval=PING_SECONDS,
            ws_ping_timeout=PONG_SECONDS,
            ws_per_message_deflate=False,  # memory for each connection, and room for bombs
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # a peer does not get to say where it comes from
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=grace_seconds,
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
        ),
        listener,
        taken,
    )
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.run_until_stopped)
        log.info(event, address=str(bound), tls=tls is not None)
        try:
            yield bound
        except Exception as exc:  # noqa: BLE001 (raised again below, where the group does not wrap it)
            failure = exc
        finally:
            server.stop()
    if failure is not None:
        raise failure


async def _listen(host: str, port: int) -> socket.socket:
    place = address.Endpoint(host, port)
    try:
        if _is_everywhere(host) and socket.has_dualstack_ipv6():
            listener = socket.create_server(
                (host, port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=limits.WAITING_CONNECTIONS
            )
        elif host:
            family, _, _, _, where = (await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM))[0]
            listener = socket.create_server(where[:2], family=family, backlog=limits.WAITING_CONNECTIONS)
        else:
            listener = socket.create_server(("", port), backlog=limits.WAITING_CONNECTIONS)
    except OSError as exc:
        raise errors.ListenError(str(place), _why(exc, port)) from exc
    # Accepted connections inherit both. Head and body of an answer leave in two writes: without NODELAY the second
    # waits 40 ms for an acknowledgement (asyncio sets it only on sockets that name their protocol). With the time-out
    # a peer that stops reading, or vanishes, cannot hold what we send for ever.
    listener.setblocking(False)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_SECONDS * 1000)
    return listener


def _is_everywhere(host: str) -> bool:
    """Return whether a host means all interfaces, of IPv6 too: there IPv4 is listened on as well, as other daemons do."""
    try:
        return not host or ipaddress.IPv6Address(host).is_unspecified
    except ValueError:
        return False


def _why(exc: OSError, port: int) -> str:
    if isinstance(exc, socket.gaierror):
        return f"has no address: {exc.strerror}"
    if exc.errno == errno.EADDRINUSE:
        who = listeners.owner(port)
        return f"is in use (by {who or 'this daemon already running?'}{';' if who else ''} stop it, or choose another port)"
    if exc.errno == errno.EADDRNOTAVAIL:
        return "is not an address of this machine (use 127.0.0.1, or an address that `ip addr` shows)"
    if exc.errno == errno.EACCES:
        return "may not be used by this user (choose a port above 1023)"
    return f"cannot be listened on: {os.strerror(exc.errno) if exc.errno else exc}"
