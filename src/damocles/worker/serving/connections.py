"""The two ways by which a worker is connected: it calls its manager, and serves its control API."""

import ipaddress
import socket
import urllib.parse
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

import anyio.to_thread
import msgspec
import structlog

from damocles import beside
from damocles.methods import rules
from damocles.rpc import address, core, dialects, limits, tls
from damocles.rpc.admission import access as rpc_access
from damocles.rpc.admission import audit as rpc_audit
from damocles.rpc.admission import handshake, keyring
from damocles.rpc.calling import client, profiles
from damocles.rpc.serving import asgi, both, doorstep, reloading, server
from damocles.stores import outlets, pieces
from damocles.text import urls
from damocles.worker import managers as worker_managers
from damocles.worker.config import load
from damocles.worker.serving import access, audit, control, drain, environment

log = structlog.get_logger(__name__)

CALL_TIMEOUT_SECONDS = 60.0


@asynccontextmanager
async def managers(settings: load.Config, ring: keyring.Keyring) -> AsyncIterator[worker_managers.Managers]:
    """Yield the managers to call: each is shown our token for it, and handed one to call us back with.

    Raises:
        access.Unusable: The file with authorities, or the one with the worker's database, cannot be used, or the token would
            go through a network in the clear.
    """
    ca_file, home = settings.sector_manager.ca_file, settings.worker.home.expanduser()
    urls_of_managers = settings.sector_manager.urls
    try:
        trust = tls.client_context(ca_file.expanduser()) if ca_file is not None else None
        memory = worker_managers.Memory(home / worker_managers.MEMORY_NAME) if len(urls_of_managers) > 1 else None
    except tls.Unusable as error:
        raise access.Unusable(str(error)) from error
    except OSError as error:
        raise access.Unusable(f"{error.filename} cannot be read: {error.strerror}; see worker.home") from error
    handed = ring.lend(access.MANAGER_NAME, rules.Scope.OPERATE)
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(_manager(settings, url, handed, trust)) for url in urls_of_managers]
        yield worker_managers.Managers(peers, memory)


def _manager(
    settings: load.Config, url: str, handed: str, trust: tls.Trust
) -> AbstractAsyncContextManager[client.Client]:
    rpc_client = settings.sector_manager.rpc_client
    token = _token(settings, url)
    must_know = handshake.wanted(url, insecure=settings.worker.rpc_server.insecure)
    if token() is None:
        log.warning(
            "no token for the manager: the original needs none, ours refuses calls without one", looked_in=str(token)
        )
        if must_know and rpc_client.headers:
            log.warning(
                "sector_manager.rpc_client.headers are not sent, since the server cannot be identified; use https:// or set insecure = true"
            )
    elif not url.startswith("https:") and not handshake.is_here(url):
        if must_know:
            raise access.Unusable(
                f"tokens would go to the manager at {url} through a network unencrypted: use https:// and"
                " set sector_manager.ca_file, or set insecure = true on the first line of the file"
            )
        log.warning("tokens go to the manager through a network without TLS", manager=url)
    return client.connect(
        url,
        headers={**rpc_client.headers, core.HANDED: handed},
        token=token,
        timeout_seconds=CALL_TIMEOUT_SECONDS,
        trust=trust,
        must_know=must_know,
    )


def _token(settings: load.Config, url: str) -> access.ManagerToken:
    host = urllib.parse.urlsplit(url).hostname or ""
    return access.manager_token(settings.sector_manager, on_loopback=rpc_access.is_loopback(host))


def piece_stores(settings: load.Config, in_use: Callable[[], str] | None = None) -> pieces.PieceStores:
    """Return where the payloads of deals are looked for: this machine's folders, then the manager that is `in_use`."""

    def at(url: str) -> pieces.PieceStores:
        return pieces.PieceStores(
            folders=settings.worker.pieces_dirs,
            origin=urls.origin(url),
            token=_token(settings, url),
            # Absolute, for processes that may have another working folder.
            authority=settings.sector_manager.ca_file and settings.sector_manager.ca_file.expanduser().absolute(),
            must_know=handshake.wanted(url, insecure=settings.worker.rpc_server.insecure),
            market_tokens=settings.sector_manager.market_tokens,
        )

    first = at(settings.sector_manager.rpc_client.url)
    return first if in_use is None else replace(first, at=lambda: at(in_use()))


