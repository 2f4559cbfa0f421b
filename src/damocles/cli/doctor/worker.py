"""`damocles-worker doctor`: look at a worker's machine, whether its daemon runs or not.

What counts is the daemon's own surroundings: while it runs they are asked for, before that this shell's are taken, so run
it as the daemon's user and in its environment.
"""

import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from damocles import methods
from damocles.cli.connecting import worker_at
from damocles.cli.doctor import findings, reading, rules
from damocles.cli.doctor.findings import Finding, look, ok, wrong
from damocles.cli.terminal import exits
from damocles.cli.threads import options
from damocles.parameters import catalog, inspection, preflight
from damocles.rpc import address, errors, tls
from damocles.rpc.admission import access, handshake, tokens
from damocles.rpc.calling import sync
from damocles.sealing import planner
from damocles.stages import settings as library
from damocles.stages.admission import machine
from damocles.stages.files import parents
from damocles.stores import holding, identity
from damocles.text import units
from damocles.wire import codec, control, sectors
from damocles.worker import daemon, processors
from damocles.worker.config import environment, load
from damocles.worker.serving import access as worker_access
from damocles.worker.thread import reservations, room

Config = Annotated[
    Path,
    Parameter(name=["--config", "-c"], env_var="DAMOCLES_WORKER_CONFIG", help="The worker's configuration file."),
]
_ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What is known of the daemon: its process if it runs, its settings and machine if it answers."""

    pid: int | None = None
    owner: str | None = None
    problem: str | None = None
    settings: dict[str, str] = field(default_factory=dict)
    has: machine.Machine | None = None
    threads: list[control.ThreadDetail] = field(default_factory=list)


def doctor(*, config: Config, json: options.AsJson = False) -> int:
    """Look at this machine as the worker needs it, and report what is wrong and what to do; exit code 1 if something is.

    The worker may run or not. It changes nothing, and reads no large files: `params check` reads parameters.
    """
    return findings.show(_examine(config), as_json=json)


def _examine(config: Path) -> Iterator[Finding]:
    try:
        loaded = load.load(config)
    except load.ConfigError as error:
        yield from (wrong("configuration", str(problem)) for problem in (*error.errors, *error.warnings))
        return
    yield from findings.otherwise(
        (wrong("configuration", str(problem)) for problem in loaded.warnings),
        lambda: ok("configuration", f"{config} has no oddities"),
    )
    running = _running(config, loaded)
    yield from _of_daemon(running)
    if running.has is None:
        yield from (wrong("environment", problem) for problem in environment.of_worker())
    yield from _parameters(loaded, running)
    yield from _machine(loaded, running)
    yield from _limits(loaded, running)
    yield from _stores(loaded, running)
    if running.pid is None:
        yield from _ports(loaded)
    yield from _secrets(loaded)
    yield from _certificates(loaded)
    yield from _manager(loaded)


def _running(config: Path, loaded: load.Loaded) -> Running:
    """Ask the daemon, if it holds its home's lock."""
    owner = holding.owner(loaded.config.worker.home.expanduser() / daemon.LOCK_NAME)
    pid = reading.pid_in(owner)
    if owner is None:
        return Running()
    try:
        with worker_at.At(config=config).call(_ANSWER_SECONDS) as client:
            settings = client.call(methods.worker.settings())
            report = client.call(methods.worker.report())
            threads = client.call(methods.worker.threads())
    except exits.Failed as error:
        return Running(pid=pid, owner=owner, problem=str(error))
    found = codec.from_builtins(report.machine, machine.Machine)
    return Running(pid=pid, owner=owner, settings=settings, has=found, threads=threads)


def _of_daemon(running: Running) -> Iterator[Finding]:
    if running.owner is None:
        yield ok("daemon", "does not run: what follows is as this user and this shell have it")
    elif running.problem is not None:
        yield wrong("daemon", f"runs ({running.owner}) and gives no answer: {running.problem}")
    else:
        paused = [thread for thread in running.threads if thread.info.thread_state.state == "Paused"]
        if paused:
            yield look(
                "daemon",
                f"{len(paused)} of {len(running.threads)} threads are paused: damocles-worker worker list has the reasons",
            )
        else:
            yield ok("daemon", f"runs ({running.owner}), {units.counted(len(running.threads), 'thread')}, none paused")


