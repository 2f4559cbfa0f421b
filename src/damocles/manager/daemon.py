"""The manager's process: one tree of tasks around the server, the database and the chain.

    async with daemon.serve(settings, verifier) as bound:     # all of it, listening on `bound`
    await daemon.run(settings, verifier)                      # the same until SIGTERM or SIGINT

Nothing polls but the alerts, which look at the workers every half minute: an idle manager waits for requests, and for
heads of its chain.
"""

import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import structlog
from sqlalchemy import exc as sql_errors
from starlette.routing import BaseRoute

from damocles import methods, privacy
from damocles.manager import chains, errors, home, neighbours, office
from damocles.manager.alerts import board as alerts
from damocles.manager.alerts import config, notify
from damocles.manager.callers import names
from damocles.manager.chain import interface
from damocles.manager.db import engine, schema
from damocles.manager.fleet import acts
from damocles.manager.roster import Mapped
from damocles.manager.sectors import deals, piecestore, stores
from damocles.manager.serving import audit, auth, discovery, due, metrics, trust
from damocles.rpc import address, core, tls
from damocles.rpc import errors as rpc_errors
from damocles.rpc.admission import access, keyring
from damocles.rpc.admission import audit as rpc_audit
from damocles.rpc.calling import profiles
from damocles.rpc.serving import both, doorstep, places, reloading, server, site
from damocles.stores import identity, space
from damocles.wire import control

if TYPE_CHECKING:
    from damocles.manager.dashboard import site as dashboard

log = structlog.get_logger(__name__)

