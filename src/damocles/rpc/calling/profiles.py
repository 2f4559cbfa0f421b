"""How a daemon is reached, in files: what it leaves in its home for this machine, and what one carries elsewhere.

`api.json` in a daemon's home has its address, the authority of its certificate and the file of its configuration, and no secret. A *bundle* has a token
too: it is a JSON file that nobody but its owner may read.
"""

import os
import stat
from pathlib import Path
from typing import Literal

import msgspec

from damocles import durable
from damocles.rpc import tls
from damocles.rpc.admission import handshake, tokens

FILE_NAME = "api.json"
_CLOSED = 0o077  # bits that a bundle must not have
_MOST_BYTES = 1 << 20


class Unusable(Exception):
    """A bundle cannot be used; the message names it and the next step."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a daemon listens, and the file with the authority of its certificate, if it is a private one.

    `config` is its configuration, where that may be any file.
    """

    url: str
    ca_file: str | None = None
    config: str | None = None


class Bundle(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that it takes to call a manager: its URL, a token with its name and scope, and the authority as PEM.

    Of one for a worker, `worker` is the name that the token is for, and `addresses` are further managers of the same database.
    """

    format: Literal[1]
    url: str
    token: str
    name: str
    scope: str
    worker: str | None = None
    authority: str | None = None
    addresses: tuple[str, ...] = ()


def leave(
    home: Path, url: str, certificate: tls.Files | None, authority: Path | None, config: Path | None = None
) -> None:
    """Write down at which URL a daemon is, for commands on its machine; that they will not find it is worth a line in the log.

    A private authority is found beside the `certificate`, or is the `authority` of its peers.
    """
    try:
        if certificate is None:
            authority = None
        elif tls.has_authority(certificate.certificate):
            authority = Path(certificate.certificate)
        ca_file, file = (None if path is None else str(path.expanduser().absolute()) for path in (authority, config))
        place = Place(url=url, ca_file=ca_file, config=file)
        durable.replace(home / FILE_NAME, msgspec.json.encode(place), private=True)
    except OSError as error:
        import structlog  # noqa: PLC0415 - short commands, which read such files, do without

        log = structlog.get_logger(__name__)
        log.warning("commands on this machine will not find the address by themselves", error=str(error))


def found(home: Path) -> Place | None:
    """Return where the daemon of a home is, as it wrote when it started last; a place on another machine is none.

    A token is shown to what answers there only as to any other place on this machine (see `handshake`).
    """
    try:
        place = msgspec.json.decode((home / FILE_NAME).read_bytes(), type=Place)
        return place if handshake.is_here(place.url) else None
    except (OSError, msgspec.MsgspecError, ValueError):
        return None


def content(bundle: Bundle) -> bytes:
    """Return what is in a bundle's file, which nobody but its owner may read."""
    return msgspec.json.format(msgspec.json.encode(bundle)) + b"\n"


def read(file: Path) -> Bundle:
    """Read a bundle.

    Raises:
        Unusable: It cannot be read, is none, or others can read it, too.
    """
    try:
        with file.open("rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            if mode & _CLOSED:
                raise Unusable(
                    f"the bundle {file} has a token, and others can read it (mode {mode:04o}): chmod 600 {file}; if"
                    " somebody has, revoke the token and make another"
                )
            content = opened.read(_MOST_BYTES)
    except OSError as error:
        raise Unusable(f"the bundle {file} cannot be read: {error.strerror}") from error
    try:
        bundle = msgspec.json.decode(content, type=Bundle)
        tokens.checked(bundle.token, str(file))
    except (msgspec.MsgspecError, ValueError) as error:
        raise Unusable(f"{file} is no bundle: make one with damocles-manager auth create --bundle") from error
    return bundle