def _parameters(loaded: load.Loaded, running: Running) -> Iterator[Finding]:
    """Judge parameters and parent caches: those of the daemon, where it answers."""
    env = running.settings if running.has is not None else None
    folder = catalog.folder() if env is None else catalog.folder(env)
    plans, sizes = load.plans(loaded.config), sorted(load.sizes(loaded.config))
    lines = [wrong("parameters", line) for line in preflight.warnings(plans, folder)]
    for plan, allowed in plans.items():
        kinds = [catalog.Kind(kind) for kind in planner.PLANS[plan].proves]
        for one in inspection.look(catalog.sets(dict.fromkeys(allowed or ()), kinds), folder):
            if one.status is inspection.Status.BAD:
                told = f"{one.path} {one.detail}; delete it, then: damocles-worker params fetch --sector-size"
                size = next((size.label for size in sizes if size == one.sector_size), "SIZE")
                lines.append(wrong("parameters", f"{told} {size} --for {one.kind}"))
    yield from findings.otherwise(
        lines,
        lambda: ok("parameters", f"all are in {folder}; whether they are intact, damocles-worker params check reads"),
    )
    caches = library.parent_cache() if env is None else library.parent_cache(env)
    for proof in (proof for size in sizes for proof in sectors.seal_proofs_of(size)):
        cache = parents.Cache(proof=proof, folder=caches)
        if cache.path.exists() and (problem := parents.cut(cache)) is not None:
            yield look("parent cache", f"{cache.path}: {problem}; the next PC1 makes it again")


def _machine(loaded: load.Loaded, running: Running) -> Iterator[Finding]:
    config = loaded.config
    has = running.has or processors.look(config)
    policy = processors.admission(config, has)
    level = wrong if policy.refuses else look
    memory = "unknown" if has.usable_memory_bytes is None else units.human_size(has.usable_memory_bytes)
    yield from findings.otherwise(
        (level("machine", line) for line in processors.unfit(policy, load.sizes(config))),
        lambda: ok("machine", f"{has.usable_cores} cores, {memory} of memory: each stage fits"),
    )
    yield from rules.huge_pages(has.transparent_huge_pages, _sizes_with_pc1(config))


def _limits(loaded: load.Loaded, running: Running) -> Iterator[Finding]:
    found = reading.limits(running.pid)
    whose = "the daemon" if running.pid is not None else "this shell"
    needed = len(loaded.config.sealing_thread) * daemon.DESCRIPTORS_OF_A_THREAD
    yield rules.open_files(found["open files"], needed, whose)
    yield from rules.locked_memory(found["locked memory"], _sizes_with_pc1(loaded.config), whose)


def _sizes_with_pc1(config: load.Config) -> set[sectors.SectorSize]:
    return {
        size
        for plan, allowed in load.plans(config).items()
        for size in (allowed or ())
        if "pc1" in planner.PLANS[plan].writes
    }


def _stores(loaded: load.Loaded, running: Running) -> Iterator[Finding]:
    """Judge mounts, rights and room; what the configuration's check says of stores is told already."""
    config = loaded.config
    memory = identity.Memory(config.worker.home.expanduser())
    root_device = reading.device(Path("/"))
    threads = [load.effective(config, index) for index in range(len(config.sealing_thread))]
    folders = [(thread.location, thread) for thread in threads if thread.location is not None]
    kept = reservations.Reservations([location.resolve() for location, _ in folders])
    lines: list[Finding] = []
    for location, thread in folders:
        folder = location.resolve()
        lines += _folder(folder, memory, root_device, is_ours=running.owner is None)
        is_idle = folder.is_dir() and not reservations.journalled(folder)
        if is_idle and thread.sealing.allowed_sizes:
            told = room.lacking(
                thread.plan,
                [int(proof) for proof in thread.sealing.allowed_proofs],
                folder,
                config.worker.trash_retention,
                kept.missing_bytes(folder),
            )
            lines += [wrong("room", f"no {told}: free some, or this thread begins no sector")] if told else []
    largest = max(load.sizes(config), default=None)
    for store in loaded.persist_stores:
        if not store.read_only:
            lines += _folder(store.path, memory, root_device, is_ours=running.owner is None)
            free = machine.space("persist", store.path).free_bytes
            if largest is not None and free is not None and free < largest:
                told = f"{store.path} has {units.human_size(free)} free, less than a sector of {largest.label}"
                lines.append(wrong("room", f"{told}: free some, or attach another store"))
    count = len(folders) + len(loaded.persist_stores)
    yield from findings.otherwise(
        lines, lambda: ok("stores", f"{units.counted(count, 'store')} found, with room for a sector each")
    )


