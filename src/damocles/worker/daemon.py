"""The daemon: one task group that holds the control API, the sealing threads and the ping.

Ending it: the first SIGTERM or SIGINT stops every thread at its next boundary and gives running stages a grace period;
what is not done by then, or at the second signal, is killed and done again after the next start. Either way exit code 0.
SIGHUP ends nothing: certificates are read again.
"""

import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.abc
import anyio.to_thread
import msgspec
import structlog

from damocles import beside, logs, methods, privacy
from damocles.parameters import catalog, preflight
from damocles.rpc import errors
from damocles.rpc.admission import access as rpc_access
from damocles.rpc.serving import asgi, doorstep, places, reloading, server
from damocles.sealing import failures
from damocles.stages import errors as stage_errors
from damocles.stages.supervision import executor
from damocles.stores import holding, identity, space
from damocles.stores.persist import PersistStore
from damocles.wire import control as wire_control
from damocles.worker import processors, upstream
from damocles.worker.config import environment, load
from damocles.worker.plans import trees
from damocles.worker.serving import (
    access,
    capacity,
    connections,
    control,
    drain,
    logbook,
    ping,
    roster,
    signals,
    stores,
)
from damocles.worker.thread import fitness, loop, pauses, remedies, reservations, surroundings

if TYPE_CHECKING:
    from damocles.worker.serving import metrics

log = structlog.get_logger(__name__)

RETRY_SECONDS = 3.0
LOCK_NAME = "worker.lock"
DESCRIPTORS_OF_A_THREAD = 24  # its store's journal and logs, its child's pipes, the files of a stage


class StartError(Exception):
    """The worker cannot start; the message names what to change."""


CANNOT_START = (StartError, errors.ListenError, access.Unusable, stage_errors.ChildNotReady)


async def run(loaded: load.Loaded) -> int:
    """Run the worker until a signal stops it, perhaps before it has started; return the exit code.

    Raises:
        StartError: The manager does not know an attached store, no thread can run, or the home is another worker's.
        access.Unusable: A token or certificate cannot be used.
        rpc.errors.ListenError: The control API's address is in use.
        stages.errors.ChildNotReady: A configured processor does not come up.
    """
    with anyio.open_signal_receiver(*signals.HEARD) as received:
        await _run(loaded, received)
    log.info("worker stopped")
    return 0