DATABASE_NAME = "manager.db"
PIECES_NAME = "pieces"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a manager is started with; no `stores` means that every name is one.

    To listen where other machines can reach it without a `certificate` is a `ValueError`, unless it is `insecure`.
    """

    home: Path
    listen: address.Endpoint
    chain: chains.Source
    stores: Mapping[str, Path] = field(default_factory=dict)
    file: Path | None = None  # that `chain` is from
    database: str | None = None  # the URL of one on PostgreSQL, instead of the file in the home
    deals: Path | None = None  # folder of deals and their pieces, see `deals`
    wdpost_every_seconds: float | None = None
    admit: Sequence[access.Admitted] = ()
    known_as: Sequence[str] = ()  # names by which programs that are let in by address call this machine
    certificate: tls.Files | None = None
    ca_file: Path | None = None  # of the authorities that workers' certificates come from
    insecure: bool = False
    open_metrics: bool = False
    dashboard: bool = False
    alerts: config.Config = field(default_factory=config.Config)
    read_alerts: Callable[[], config.Config] | None = None  # once more, at SIGHUP

    def __post_init__(self) -> None:
        if access.exposed(self.listen.host, tls=self.certificate is not None) and not self.insecure:
            raise ValueError(
                f"{self.listen} can be reached from other machines, and tokens would go there unencrypted: listen on"
                f" 127.0.0.1:{self.listen.port}, or say --insecure, or give a certificate with --tls-cert and --tls-key"
            )


@contextlib.asynccontextmanager
async def serve(
    settings: Settings,
    verifier: interface.Verifier,
    clock: Callable[[], float] = time.time,
    *,
    reloads: reloading.Reloads | None = None,
) -> AsyncIterator[address.Endpoint]:
    """Run a manager while the block runs; yield the address it listens on. `reloads` gets what can be read again.

    Raises:
        errors.StartError: The home or the address cannot be used; the message says why.
    """
    with home.claimed(settings.home):
        for path in (settings.home, *_secrets(settings)):
            if privacy.is_open(path):
                log.warning("secrets are readable by others", path=str(path), problem=privacy.advice(path))
        if (few := places.too_few(0)) is not None:
            log.warning("too few open files", problem=few)
        async with contextlib.AsyncExitStack() as stack:
            yield await _open(stack, settings, verifier, clock, reloads or reloading.Reloads())


def _secrets(settings: Settings) -> list[Path]:
    """Return the files that hold what lets somebody in, here or elsewhere."""
    keys = [Path(settings.certificate.key)] if settings.certificate else []
    return keys + ([settings.alerts.file] if settings.alerts.file and settings.alerts.has_secrets else [])


async def _open(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    verifier: interface.Verifier,
    clock: Callable[[], float],
    reloads: reloading.Reloads,
) -> address.Endpoint:
    try:
        database = await stack.enter_async_context(engine.open_at(settings.database or settings.home / DATABASE_NAME))
        near = await stack.enter_async_context(neighbours.opened(database, settings.home, str(settings.listen)))
        context, connect = trust.given(settings.listen, settings.certificate, settings.ca_file)
        ring = await auth.open_keyring(settings.home, database, clock)
        registered = acts.open_fleet(
            database, clock, connect=connect, expiration_seconds=settings.alerts.lost_after_seconds
        )
        workers = await stack.enter_async_context(registered)
        room = space.Space(settings.stores, memory=identity.Memory(settings.home))
        tally = metrics.Tally()
        guard = auth.guard(ring, admit=settings.admit, open_metrics=settings.open_metrics, dashboard=settings.dashboard)
        ledger = audit.Ledger(database)
        auditor = rpc_audit.Audit(ledger, observers=audit.observers(database, ring), clock=clock)
        beginning = chains.Beginning(home=settings.home, database=database, verifier=verifier, clock=clock)
        chain = await stack.enter_async_context(settings.chain.open(beginning))
        sector_bytes = max(int(miner.proof.size) for miner in chain.miners)
        means = await _means(settings, database, verifier, clock, chain=chain, ring=ring, workers=workers)
        made = await stack.enter_async_context(office.open_office(means, auditor=auditor, guard=guard, meter=tally))
        near.follow(ring.load, made.posts.changed.beat)
        service = made.service
        workers.register(service)
        near.register(service)
        both.register(service, ring)
        ledger.register(service)
        opening = alerts.open_alerts(
            name=str(settings.listen),
            home=settings.home,
            database=database,
            workers=workers,
            stores=room,
            posts=made.posts.outlines,
            deadlines=made.proving.days.troubles if made.proving is not None else None,
            chain=lambda: {**chain.troubles(), **made.troubles()},
            blocks=made.mining.lost if made.mining is not None else None,
            sector_bytes=sector_bytes,
            config=settings.alerts,
            near=near,
            clock=clock,
        )
        watching = await stack.enter_async_context(opening)
        watching.register(service)

        async def reload(request: control.ReloadRequest) -> control.Reloaded:
            if chain.reload is None:
                raise errors.ManagerError("the manager was not started from a file: there is nothing to read again")
            return await chain.reload.run(request)

        service.add(methods.util.reload_config, reload)
        if chain.reload is not None:
            request = [control.ReloadRequest()]
            reloads.add("the configuration", partial(service.own, methods.util.reload_config.name, request, "SIGHUP"))
        if context is not None and settings.certificate is not None:
            reloads.add("the certificate", partial(tls.renew, context, settings.certificate))
        if (read := settings.read_alerts) is not None:
            reloads.add("the alerts' file", lambda: watching.change(read()))
        scraped = metrics.Source(
            tally=tally,
            database=database,
            workers=workers,
            stores=room,
            alerts=watching,
            outlook=due.Source(
                database=database,
                market=means.market,
                jobs=lambda: watching.seen.posts,
                days=made.proving.days if made.proving is not None else None,
                certificate=settings.certificate,
            ),
            sizes_bytes=lambda: {str(miner.id): int(miner.proof.size) for miner in chain.miners},
            clock=clock,
        )
        folder = settings.deals or settings.home / PIECES_NAME
        taking = piecestore.opened(folder, made.unsealing.may_bring, most_bytes=sector_bytes)
        payloads = await stack.enter_async_context(taking)
        tally.gauges.watch(workers.levels, workers.met)
        tally.gauges.watch(payloads.intake.levels, payloads.intake.met)
        routes: list[BaseRoute] = [scraped.route(), discovery.route(workers), *payloads.routes()]
        pages = await _pages(
            stack,
            settings,
            service=service,
            workers=workers,
            ring=ring,
            database=database,
            ledger=ledger,
            watching=watching,
            chain=chain,
            clock=clock,
        )
        door = doorstep.door(ring.digest_of, guard, settings.known_as, pages=pages.browsed if pages else None)
        app = site.manager_app(service, routes=[*routes, *(pages.routes if pages is not None else ())])
        app = app if pages is None else pages.around(app)
        serving = server.serve(doorstep.watched(app, door), *settings.listen, tls=context, gauges=tally.gauges)
        bound = await stack.enter_async_context(serving)
        url = address.manager_url(bound.url(scheme="http" if settings.certificate is None else "https"))
        leave = partial(profiles.leave, config=settings.file)
        await anyio.to_thread.run_sync(leave, settings.home, url, settings.certificate, settings.ca_file)
        if pages is not None:
            stack.callback(pages.end)  # before the server ends, which waits for all that streams
    except rpc_errors.ListenError as error:
        raise errors.StartError(str(error)) from error
    except notify.SinkError as error:
        raise errors.StartError(f"alerts: {error}") from error
    except schema.SchemaError as error:
        raise errors.StartError(f"{_where(settings)}: {error}") from error
    except rpc_errors.DiskFails as error:  # whose own words are for a manager that runs, and goes on by itself
        raise errors.StartError(
            f"{error.where} cannot be used: {' '.join(error.reason.split())}; put that right, and start the manager again"
        ) from error
    except sql_errors.DBAPIError as error:
        raise errors.StartError(
            f"{_where(settings)} cannot be used: {error.orig}; restore it, or choose another"
            f" {'--database' if settings.database else '--home'}"
        ) from error
    return bound


def _where(settings: Settings) -> str:
    return str(settings.home / DATABASE_NAME) if settings.database is None else engine.shown(settings.database)


async def _pages(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    *,
    service: core.Service,
    workers: acts.Fleet,
    ring: keyring.Keyring,
    database: engine.Database,
    ledger: audit.Ledger,
    watching: alerts.Alerts,
    chain: chains.Chain,
    clock: Callable[[], float],
) -> "dashboard.Dashboard | None":
    """Open the dashboard, if there is to be one; what makes pages is imported by those alone who want them."""
    if not settings.dashboard:
        return None
    from damocles.manager.dashboard import details  # noqa: PLC0415
    from damocles.manager.dashboard import site as opened  # noqa: PLC0415

    sources = details.Sources(
        database=database,
        ledger=ledger,
        alerts=watching,
        proved=Mapped(chain.proving.miners, lambda miner: miner.id) if chain.proving is not None else (),
    )
    opening = opened.open_dashboard(service=service, workers=workers, ring=ring, sources=sources, clock=clock)
    return await stack.enter_async_context(opening)


async def run(settings: Settings, verifier: interface.Verifier) -> None:
    """Run a manager until SIGTERM or SIGINT; calls under way are still answered. At SIGHUP files are read again.

    Raises:
        errors.StartError: As `serve`.
    """
    reloads = reloading.Reloads()
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with serve(settings, verifier, reloads=reloads), anyio.create_task_group() as reading:
            async for number in signals:
                if number == signal.SIGHUP:
                    reading.start_soon(reloads.run)
                    continue
                log.info("stopping", signal=signal.Signals(number).name)
                break
            reading.cancel_scope.cancel("the manager ends")
    log.info("stopped")


async def _means(
    settings: Settings,
    database: engine.Database,
    verifier: interface.Verifier,
    clock: Callable[[], float],
    *,
    chain: chains.Chain,
    ring: keyring.Keyring,
    workers: acts.Fleet,
) -> office.Means:
    persist = stores.Stores(settings.stores, identity.Memory(settings.home))
    with anyio.move_on_after(space.PATIENCE_SECONDS):
        await anyio.to_thread.run_sync(persist.look, abandon_on_cancel=True)
    market = deals.Deals(settings.deals, max(int(miner.proof.size) for miner in chain.miners))
    with contextlib.suppress(errors.ManagerError):  # told to whoever asks for deals
        await market.offers()
    return office.Means(
        miners=chain.miners,
        database=database,
        chain=chain.chain,
        beside=chain.loops,
        unfit=chain.unfit,
        configs=chain.configs,
        upkeep=chain.upkeep,
        proving=chain.proving,
        verifier=verifier,
        persist=persist,
        market=market,
        watch=workers.watch,
        naming=names.Names(ring.has_own),
        clock=clock,
        wdpost_every_seconds=settings.wdpost_every_seconds,
    )
