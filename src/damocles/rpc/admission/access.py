"""Who may do what: the rules of everything that both daemons serve, and the guard that asks them.

A method has its rule where it is declared (`methods`), a route in the table here. What has none, nobody may do.
"""

import ipaddress
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias
from urllib.parse import urlsplit

import structlog

from damocles import methods
from damocles.methods import rules
from damocles.methods.rules import Rule, Scope
from damocles.rpc import address, callers, errors

log = structlog.get_logger(__name__)

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_REFUSALS_REMEMBERED = 1000


# HTTP method and path; one that ends in / stands for all below it.
ROUTES: Mapping[str, Rule] = MappingProxyType(
    {
        "GET /metrics": rules.READ,
        "GET /http_sd": rules.READ,
        "GET /piecestore/": rules.ASKED,
        "PUT /piecestore/": rules.SEALING,
        "PATCH /piecestore/": rules.SEALING,
        "OPTIONS /piecestore/": rules.ASKED,
        # The dashboard: what a page shows or does, it asks for by the methods, as whoever looks at it.
        "GET /dashboard/": rules.READ,
        "POST /dashboard/": rules.READ,
        "GET /dashboard/static/": rules.READ,
    }
)

# Wire method or route to rule.
RULES: Mapping[str, Rule] = MappingProxyType(
    {**{name: method.rule for name, method in methods.ALL.items() if method.rule is not None}, **ROUTES}
)

# What needs no token, whatever is configured.
HEALTH = "GET /healthcheck"
OPEN = frozenset({HEALTH})
# And what of the dashboard, where there is one: its door.
OPEN_PAGES = frozenset({"GET /dashboard/login", "POST /dashboard/login", "GET /dashboard/static/"})
# What is answered for as long as its peer listens: it counts as a WebSocket does, not as a call that runs.
STREAMS = frozenset({"GET /dashboard/events", "GET /dashboard/log"})


def route(verb: str, path: str) -> str:
    """Return the name by which the table knows a request of HTTP."""
    return f"{'GET' if verb == 'HEAD' else verb} {path}"


def rule_of(name: str) -> Rule | None:
    """Return the rule of a wire method or of a `route`; None if there is none."""
    return RULES.get(known_as(name))


def known_as(name: str) -> str:
    """Return by what the table knows a method or route: what stands for all below a path, if it stands there alone."""
    if name in RULES or "/" not in name:
        return name
    above = [known for known in RULES if known.endswith("/") and name.startswith(known)]
    return max(above, key=len, default=name)


@dataclass(frozen=True, slots=True)
class Admitted:
    """Addresses whose programs are let in without a token, and what for."""

    network: Network
    scopes: frozenset[Scope]

    def __str__(self) -> str:
        ip = self.network
        single = ip.prefixlen == ip.max_prefixlen
        return f"{ip.network_address if single else ip}={_listed(self.scopes)}"


def admitted(texts: Iterable[str], usual: frozenset[Scope]) -> tuple[Admitted, ...]:
    """Read what lets peers in by their address: `10.0.0.2` or `10.0.0.0/24`, and scopes other than the `usual` behind `=`.

    Raises:
        ValueError: One of them is something else, or an address is there twice.
    """
    made: dict[Network, Admitted] = {}
    for text in texts:
        shown, has_scopes, scopes = text.partition("=")
        try:
            network = ipaddress.ip_network(shown.strip())
        except ValueError as error:
            raise ValueError(
                f"{shown!r} is neither an address nor a network, like 10.0.0.2 or 10.0.0.0/24 ({error})"
            ) from error
        if network in made:
            raise ValueError(f"{network} is admitted twice: write all its scopes at once, like {shown}=read,operate")
        made[network] = Admitted(network, _scopes(text, scopes) if has_scopes else usual)
    return tuple(made.values())


def _scopes(text: str, names: str) -> frozenset[Scope]:
    try:
        return frozenset(Scope(name.strip()) for name in names.split(","))
    except ValueError as error:
        raise ValueError(
            f"{text!r}: {error}: write scopes like {_listed(tuple(Scope))}, with commas between them"
        ) from error


def _listed(scopes: Collection[Scope], between: str = ",") -> str:
    return between.join(scope for scope in Scope if scope in scopes)