async def _run(loaded: load.Loaded, received: AsyncIterator[signal.Signals]) -> None:
    settings = loaded.config
    for problem in loaded.warnings:
        log.warning(str(problem))
    if not loaded.persist_stores:
        raise StartError(f"no attached store available: add an [[attached]] table with a location to {loaded.file}")
    if problems := environment.of_worker():
        # Refused now, or each stage of each sector would panic.
        raise StartError("; ".join(problems))
    if (few := places.too_few(len(settings.sealing_thread) * DESCRIPTORS_OF_A_THREAD)) is not None:
        log.warning("too few open files", problem=few)
    reloads = reloading.Reloads()
    async with AsyncExitStack() as stack:
        stack.enter_context(_claimed(settings.worker.home.expanduser()))
        book = await anyio.to_thread.run_sync(roster.Book, settings.worker.home.expanduser())
        loaded = book.applied(loaded)
        settings = loaded.config
        ring = await access.open_keyring(settings.worker.home.expanduser())
        caller = await stack.enter_async_context(connections.managers(settings, ring))
        tally = _tally(settings)
        manager = upstream.Manager(caller, tally.call if tally else None)
        uncounted = upstream.Manager(caller)  # pings and the calls of the start are in no metrics, as in v0.13
        logs_of_stages = logbook.Logbook()
        admitted_by = processors.admission(settings, await anyio.to_thread.run_sync(processors.look, settings))
        for line in processors.unfit(admitted_by, load.sizes(loaded.config)):
            log.warning(line)
        stages = await stack.enter_async_context(processors.stages(settings, logs_of_stages, admitted_by))
        ip = _local_ip(settings.sector_manager.urls)
        gate = surroundings.Gate(unready="the manager (StoreBasicInfo)")
        observe = tally.stage if tally else None
        staff = _roster(
            loaded, book, manager, stages, logs_of_stages, gate=gate, observe=observe, ip=ip, at=lambda: caller.url
        )
        all_threads = staff.threads
        draining = drain.Drain(settings.worker.home.expanduser(), gate, all_threads)
        earlier = await anyio.to_thread.run_sync(pauses.Earlier, settings.worker.home.expanduser())
        earlier.take_over(all_threads)
        ours = control.Control(all_threads, draining, logs_of_stages, caller.seen)
        guard = access.guard(ring, settings.worker.rpc_server)
        gauges = tally.gauges if tally else None
        others: list[connections.Served] = [
            capacity.Capacity(lambda: staff.config_in_use, stages),
            stores.Stores(staff, uncounted),
        ]
        serving = connections.served(
            settings, ours, draining, others=others, ring=ring, guard=guard, reloads=reloads, gauges=gauges
        )
        bound = await stack.enter_async_context(serving)
        for line in preflight.warnings(load.plans(loaded.config), catalog.folder()):
            log.warning(line)
        trees.look(loaded.persist_stores)
        dest = connections.dest(settings, ip, bound.port)
        name = settings.worker.name or ip
        metrics_port: int | msgspec.UnsetType = msgspec.UNSET
        if tally is not None:
            scraped = _scraped(
                loaded, tally, staff, stages, draining, guard=guard, managers=caller.seen, name=name, ip=ip
            )
            metrics_port = connections.scraped_at(settings, ip, await stack.enter_async_context(scraped))
        log.info("worker started", name=name, dest=dest, threads=len(all_threads), manager=caller.url)
        async with anyio.create_task_group() as tasks:
            working = anyio.CancelScope()
            tasks.start_soon(signals.obey, received, staff.stop, reloads, settings.worker.shutdown_grace, working)
            tell = partial(ping.run, metrics_port=metrics_port)
            tasks.start_soon(tell, uncounted, ours, name, dest, settings.worker.ping_interval)
            tasks.start_soon(draining.run)
            tasks.start_soon(earlier.run, gate)
            tasks.start_soon(remedies.watch, all_threads)
            tasks.start_soon(_check_stores, uncounted, loaded.persist_stores, gate, all_threads)
            for store in loaded.persist_stores:
                tasks.start_soon(_know, identity.Memory(settings.worker.home.expanduser()), store)
            with working:
                await staff.run()
            tasks.cancel_scope.cancel()


@contextmanager
def _claimed(home: Path) -> Iterator[None]:
    """Keep other workers off a home: its drain and its token are one worker's.

    Raises:
        StartError: Another one has it.
    """
    with ExitStack() as stack:
        try:
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            (home / LOCK_NAME).touch()
            stack.enter_context(holding.held(home / LOCK_NAME))
            if privacy.is_open(home):
                log.warning("secrets are readable by others", path=str(home), problem=privacy.advice(home))
        except OSError as error:
            raise StartError(f"the home {home} cannot be used: {error.strerror}") from error
        except holding.InUse as error:
            raise StartError(
                f"the home {home} is in use by another worker ({error.owner}): stop it, or give each worker a home of its"
                " own ([worker] home)"
            ) from None
        yield


def _tally(settings: load.Config) -> "metrics.Tally | None":
    if not settings.metrics.enable:
        return None
    from damocles.worker.serving import metrics  # noqa: PLC0415 (25 ms and 4 MB that only metrics need)

    return metrics.Tally()


@asynccontextmanager
async def _scraped(
    loaded: load.Loaded,
    tally: "metrics.Tally",
    staff: roster.Roster,
    stages: executor.Stages,
    draining: drain.Drain,
    *,
    guard: rpc_access.Guard,
    managers: Callable[[], Sequence[wire_control.ManagerSeen]],
    name: str,
    ip: str,
) -> AsyncIterator[int]:
    """Listen for Prometheus while the block runs; yield the port."""
    from damocles.worker.serving import metrics  # noqa: PLC0415 (see `_tally`)

    source = metrics.Source(
        name=name,
        ip=ip,
        version=control.VERSION,
        tally=tally,
        threads=lambda: [thread.detail() for thread in staff.threads],
        slots=stages.occupancy,
        stores=space.Space(staff.folders, memory=identity.Memory(loaded.config.worker.home.expanduser())),
        lacking=lambda: preflight.missing_files(load.plans(staff.config_in_use), catalog.folder()),
        is_draining=lambda: draining.state().on,
        managers=managers,
        certificate=loaded.config.worker.rpc_server.certificate,
    )
    app = metrics.app(source.text)
    door = doorstep.Door()
    if not loaded.config.metrics.open:
        app = asgi.guarded(app, guard, lambda _: "GET /metrics")
        door = doorstep.door(doorstep.unknown, guard, loaded.config.worker.rpc_server.known_as)
    app = doorstep.watched(app, door)
    async with AsyncExitStack() as stack:
        try:
            bound = await stack.enter_async_context(server.serve(app, *loaded.config.metrics.endpoint))
        except errors.ListenError as error:
            raise StartError(f"{loaded.file}: metrics.http_listen: {error}") from error
        yield bound.port


