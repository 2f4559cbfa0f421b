"""Before a token goes out over plain HTTP: the server shows that it knows the token already. No I/O.

While a daemon is down, any user of its machine may listen on its port. So a client asks first, on each new connection
that a token is to be sent over: it names the token by its id, with a random challenge, and the daemon answers with an
HMAC of the challenge and of the address and port at which the daemon itself was reached. The key is what daemons keep
of a token, its digest. The address is in there so that nobody can pass the question on to the daemon elsewhere.

Over HTTPS the certificate identifies the server. Through a network without it nothing does, so no token is sent there.
"""

import hmac
import ipaddress
import secrets
import socket
import urllib.parse
from collections.abc import Callable
from typing import Any, TypeAlias

from damocles.rpc.address import Endpoint
from damocles.rpc.admission import tokens

PATH = "/knows/"
ANSWER_LIMIT_BYTES = 4096
ANSWER_SECONDS = 10.0
_UNKNOWN = "the server there does not know our token"

# From the id of a token to its digest, None if a daemon has no such token.
Digests: TypeAlias = Callable[[str], str | None]


class Stranger(Exception):
    """The server does not know our token, or can be reached only through a network that others may intercept."""


def wanted(url: str, *, insecure: bool = False) -> bool:
    """Return whether the server at `url` has to know a token before it is sent there."""
    return url.startswith("http:") and not insecure


def proof(digest: str, challenge: str, reached_at: Endpoint) -> str:
    """Return what shows that a daemon which was reached at this address knows a token."""
    text = f"damocles knows\n{challenge}\n{_plain(reached_at.host)}\n{reached_at.port}"
    return hmac.new(digest.encode(), text.encode(), "sha256").hexdigest()


def answer(path: str, reached_at: Endpoint, digests: Digests) -> str | None:
    """Return the answer to a question, None if the token is not known. Revoked and expired ones are: see `Keyring`."""
    token_id, _, challenge = path.removeprefix(PATH).partition("/")
    digest = digests(token_id)
    return None if digest is None else proof(digest, challenge, reached_at)


class Question:
    """A question on one new connection, from `here` to `there`: send `text`, then `hear` until it is answered.

    Raises:
        Stranger: The other end is not on this machine.
    """

    def __init__(self, token: str, here: str, there: Endpoint) -> None:
        if not same_machine(here, there.host):
            raise Stranger(f"{there} is on another machine, and a token would go there unencrypted")
        challenge = secrets.token_hex(16)
        path = f"{PATH}{tokens.id_of(token)}/{challenge}"
        self.text = f"GET {path} HTTP/1.1\r\nHost: {there}\r\n\r\n".encode()
        self._expected = proof(tokens.digest(token), challenge, there).encode()
        self._heard = b""

    def hear(self, data: bytes) -> bool:
        """Take in what came; return whether the answer is complete and right.

        Raises:
            Stranger: It is wrong, or there is none.
        """
        self._heard += data
        head, end, body = self._heard.partition(b"\r\n\r\n")
        is_long = not data or len(self._heard) > ANSWER_LIMIT_BYTES
        is_other = end and b"\r\ncontent-length: %d\r\n" % len(self._expected) not in head.lower() + b"\r\n"
        if head.startswith(b"HTTP/1.1 503 "):
            raise Stranger("the server there has no room for another connection now (HTTP 503)")
        if is_long or is_other or not b"HTTP/1.1 200 ".startswith(head[:13]):
            raise Stranger(_UNKNOWN)
        if not end or len(body) < len(self._expected):
            return False
        if not hmac.compare_digest(body, self._expected):
            raise Stranger(_UNKNOWN)
        return True


def ends(stream: Any) -> tuple[str, Endpoint]:
    """Return the addresses of a new connection of httpx2: our host, and where the server was reached.

    Raises:
        httpx2.ConnectError: The server has left again.
    """
    import httpx2  # noqa: PLC0415 (only by those who have such a connection)

    try:
        here, there = stream.get_extra_info("client_addr"), stream.get_extra_info("server_addr")
    except OSError as error:
        raise httpx2.ConnectError(str(error)) from error
    if here is None or there is None:
        raise httpx2.ConnectError("the connection was ended at once")
    return here[0], Endpoint(*there[:2])


def tracer(token: str) -> Callable[[str, dict[str, Any]], None]:
    """Return the `trace` of a blocking request of httpx2: it asks on each new connection, before anything is sent there.

    It raises `Stranger` where the answer is not right; the connection is closed then.
    """

    def meet(event: str, info: dict[str, Any]) -> None:
        if event != "connection.connect_tcp.complete":
            return
        stream = info["return_value"]
        try:
            question = Question(token, *ends(stream))
            stream.write(question.text, ANSWER_SECONDS)
            while not question.hear(stream.read(ANSWER_LIMIT_BYTES, ANSWER_SECONDS)):
                pass
        except BaseException:
            stream.close()
            raise

    return meet


def same_machine(here: str, there: str) -> bool:
    """Return whether both ends of a connection are on this machine: a system calls itself from the called address."""
    one, other = _plain(here), _plain(there)
    return one == other or (ipaddress.ip_address(one).is_loopback and ipaddress.ip_address(other).is_loopback)


def is_here(url: str) -> bool:
    """Return whether the host of a URL is this machine, without sending anything.

    To be able to bind to an address proves nothing where `net.ipv4.ip_nonlocal_bind` is set.
    """
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        family, kind, _, _, where = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(where)
            return same_machine(probe.getsockname()[0], probe.getpeername()[0])
    except OSError:
        return False


def _plain(host: str) -> str:
    """Return an address as each end of a connection writes it: without a zone, and IPv4 as such."""
    ip = ipaddress.ip_address(host.partition("%")[0])
    return str(ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else str(ip)
