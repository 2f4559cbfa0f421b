"""URLs: what of one may be shown, and which server it leads to."""

import re
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(:\d*)?")


def shown(url: str) -> str:
    """Return a URL without what must not get into logs: name and password, query and fragment. Takes any text."""
    before, mark, rest = re.split(r"[?#]", url, maxsplit=1)[0].partition("://")
    if not mark:
        before, rest = "", before
    authority, slash, path = rest.partition("/")
    host = authority.rpartition("@")[2]
    if mark and not _HOST.fullmatch(host):
        host = "…"  # a password with one of `/?#` in it looks like this
    return f"{before}{mark}{host}{slash}{path}"


def origin(url: str) -> str:
    """Return scheme, host and port in one spelling: URLs lead to one server if theirs are equal.

    A credential belongs to one of these, and is sent nowhere else.

    Raises:
        ValueError: It is no URL of http or https with a host.
    """
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"{shown(url)!r} is not the URL of a server: expected http:// or https:// with a host")
    host = parts.hostname if ":" in parts.hostname else parts.hostname.encode("idna").decode()
    name = f"[{host}]" if ":" in host else host
    default = parts.port is None or parts.port == _DEFAULT_PORTS[parts.scheme]
    return f"{parts.scheme}://{name}" if default else f"{parts.scheme}://{name}:{parts.port}"
