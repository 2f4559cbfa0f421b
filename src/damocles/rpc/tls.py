"""TLS contexts for servers and clients.

What a client trusts is an `ssl.SSLContext`, the path of a PEM file with authorities, or None (those of the system).
"""

import functools
import os
import ssl
from pathlib import Path
from typing import NamedTuple, TypeAlias

from damocles.rpc import errors

UNTRUSTED = "the server's certificate is not trusted"

Trust: TypeAlias = ssl.SSLContext | str | os.PathLike[str] | None


class Unusable(OSError):
    """A certificate, key or authority cannot be used; the message names the files."""


class Files(NamedTuple):
    """What `server_context` takes."""

    certificate: str | os.PathLike[str]
    key: str | os.PathLike[str]


def server_context(certificate: str | os.PathLike[str], key: str | os.PathLike[str]) -> ssl.SSLContext:
    """Return the context of a server from PEM files: its certificate (and chain), and the key.

    Raises:
        Unusable: A file cannot be read, or the two do not belong together.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise Unusable(
            f"the certificate {certificate} with the key {key} cannot be used: {errors.reason_of(error)}"
        ) from error
    return context


def ends_at(certificate: str | os.PathLike[str]) -> float | None:
    """Return the unix time at which the certificate in a PEM file ends, of a chain the one that ends first; `None` if it cannot be read."""
    from cryptography import x509  # noqa: PLC0415 (what only metrics need)

    try:
        found = x509.load_pem_x509_certificates(Path(certificate).read_bytes())
    except (OSError, ValueError):
        return None
    return min(one.not_valid_after_utc.timestamp() for one in found)


def has_authority(certificate: str | os.PathLike[str]) -> bool:
    """Return whether the PEM file of a server's certificate also holds the authority that signed it: a private one's.

    Raises:
        Unusable: The file cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(certificate)
    except OSError as error:
        raise Unusable(f"the certificate {certificate} cannot be used: {errors.reason_of(error)}") from error
    return any(one.get("subject") == one.get("issuer") for one in context.get_ca_certs())


def context_of(authority: str) -> ssl.SSLContext:
    """Return the context of a client that trusts the authorities in a PEM text.

    Raises:
        Unusable: It holds none.
    """
    try:
        return ssl.create_default_context(cadata=authority)
    except (OSError, ValueError) as error:
        raise Unusable(
            f"the authority cannot be used: {errors.reason_of(error) if isinstance(error, OSError) else error}"
        ) from error


def renew(context: ssl.SSLContext, files: Files) -> None:
    """Let new connections of a server have the certificate that its files hold now.

    Raises:
        Unusable: As `server_context`; then the certificate from before is still there.
    """
    server_context(*files)
    context.load_cert_chain(*files)


def client_context(trust: Trust) -> ssl.SSLContext:
    """Return the context of a client.

    Raises:
        Unusable: The file cannot be read, or holds no certificate.
    """
    if isinstance(trust, ssl.SSLContext):
        return trust
    if trust is None:
        return _of_system()
    try:
        return ssl.create_default_context(cafile=trust)
    except OSError as error:
        raise Unusable(f"the authorities in {trust} cannot be used: {errors.reason_of(error)}") from error


@functools.cache
def _of_system() -> ssl.SSLContext:
    """Return one context for all: each takes 0.6 MB and 27 ms."""
    return ssl.create_default_context()


def untrusted(error: BaseException) -> str | None:
    """Return the text for an error caused by a certificate that a client does not trust; waiting does not help."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"{UNTRUSTED} ({cause.verify_message}); if it is the manager, set sector_manager.ca_file"
        cause = cause.__cause__ or cause.__context__
    return None