def _folder(folder: Path, memory: identity.Memory, root_device: int | None, *, is_ours: bool) -> Iterator[Finding]:
    device = reading.device(folder)
    if device is None or root_device is None:
        return  # the check of the configuration has told it
    try:
        is_known = memory.expected(folder) is not None
    except identity.NotTheStore as error:
        yield wrong("stores", str(error))
        return
    yield from rules.mount(folder, device=device, root_device=root_device, is_known=is_known)
    if is_ours and not reading.may_write(folder):
        yield wrong("stores", f"{folder}: this user may not write there; give it to the daemon's user (chown)")


def _ports(loaded: load.Loaded) -> Iterator[Finding]:
    listen, metrics = loaded.config.worker.rpc_server, loaded.config.metrics
    wanted = [("calls", address.Endpoint(listen.host, listen.port))]
    wanted += [("metrics", metrics.endpoint)] if metrics.enable else []
    for what, where in wanted:
        yield rules.port(what, str(where), reading.port(where))


def _secrets(loaded: load.Loaded) -> Iterator[Finding]:
    """Judge the home's own secrets; those that the configuration names are in its check."""
    home = loaded.config.worker.home.expanduser()
    yield from findings.otherwise(
        rules.secrets([home, home / tokens.FILE_NAME, home / worker_access.SHELF_NAME]),
        lambda: ok("secrets", f"nobody else can read what is in {home}"),
    )


def _certificates(loaded: load.Loaded) -> Iterator[Finding]:
    now = time.time()
    if (files := loaded.config.worker.rpc_server.certificate) is not None:
        yield from reading.certificate(Path(files.certificate), now, rules.RENEW)
    if (authority := loaded.config.sector_manager.ca_file) is not None:
        yield from reading.certificate(authority.expanduser(), now, rules.NEW_AUTHORITY)


def _manager(loaded: load.Loaded) -> Iterator[Finding]:
    """Call each manager as the worker does: reach it, be known, agree on time, version, stores and the database."""
    databases: dict[str, str] = {}
    for url in loaded.config.sector_manager.urls:
        yield from _manager_at(loaded, url, databases)
    if len(set(databases.values())) > 1:
        told = ", ".join(f"{url} has {identity or 'none that it tells'}" for url, identity in databases.items())
        yield wrong("manager", f"the managers have different databases: {told}; correct sector_manager.addresses")


def _manager_at(loaded: load.Loaded, url: str, databases: dict[str, str]) -> Iterator[Finding]:
    manager = loaded.config.sector_manager
    key = "rpc_client.addr" if url == manager.rpc_client.url else "addresses"
    try:
        on_loopback = access.is_loopback(urllib.parse.urlsplit(url).hostname or "")
        token = worker_access.manager_token(manager, on_loopback=on_loopback)
        trust = tls.client_context(manager.ca_file.expanduser()) if manager.ca_file is not None else None
    except (worker_access.Unusable, tls.Unusable) as error:
        yield wrong("manager", str(error))
        return
    insecure = loaded.config.worker.rpc_server.insecure
    calling = sync.connect(
        url,
        headers=manager.rpc_client.headers,
        token=token(),
        timeout_seconds=_ANSWER_SECONDS,
        trust=trust,
        must_know=handshake.wanted(url, insecure=insecure),
    )
    with calling as client:
        try:
            version = client.call(methods.util.version())
            unknown = [
                store for store in loaded.persist_stores if client.call(methods.sealer.store_info(store.name)) is None
            ]
        except errors.RpcError as error:
            looked = "" if client.has_token else f"; no token was found ({token}): set sector_manager.token_file"
            yield wrong("manager", f"{url}: {error}{looked}")
        except errors.CallError as error:
            yield wrong("manager", f"{error} (sector_manager.{key})")
        else:
            if len(manager.urls) > 1:
                databases[url] = _database(client)
            yield ok("manager", f"{url} answers, and takes our token")
            for store in unknown:
                yield wrong("manager", daemon.unknown_store(store))
            yield from rules.versions({"the manager": version})
        yield from rules.clock(client.ahead_seconds, "the manager")


def _database(client: sync.Client) -> str:
    try:
        return client.call(methods.util.database())
    except errors.CallError:
        return ""  # it tells none, as the original's manager
