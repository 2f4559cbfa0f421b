"""What a manager listens with, and whose certificates it takes from workers."""

import ssl
from functools import partial
from pathlib import Path

import structlog

from damocles.manager import errors
from damocles.manager.fleet import peers
from damocles.rpc import address, tls
from damocles.rpc.admission import access

log = structlog.get_logger(__name__)


def given(
    listen: address.Endpoint, certificate: tls.Files | None, ca_file: Path | None
) -> tuple[ssl.SSLContext | None, peers.Connect]:
    """Return the context to listen with, and how workers are connected to.

    Raises:
        errors.StartError: A certificate cannot be used.
    """
    if access.exposed(listen.host, tls=certificate is not None):
        log.warning("no TLS on a network: anybody who can intercept it can read tokens", listen=str(listen))
    try:
        context = tls.server_context(*certificate) if certificate else None
        trusted = tls.client_context(ca_file) if ca_file else None
    except tls.Unusable as error:
        raise errors.StartError(str(error)) from error
    return context, partial(peers.connect, trust=trusted)
