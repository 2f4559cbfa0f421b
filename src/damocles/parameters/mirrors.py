"""Where published parameter files can be fetched: IPFS gateways, or folders on a web server."""

import os
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from damocles.parameters import catalog
from damocles.rpc.admission import access
from damocles.text import urls

VARIABLE = "DAMOCLES_PARAMETER_MIRRORS"
GATEWAY_VARIABLE = "IPFS_GATEWAY"  # what the field's own tools read


class NoMirror(Exception):
    """No mirror is configured."""

    def __init__(self) -> None:
        super().__init__(
            "no mirror given, and none is built in: pass --mirror URL (a web folder with the files, or an IPFS gateway "
            f"that ends in /ipfs), or set {VARIABLE} or parameters.mirrors in the configuration; for a test network, "
            "`params generate` makes a set on this machine"
        )


def chosen(
    given: Iterable[str], configured: Iterable[str] = (), environment: Mapping[str, str] = os.environ
) -> list[str]:
    """Return the mirrors to try, in order: those given, else those of the environment, else those configured.

    Raises:
        NoMirror: There are none.
        ValueError: One is not an HTTP address.
    """
    from_environment = environment.get(VARIABLE, "").replace(",", " ").split()
    if gateway := environment.get(GATEWAY_VARIABLE):
        from_environment.append(gateway)
    mirrors = list(dict.fromkeys([*given] or from_environment or [*configured]))
    if not mirrors:
        raise NoMirror
    for mirror in mirrors:
        if urlsplit(mirror).scheme not in {"http", "https"} or not urlsplit(mirror).hostname:
            raise ValueError(f"{urls.shown(mirror)} is not the address of a mirror: expected http:// or https://")
        if urlsplit(mirror).username is not None and access.in_the_clear(mirror):
            raise ValueError(f"{urls.shown(mirror)} would get name and password unencrypted: use https://")
    return mirrors


def url_of(mirror: str, file: catalog.File) -> str:
    """Return the address of a file: `{cid}` and `{name}` are filled in; otherwise the CID is appended for a gateway."""
    if "{cid}" in mirror or "{name}" in mirror:
        return mirror.replace("{cid}", file.cid).replace("{name}", file.name)
    base = mirror.rstrip("/")
    return f"{base}/{file.cid if base.endswith('/ipfs') else file.name}"
