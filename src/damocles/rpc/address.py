"""Where a manager or a worker is: multiaddrs, URLs and `host:port` to one form.

    endpoint = address.host_port("[fd00::7]", 17890)      # Endpoint("fd00::7", 17890)
    address.manager_url("/ip4/10.0.0.1/tcp/1789")         # http://10.0.0.1:1789/rpc/v0
    address.worker_url("10.0.0.7")                        # http://10.0.0.7:17890/
    address.node_url("/ip4/10.0.0.1/tcp/1234/http")       # http://10.0.0.1:1234/rpc/v1

Every malformed address is a `ValueError` that shows the forms that would do.
"""

import ipaddress
import re
import socket
import urllib.parse
from typing import NamedTuple

MANAGER_PORT = 1789
MANAGER_PATH = "/rpc/v0"
WORKER_PORT = 17890
NODE_PORT = 1234
NODE_PATH = "/rpc/v1"

_HOST_PROTOCOLS = {"ip4": socket.AF_INET, "ip6": socket.AF_INET6, "dns": None, "dns4": None, "dns6": None}
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_HOST_NAME = re.compile(r"[A-Za-z0-9._-]+")
_FORMS = "write http://10.0.0.1:1789, 10.0.0.1:1789 or /ip4/10.0.0.1/tcp/1789"


class Endpoint(NamedTuple):
    """A host (name or IP, IPv6 without brackets; empty: all interfaces) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def url(self, path: str = "/", scheme: str = "http") -> str:
        """Return the URL of a path there."""
        return f"{scheme}://{self}{path}"


def host_name(text: str) -> str:
    """Return a host as name servers know it: an IP address, or a name in ASCII."""
    if _is_ip(text, socket.AF_INET) or _is_ip(text, socket.AF_INET6):
        return text
    try:
        name = text.encode("idna").decode("ascii")
    except UnicodeError:
        name = ""
    if not _HOST_NAME.fullmatch(name):
        raise ValueError(f"{text!r} is not the name of a host")
    return name


def host_port(text: str, default_port: int) -> Endpoint:
    """Read `host:port`, `host`, `:port`, `[ip6]:port`, `[ip6]` or a bare IPv6 address.

    The original's ping writes IPv6 addresses without brackets (`fd00::7:17890`). A last group of five digits is read
    as the port; with fewer digits the text looks like an address, and counts as one.
    """
    text = text.strip()
    host, port = text, ""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or not _is_ip(host, socket.AF_INET6) or not (port == "" or port.startswith(":")):
            raise ValueError(f"{text!r} is not an address: an IPv6 address with a port is written [fd00::7]:17890")
        port = port[1:]
    elif not _is_ip(text, socket.AF_INET6):
        host, _, port = text.rpartition(":") if ":" in text else (text, "", "")
        if ":" in host and not _is_ip(host, socket.AF_INET6):
            raise ValueError(f"{text!r} is not an address: expected host:port, like 10.0.0.7:17890")
    if not host and not port:
        raise ValueError(f"{text!r} is not an address: expected host:port, like 10.0.0.7:17890")
    return Endpoint(_host(host, text), _port(port, text) if port else default_port)


def manager_url(text: str) -> str:
    """Return the URL of a manager's JSON-RPC from a multiaddr, a URL (its path is dropped) or `host:port`.

    As the original's worker reads `rpc_client.addr`; `ws` means `http`, since calls go over HTTP.
    """
    text = text.strip()
    if text.startswith("/"):
        scheme, endpoint = _multiaddr(text)
    elif "://" in text:
        scheme, endpoint = _url(text)
    else:
        scheme, endpoint = "http", host_port(text, MANAGER_PORT)
    return _dialled(endpoint).url(MANAGER_PATH, scheme)


def worker_url(text: str) -> str:
    """Return the URL of a worker's control API from `host:port`, a host alone, or a URL."""
    scheme, endpoint = _url(text) if "://" in text else ("http", host_port(text, WORKER_PORT))
    return _dialled(endpoint).url("/", scheme)


def node_url(text: str) -> str:
    """Return the URL of a chain node's JSON-RPC from a multiaddr, a URL or `host:port`.

    The path of a URL is kept if there is one, since nodes stand behind proxies; `/rpc/v0` is another API.
    """
    text = text.strip()
    path = urllib.parse.urlsplit(text).path.rstrip("/") if "://" in text else ""
    if path.endswith("/rpc/v0"):
        raise ValueError(f"{text!r} is the old API of a node: write {NODE_PATH} instead of /rpc/v0")
    if text.startswith("/"):
        scheme, endpoint = _multiaddr(text)
    elif "://" in text:
        scheme, endpoint = _url(text)
    else:
        scheme, endpoint = "http", host_port(text, NODE_PORT)
    return _dialled(endpoint).url(path or NODE_PATH, scheme)


def _dialled(endpoint: Endpoint) -> Endpoint:
    """Turn an address to listen on into one to connect to: all interfaces means this machine."""
    return Endpoint("127.0.0.1", endpoint.port) if endpoint.host in {"", "0.0.0.0", "::"} else endpoint  # noqa: S104


def _multiaddr(text: str) -> tuple[str, Endpoint]:
    parts = text.removesuffix("/").split("/")[1:]
    host, port, scheme = "", 0, "http"
    while parts:
        name = parts.pop(0)
        if name in {"http", "https"}:
            scheme = name
            continue
        if not parts or name not in {*_HOST_PROTOCOLS, "tcp"}:
            raise ValueError(f"{text!r} is not the multiaddr of a manager at {name!r}: {_FORMS}")
        value = parts.pop(0)
        if name == "tcp":
            port = _port(value, text)
        else:
            family = _HOST_PROTOCOLS[name]
            if not value or (family is not None and not _is_ip(value, family)):
                raise ValueError(f"{text!r}: {value!r} does not fit {name}; {_FORMS}")
            host = _host(value, text)
    if not host or not port:
        raise ValueError(f"{text!r} has no {'port' if host else 'host'}: {_FORMS}")
    return scheme, Endpoint(host, port)


def _url(text: str) -> tuple[str, Endpoint]:
    try:
        url = urllib.parse.urlsplit(text.strip())
        port = url.port
    except ValueError as exc:
        raise ValueError(f"{text!r} is not a URL ({exc}): {_FORMS}") from exc
    scheme = _SCHEMES.get(url.scheme)
    if scheme is None or not url.hostname:
        raise ValueError(f"{text!r} is not the URL of a daemon: {_FORMS}")
    return scheme, Endpoint(_host(url.hostname, text), port or (443 if scheme == "https" else 80))


def _host(text: str, whole: str) -> str:
    try:
        return host_name(text) if text else text
    except ValueError as error:
        raise ValueError(f"{whole!r}: {error}; {_FORMS}") from error


def _port(text: str, whole: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) < 1 << 16):
        raise ValueError(f"{whole!r}: {text!r} is not a port, a number from 0 to 65535")
    return int(text)


def _is_ip(text: str, family: socket.AddressFamily) -> bool:
    try:
        socket.inet_pton(family, text)
    except (OSError, ValueError):
        return False
    return True


def ip_of(peer: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address of a peer without its port; IPv4 also where a socket for both families shows it as IPv6."""
    try:
        ip = ipaddress.ip_address(host_port(peer, 0).host)
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip
