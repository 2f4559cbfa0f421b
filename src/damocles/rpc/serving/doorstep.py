"""Checks before the caller is identified: the shape of a request, and whether a web page sends it.

    app = doorstep.watched(app, doorstep.Door(digests=ring.digest_of, admits=guard.admits, names=names))

A browser on a machine that is admitted by its address lends that address to every page it shows. Pages cannot hide that they
are pages: a browser puts `Origin` on what they send to others and on every WebSocket, and sends `Sec-Fetch-Site` where it
trusts the connection. A page whose name has been bound to our address (DNS rebinding) calls us by that name. A caller with
a token is not a page, since without our consent, which nobody gets, browsers send no `Authorization` to other sites.

Here, too, daemons answer whether they know a token (`handshake`).
"""

import ipaddress
import socket
import urllib.parse
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog

from damocles.rpc import address
from damocles.rpc.admission import access, handshake
from damocles.rpc.serving import asgi

log = structlog.get_logger(__name__)

_REFUSALS_REMEMBERED = 1000
_AMBIGUOUS = "Content-Length and Transfer-Encoding in one request: nobody can tell where it ends"


def _nobody(_route: str, _peer: str) -> bool:
    return False


def unknown(_: str) -> str | None:
    """Return that a token is not known: for what is served without any."""
    return None


class Browsed(NamedTuple):
    """What is for browsers: all `below` a path, and the routes that only lead there."""

    below: str
    leads: frozenset[str]

    def has(self, route: str, path: str) -> bool:
        """Return whether a request is for it."""
        return path.startswith(self.below) or route in self.leads


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What a daemon knows of tokens and peers.

    `admits` returns whether a route is open to a peer by its address, and `names` are those that it may call this machine by.
    What is for browsers, `pages`, asks for a token whatever the address, and looks itself at which page sends what.
    """

    digests: handshake.Digests = unknown
    admits: Callable[[str, str], bool] = _nobody
    names: frozenset[str] = frozenset()
    pages: Browsed | None = None
    _refused: set[tuple[str, str]] = field(default_factory=set, init=False, repr=False)

    def refuses(self, scope: asgi.Message) -> str | None:
        """Return why a request without a token is refused, whatever its peer may do."""
        headers, call = dict(scope["headers"]), asgi.call_of(scope, "http")
        route = access.route(scope.get("method", "GET"), scope["path"])
        if call.token is not None or route == access.HEALTH:
            return None
        if self.pages is not None and scope["type"] == "http" and self.pages.has(route, scope["path"]):
            return None
        why = _of_a_page(headers)
        if why is None and self.admits(route, call.peer):
            why = _by_another_name(headers.get(b"host", b"").decode("latin-1"), self.names)
        if why is not None:
            self._tell(call.peer, why)
        return why

    def _tell(self, peer: str, why: str) -> None:
        """Log a refusal, once for each host and reason."""
        if (key := (peer.rpartition(":")[0], why)) not in self._refused:
            if len(self._refused) >= _REFUSALS_REMEMBERED:
                self._refused.clear()
            self._refused.add(key)
            log.warning("call refused", peer=peer, reason=why)


def door(
    digests: handshake.Digests,
    guard: access.Guard,
    known_as: Iterable[str],
    *,
    pages: Browsed | None = None,
) -> Door:
    """Return the door of a daemon that is called by further names than those that every machine has."""
    names = frozenset(name.casefold().rstrip(".") for name in (socket.gethostname(), *known_as))
    return Door(digests=digests, admits=guard.admits, names=names, pages=pages)


def watched(app: asgi.App, at: Door) -> asgi.App:
    """Return `app` behind a door."""

    async def answer(scope: asgi.Message, receive: asgi.Receive, send: asgi.Send) -> None:
        is_http = scope["type"] == "http"
        given = [name for name, _ in scope["headers"]]
        if b"content-length" in given and b"transfer-encoding" in given:
            await _turn_away(send, 400, _AMBIGUOUS, is_http=is_http)
        elif (why := at.refuses(scope)) is not None:
            await _turn_away(send, 403, why, is_http=is_http)
        elif is_http and scope["path"].startswith(handshake.PATH) and scope["method"] == "GET":
            known = handshake.answer(scope["path"], address.Endpoint(*scope["server"]), at.digests)
            await asgi.respond(send, 404 if known is None else 200, (known or "").encode(), "text/plain; charset=utf-8")
        else:
            await app(scope, receive, send)

    return answer


async def _turn_away(send: asgi.Send, status: int, why: str, *, is_http: bool) -> None:
    if is_http:
        await asgi.respond(send, status, f"{why}\n".encode(), "text/plain; charset=utf-8", close=True)
    else:
        await send({"type": "websocket.close"})  # refuses the handshake


def _of_a_page(headers: dict[bytes, bytes]) -> str | None:
    """Return why a request looks like a web page's. What somebody types into the line of addresses is none (`none`)."""
    if b"origin" in headers:
        return "web pages are not served: there is an Origin, and no token"
    if headers.get(b"sec-fetch-site", b"none") != b"none":
        return "web pages are not served: there is a Sec-Fetch-Site, and no token"
    return None


def _by_another_name(host: str, names: frozenset[str]) -> str | None:
    """Return why a peer that is admitted by its address may not call us by this host, which others could own."""
    try:
        name = (urllib.parse.urlsplit(f"//{host}").hostname or "").casefold().rstrip(".")
    except ValueError:
        return "the Host is none"
    # A name without a dot belongs to nobody on the Internet.
    if (
        not name
        or ("." not in name and ":" not in name)
        or name.endswith(".localhost")
        or name in names
        or _is_ip(name)
    ):
        return None
    return (
        "this daemon is not known by that Host: callers admitted by address may use an IP address, or a name that is given"
        " with --known-as (a worker: worker.rpc_server.known_as)"
    )


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True