def _roster(
    loaded: load.Loaded,
    book: roster.Book,
    manager: upstream.Manager,
    stages: executor.Stages,
    logs_of_stages: logbook.Logbook,
    *,
    gate: surroundings.Gate,
    observe: Callable[[str, float, bool], None] | None,
    ip: str,
    at: Callable[[], str],
) -> roster.Roster:
    settings = loaded.config
    persist = {store.name: store for store in loaded.persist_stores}
    spared = [settings.worker.home.expanduser()]
    memory = identity.Memory(settings.worker.home.expanduser())
    located = [entry.location.resolve() for entry in settings.sealing_thread if entry.location is not None]
    around = surroundings.Surroundings(
        instance=settings.worker.name or ip,
        manager=manager,
        stages=stages,
        persist_stores=persist,
        static_tree_d={size: path.resolve() for size, path in settings.processors.static_tree_d.items()},
        pieces=connections.piece_stores(settings, at),
        outlets=connections.outlets_of(settings, spared),
        trash_retention_seconds=settings.worker.trash_retention,
        memory=memory,
        gate=gate,
        observe=observe,
        room=reservations.Reservations(located),
        lacking_for_post=fitness.of(settings.processors.groups("window_post"), persist.values(), memory),
    )
    return roster.Roster(
        config=settings,
        around=around,
        book=book,
        children=stages,
        logs=logs_of_stages,
        persist=persist,
        spared=spared,
    )


async def _know(memory: identity.Memory, store: PersistStore) -> None:
    """Know an attached store from the start on; what is wrong with it is among the warnings of the configuration."""
    look = partial(memory.admit, store.path, may_mark=not store.read_only)
    with suppress(identity.NotTheStore):
        await anyio.to_thread.run_sync(look, abandon_on_cancel=True)


def _local_ip(urls: Sequence[str]) -> str:
    """Return the address from which this machine reaches the first manager that has one."""
    problems = []
    for url in urls:
        try:
            return ping.local_ip(url)
        except OSError as error:
            problems.append(f"the manager's address {url} does not resolve ({error.strerror})")
    raise StartError(f"{'; '.join(problems)}: check sector_manager.rpc_client.addr")


async def _check_stores(
    manager: upstream.Manager,
    stores: Sequence[PersistStore],
    gate: surroundings.Gate,
    all_threads: Sequence[loop.SealingThread],
) -> None:
    """Wait for the manager, make sure that it knows every attached store by the same name, and let the threads work."""
    for store in stores:
        waiting = False
        while True:
            try:
                info = await manager.call(methods.sealer.store_info(store.name))
                break
            except failures.Failure as error:
                if not waiting:
                    log.warning("waiting for the manager before sealing begins", error=str(error))
                waiting = True
                await anyio.sleep(RETRY_SECONDS)
        if info is None:
            raise StartError(unknown_store(store))
    gate.unready = None
    for thread in all_threads:
        thread.wake()


def unknown_store(store: PersistStore) -> str:
    """Return the error about an attached store that the manager does not know."""
    return (
        f"store basic info of instance {store.name} not found in damocles-manager: "
        f"give {store.path} the manager's name for it, or add it there"
    )


def main(loaded: load.Loaded) -> int:
    """Run the daemon in this process and return its exit code."""
    logs.configure()
    try:
        return anyio.run(run, loaded)
    except CANNOT_START as error:
        log.error("cannot start", reason=str(error))
        return 1
    except BaseExceptionGroup as group:
        # A task of the tree could not go on; what cannot be explained keeps its traceback.
        known, others = group.split(CANNOT_START)
        if known is None or others is not None:
            raise
        for cause in beside.leaves(known):
            log.error("cannot start", reason=str(cause))
        return 1
