"""Where a node is, and the file with the token for it.

    place = Place.of("/ip4/10.0.0.1/tcp/1234/http", token_file=Path("~/.lotus/token"))

A token that is exchanged there is read when the node does not accept the old one any more.
"""

import ipaddress
import os
import re
import stat
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from damocles.rpc import address, tls

# What `lotus auth create-token` prints: three parts of a JSON Web Token.
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_LIMIT_BYTES = 4096
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class BadTokenFile(ValueError):
    """The file of a token cannot be used; the message names the next step, and never shows the content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A node: URL of its API v1, file of the token (`None`: read-only, without), and whom to trust with TLS."""

    url: str
    token_file: Path | None = None
    trust: tls.Trust = None

    @classmethod
    def of(cls, where: str, *, token_file: Path | None = None, trust: tls.Trust = None) -> Self:
        """Read a multiaddr, a URL or `host:port`.

        Raises:
            ValueError: It is none.
        """
        # What Lotus prints for FULLNODE_API_INFO has the token in front.
        if ":/" in where and _TOKEN.fullmatch(where.partition(":")[0]):
            raise ValueError("the address of a node has no token in it: put that into a file (mode 0600) of its own")
        return cls(url=address.node_url(where), token_file=token_file.expanduser() if token_file else None, trust=trust)

    @property
    def sends_token_openly(self) -> bool:
        """Whether those between us and the node can read the token: it leaves this machine without TLS."""
        url = urllib.parse.urlsplit(self.url)
        return self.token_file is not None and url.scheme == "http" and not _is_here(url.hostname or "")

    def token(self) -> str | None:
        """Return the token that is in the file now.

        Raises:
            BadTokenFile: It cannot be read, others may read it, or there is no token in it.
        """
        return None if self.token_file is None else _read(self.token_file)


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(_LIMIT_BYTES)
    except OSError as exc:
        raise BadTokenFile(f"{path} with the token of the node cannot be read: {exc.strerror}") from exc
    if status.st_mode & _OTHERS:
        raise BadTokenFile(
            f"{path} with the token of the node may be read by others (mode {stat.S_IMODE(status.st_mode):04o}):"
            f" chmod 600 {path}"
        )
    text = content.decode("ascii", errors="replace").strip()
    if not _TOKEN.fullmatch(text):
        raise BadTokenFile(f"{path} holds no token: expected one line, as `lotus auth create-token` prints it")
    return text