def outlets_of(settings: load.Config, spared: Collection[Path]) -> outlets.Outlets:
    """Return where pieces may be put: not among what is `spared`, the worker's own files and its sealing stores."""
    return outlets.Outlets(folders=settings.worker.unseal_dirs, spared=spared)


class Served(Protocol):
    """Methods of a subject."""

    def register(self, service: core.Service) -> None:
        """Serve them."""


@asynccontextmanager
async def served(
    settings: load.Config,
    ours: control.Control,
    draining: drain.Drain,
    *,
    others: Sequence[Served],
    ring: keyring.Keyring,
    guard: rpc_access.Guard,
    reloads: reloading.Reloads,
    gauges: limits.Gauges | None = None,
) -> AsyncIterator[address.Endpoint]:
    """Serve the control API while the block runs; yield where. `reloads` gets its certificate.

    Raises:
        access.Unusable: The certificate cannot be used.
    """
    home, listen = settings.worker.home.expanduser(), settings.worker.rpc_server
    auditor = rpc_audit.Audit(audit.Ledger(home), observers=audit.observers(ours, draining, ring))
    service = core.Service(dialects.WORKER, guard=guard, layers=[auditor])
    ours.register(service)
    for one in others:
        one.register(service)
    environment.Environment(settings.worker.allow_env).register(service)
    both.register(service, ring)
    if rpc_access.exposed(listen.host, tls=listen.certificate is not None):
        log.warning(
            "no TLS on a network: anybody who can intercept it can read tokens", host=listen.host, port=listen.port
        )
    try:
        context = tls.server_context(*listen.certificate) if listen.certificate else None
        if context is not None and listen.certificate is not None:
            reloads.add("the certificate", partial(tls.renew, context, listen.certificate))
    except tls.Unusable as error:
        raise access.Unusable(str(error)) from error
    app = doorstep.watched(asgi.worker_app(service), doorstep.door(ring.digest_of, guard, listen.known_as))
    serving = server.serve(app, listen.host, listen.port, tls=context, gauges=gauges)
    async with beside.running(auditor.run), serving as bound:
        url = address.worker_url(bound.url(scheme="http" if listen.certificate is None else "https"))
        await anyio.to_thread.run_sync(profiles.leave, home, url, listen.certificate, settings.sector_manager.ca_file)
        yield bound


def dest(settings: load.Config, ip: str, port: int) -> str:
    """Return where the manager is to call this worker; the original's knows no other form than HOST:PORT.

    `ip` is the address from which this machine reaches the manager.
    """
    listen = settings.worker.rpc_server
    host = called_at(listen.host, ip)
    endpoint = address.Endpoint(ip if host is None else host, port)
    if host is None:
        log.warning(
            "the manager cannot reach this worker: worker.rpc_server.host listens elsewhere; set it to that address,"
            ' to "::" or to "0.0.0.0"',
            listen=listen.host,
            dest=str(endpoint),
        )
    return f"https://{endpoint}" if listen.certificate else str(endpoint)


def scraped_at(settings: load.Config, ip: str, port: int) -> int | msgspec.UnsetType:
    """Return the port of the metrics, if they are served at the address that the manager calls: it names no other one."""
    called = called_at(settings.worker.rpc_server.host, ip) or ip
    return port if called_at(settings.metrics.endpoint.host, ip) == called else msgspec.UNSET


def called_at(listen: str, ip: str) -> str | None:
    """Return the address at which a server on `listen` can be called from where `ip` is this machine's, if there is one."""
    listened, known = ipaddress.ip_address(listen), ipaddress.ip_address(ip)
    if not listened.is_unspecified:
        return None if listened.is_loopback and not known.is_loopback else listen
    takes_both = listened.version == 6 and socket.has_dualstack_ipv6()
    if takes_both or listened.version == known.version:
        return ip
    if known.is_loopback:
        return "::1" if listened.version == 6 else "127.0.0.1"
    return None
