"""What a command shows to a daemon, and what it trusts: found by itself on the daemon's own machine, else as given."""

import os
import socket
import urllib.parse
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from damocles.cli import common
from damocles.rpc import sync, tls, tokens

TokenFile = Annotated[
    Path | None,
    Parameter(name="--token-file", help="A file with a token; usually the daemon's own is found.", show_default=False),
]
CaFile = Annotated[
    Path | None,
    Parameter(
        name="--ca-file",
        env_var="DAMOCLES_CA_FILE",
        help="PEM file with the authority of the daemon's certificate.",
        show_default=False,
    ),
]


def token(url: str, *, given: Path | None, variable: str, home: Path) -> str | None:
    """Return the token for the daemon at `url`: from the given file, the variable, or the daemon's home.

    That of a home goes to this machine only: whoever answers at another address must not get it.

    Raises:
        common.Failed: A file cannot be read; it or the variable holds no token.
    """
    own = home.expanduser() / tokens.FILE_NAME
    file = given or own
    try:
        if given is None and (text := os.environ.get(variable, "").strip()):
            return tokens.checked(text, variable)
        if given is None and not (own.exists() and _is_here(url)):
            return None
        return tokens.read_file(file.expanduser())
    except OSError as error:
        raise common.Failed(f"the token file {file} cannot be read: {error.strerror}; see --token-file") from error
    except ValueError as error:
        raise common.Failed(str(error)) from error


def connect(
    url: str, *, token: str | None, ca_file: Path | None, timeout_seconds: float
) -> AbstractContextManager[sync.Client]:
    """Return a client, to be entered.

    Raises:
        common.Failed: The file with the authority cannot be used.
    """
    try:
        trust = tls.client_context(ca_file.expanduser()) if ca_file is not None else None
    except tls.Unusable as error:
        raise common.Failed(str(error)) from error
    return sync.connect(url, token=token, trust=trust, timeout_seconds=timeout_seconds)


def _is_here(url: str) -> bool:
    """Return whether the host of a URL is this machine: one can bind to its own addresses only."""
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        family, kind, _, _, where = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(where)
    except OSError:
        return False
    return True