@dataclass(frozen=True, slots=True)
class Admission:
    """Peers that are admitted by their address: the original's programs, which cannot send tokens.

    The closest of several networks counts. `option` is how people write an address that is let in, as a format.
    """

    peers: Sequence[Admitted] = ()
    option: str = ""

    def principal(self, peer: str) -> callers.Principal | None:
        """Return whom `peer`, an address with a port, is taken for."""
        if (ip := address.ip_of(peer)) is None:
            return None
        found = [one for one in self.peers if ip in one.network]
        if not found:
            return None
        closest = max(found, key=lambda one: one.network.prefixlen)
        return callers.Principal(f"admitted {ip}", closest.scopes, address=str(ip))

    def hint(self) -> str:
        """Return what to do for a program that cannot send a token."""
        return (
            "; programs of the original cannot send one and are admitted by their address:"
            f" {self.option.format('ADDRESS')}"
            if self.option
            else ""
        )

    def more(self, principal: callers.Principal, rule: Rule) -> str:
        """Return how the address of a peer that was let in gets what a method needs."""
        scopes = principal.scopes | {Scope.WORKER if rule.worker else rule.least}
        wanted = self.option.format(f"{principal.address}={_listed(scopes)}")
        return f"programs without a token may do what their address allows: {wanted}"


class Guard:
    """Lets calls through, or refuses them with the reason.

    `identify` turns a token into a principal or raises `Unidentified`; `help_text` is where people on this machine find
    tokens, `create` the command that creates others.
    """

    def __init__(
        self,
        identify: Callable[[str], Awaitable[callers.Principal]],
        *,
        help_text: str,
        create: str = "auth create",
        admission: Admission | None = None,
        open_routes: frozenset[str] = OPEN,
    ) -> None:
        self._identify = identify
        self._help = help_text
        self._create = create
        self._admission = admission or Admission()
        self._open_routes = open_routes
        self._refused: set[tuple[str, str, str]] = set()

    def admits(self, name: str, peer: str) -> bool:
        """Return whether a peer is admitted by its address where others are not."""
        return name not in self._open_routes and self._admission.principal(peer) is not None

    async def identify(self, token: str | None, peer: str) -> callers.Principal:
        """Return who calls.

        Raises:
            callers.Unidentified: No token and no admitted address, or the token is unknown, revoked or expired.
        """
        if token is not None:
            return await self._identify(token)
        principal = self._admission.principal(peer)
        if principal is None:
            raise callers.Unidentified("no token")
        return principal

    async def authorize(self, name: str, token: str | None, peer: str) -> callers.Principal:
        """Return who calls the method (or asks for the `route`) with this name, if they may.

        Raises:
            errors.RpcError: They may not (401: unknown caller, 403: not with this scope); the text names what is needed.
            callers.UnknownMethod: They are known, and the table does not have the method.
        """
        if name in self._open_routes or known_as(name) in self._open_routes:
            return callers.Principal("anyone", frozenset())
        rule = rule_of(name)
        try:
            principal = await self.identify(token, peer)
        except callers.Unidentified as error:
            self._tell(name, peer, str(error))
            needed = f" with scope {rule.needs()}" if rule else ""
            text = f"{error}: {name[:100]} needs a token{needed}; {self._help_for(peer, rule)}"
            if token is None:
                text += self._admission.hint()
            raise errors.RpcError(errors.Code.UNAUTHORIZED, text) from error
        if rule is None:
            raise callers.UnknownMethod(name)
        if not rule.allows(principal.scopes):
            has = _listed(principal.scopes, " and ") or "none"
            self._tell(name, peer, f"{principal.name} has scope {has}")
            way = self._admission.more(principal, rule) if principal.address else self._help_for(peer, rule)
            text = f"{principal.name} has scope {has}, {name} needs {rule.needs()}; {way}"
            raise errors.RpcError(errors.Code.FORBIDDEN, text)
        return principal

    def _help_for(self, peer: str, rule: Rule | None) -> str:
        """Return where to get a token; only people on this machine can use the path of a file."""
        ip = address.ip_of(peer)
        if peer == "" or (ip is not None and ip.is_loopback):
            return self._help
        scope = f" --scope {Scope.WORKER if rule.worker else rule.least}" if rule else ""
        return f"ask its operator for one ({self._create} NAME{scope})"

    def _tell(self, name: str, peer: str, why: str) -> None:
        """Log a refusal, once for each host, method and reason: a worker without a token asks again and again."""
        host = peer.rpartition(":")[0]
        known = name if rule_of(name) else "(unknown)"
        if (key := (host, known, why)) not in self._refused:
            if len(self._refused) >= _REFUSALS_REMEMBERED:
                self._refused.clear()
            self._refused.add(key)
            log.warning("call refused", method=known, peer=peer, reason=why)


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a server that listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def exposed(host: str, *, tls: bool) -> bool:
    """Return whether a server on `host` would send tokens through a network in the clear."""
    return not (tls or is_loopback(host))


def in_the_clear(url: str) -> bool:
    """Return whether what is sent to a URL can be read on the way, or may be."""
    try:
        parts = urlsplit(url)
        return exposed(parts.hostname or "", tls=parts.scheme == "https")
    except ValueError:
        return True
