"""A command's token, and the authority that it trusts: found by itself on the daemon's own machine, otherwise as given."""

import dataclasses
import os
import shlex
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from damocles.cli.terminal import exits
from damocles.rpc import tls
from damocles.rpc.admission import handshake, tokens
from damocles.rpc.calling import profiles, sync

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

TokenFile = Annotated[
    Path | None,
    Parameter(
        name="--token-file",
        help="A file with a token; default: the daemon's own, if readable here.",
        show_default=False,
    ),
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


Insecure = Annotated[
    bool,
    Parameter(
        name="--insecure",
        env_var="DAMOCLES_INSECURE",
        help="Send the token over http to another machine, or to any program that answers on this one.",
        show_default=False,
    ),
]


def token(url: str, *, given: Path | None, variable: str, home: Path, insecure: bool = False) -> str | None:
    """Return the token for the daemon at `url`: from the given file, the variable, or the daemon's home.

    That of a home goes to this machine only: a program at another address must not get it.

    Raises:
        common.Failed: A file cannot be read; it or the variable holds no token; or it would cross a network
            unencrypted without `insecure`.
    """
    own = home.expanduser() / tokens.FILE_NAME
    file = given or own
    text = "" if given is not None else os.environ.get(variable, "").strip()
    if given is None and not text and not (own.exists() and handshake.is_here(url)):
        return None
    _check_way(f"the token in {variable if text else file}", url, insecure=insecure)
    try:
        return tokens.checked(text, variable) if text else tokens.read_file(file.expanduser())
    except OSError as error:
        raise exits.Failed(f"the token file {file} cannot be read: {error.strerror}; see --token-file") from error
    except ValueError as error:
        raise exits.Failed(str(error)) from error


def bundle(file: Path | None) -> profiles.Bundle | None:
    """Return the bundle in a file, if one is named.

    Raises:
        exits.Failed: It cannot be used.
    """
    try:
        return None if file is None else profiles.read(file.expanduser())
    except profiles.Unusable as error:
        raise exits.Failed(str(error)) from error


def of_bundle(found: profiles.Bundle, *, insecure: bool = False) -> str:
    """Return the token of a bundle, for its own URL.

    Raises:
        exits.Failed: It would cross a network unencrypted without `insecure`.
    """
    _check_way("the token of the profile", found.url, insecure=insecure)
    return found.token


def _check_way(what: str, url: str, *, insecure: bool) -> None:
    if handshake.wanted(url, insecure=insecure) and not handshake.is_here(url):
        raise exits.Failed(f"{what} would cross the network to {url} unencrypted: use https://, or pass --insecure")


def trust_of(found: profiles.Bundle) -> tls.Trust:
    """Return what is trusted by a bundle's authority.

    Raises:
        exits.Failed: It cannot be used.
    """
    try:
        return None if found.authority is None else tls.context_of(found.authority)
    except tls.Unusable as error:
        raise exits.Failed(str(error)) from error


def connect(
    url: str, *, token: str | None, ca_file: tls.Trust, timeout_seconds: float, insecure: bool = False
) -> AbstractContextManager[sync.Client]:
    """Return a client, to be entered. Over http its token goes only to a daemon that knows it.

    `ca_file` is that of an authority, or a context that has one.

    Raises:
        common.Failed: The file with the authority cannot be used.
    """
    try:
        trust = tls.client_context(ca_file.expanduser() if isinstance(ca_file, Path) else ca_file)
    except tls.Unusable as error:
        raise exits.Failed(str(error)) from error
    must_know = handshake.wanted(url, insecure=insecure)
    return sync.connect(url, token=token, trust=trust, timeout_seconds=timeout_seconds, must_know=must_know)


def hint(client: sync.Client, home: Path) -> str:
    """Return why a refused call went without a token, as the end of a sentence; empty if it had one."""
    if client.kept_back:
        return f"; our token was not sent: {client.kept_back}"
    return "" if client.has_token else f"; no token was found in {home.expanduser() / tokens.FILE_NAME}"


def repeated(at: "DataclassInstance", usual: "DataclassInstance") -> list[str]:
    """Return the options by which a daemon was found, for a command that can be pasted.

    `at` is what was given, `usual` what it is without any option; a field is named like its option.
    """
    given = ((field.name, getattr(at, field.name), getattr(usual, field.name)) for field in dataclasses.fields(at))
    return [
        f"--{name.replace('_', '-')}{'' if value is True else f' {shlex.quote(str(value))}'}"
        for name, value, default in given
        if value != default
    ]
