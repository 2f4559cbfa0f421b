"""TLS contexts for servers and clients.

What a client trusts is an `ssl.SSLContext`, the path of a PEM file with authorities, or None (those of the system).
"""

import os
import ssl
from typing import TypeAlias

Trust: TypeAlias = ssl.SSLContext | str | os.PathLike[str] | None


def server_context(certificate: str | os.PathLike[str], key: str | os.PathLike[str]) -> ssl.SSLContext:
    """Return the context of a server from PEM files: its certificate (and chain), and the key.

    Raises:
        OSError: A file cannot be read, or (`ssl.SSLError`) the two do not belong together.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


def client_context(trust: Trust) -> ssl.SSLContext:
    """Return the context of a client.

    Raises:
        OSError: The file cannot be read, or (`ssl.SSLError`) holds no certificate.
    """
    if isinstance(trust, ssl.SSLContext):
        return trust
    return ssl.create_default_context(cafile=trust)
