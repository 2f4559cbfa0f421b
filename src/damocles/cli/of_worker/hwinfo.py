"""`damocles-worker hwinfo`: what this machine has for stages, as a worker sees it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from damocles import methods
from damocles.cli.connecting import worker_at
from damocles.cli.terminal import exits, tables, watching
from damocles.cli.threads import options
from damocles.stages import host
from damocles.stages.admission import grants, machine
from damocles.text import units
from damocles.wire import capacity, codec

Row = tuple[str, str, str]

Config = Annotated[
    Path | None,
    Parameter(
        name=["--config", "-c"],
        env_var="DAMOCLES_WORKER_CONFIG",
        help="A worker's configuration: what the running worker sees, has granted, and has room for in its stores.",
    ),
]

_TABLE = tables.Table[Row](columns=("What", "Size", "Text"), cells=lambda row: row)


@watching.watchable
def hwinfo(*, config: Config = None, full: options.Full = False, json: options.AsJson = False) -> int:
    """Show what this machine has: cores, memory and their limits, NUMA nodes, huge pages, GPUs, room on disks.

    This asks the running worker, since a service or a container may have less than this shell.
    """
    report = None if config is None else _of_worker(config)
    found = machine.look(folders=[("scratch", machine.environment_scratch())])
    if report is not None:
        found = codec.from_builtins(report.machine, machine.Machine)
    granted = [] if report is None else report.granted
    if json:
        capacity = found.capacity() if report is None else report.capacity
        exits.print_json({**codec.to_builtins(found), "capacity": capacity, "granted": codec.to_builtins(granted)})
    else:
        tables.show(_TABLE, [*_rows(found), *_grants(granted)], full=full)
    return exits.OK


def _of_worker(config: Path) -> capacity.Report:
    """Return what the running worker reports, or what one with this configuration would."""
    try:
        with worker_at.At(config=config).call() as client:
            return client.call(methods.worker.report())
    except exits.WorkerUnreachable:
        exits.warning("the worker does not answer: these are the figures of this shell")
    from damocles.worker import capacity as worker_capacity
    from damocles.worker import processors
    from damocles.worker.config import load

    try:
        settings = load.load(config).config
    except load.ConfigError as error:
        raise exits.Failed(str(error)) from error
    found = worker_capacity.look(settings)
    return worker_capacity.report(settings, found, processors.admission(settings, found))


def _grants(granted: Sequence[capacity.Grant]) -> Iterator[Row]:
    for one in granted:
        for name, number in one.needs.items():
            yield "granted", grants.amount(name, number), f"{name}, to {one.label}"


def _rows(found: machine.Machine) -> Iterator[Row]:
    quota = f", a quota of {found.cgroup.cores:g}" if found.cgroup and found.cgroup.cores is not None else ""
    yield "cores", str(found.usable_cores), f"CPUs {host.cpu_list(found.cores)}{quota}"
    free = "" if found.available_bytes is None else f"{units.human_size(found.available_bytes)} available"
    yield "memory", _size(found.memory_bytes), free
    if (group := found.cgroup) is not None:
        limit = "no limit" if group.memory_bytes is None else _size(group.memory_bytes)
        used = "" if group.used_bytes is None else f", {_size(group.used_bytes)} used"
        yield "cgroup memory", limit, f"v{group.version} {group.path}{used}"
    for node in found.nodes:
        yield f"node {node.number}", _size(node.memory_bytes), f"CPUs {host.cpu_list(node.cores) or 'none'}"
    for pool in found.huge_pages:
        size = units.human_size(pool.size_bytes)
        yield f"pages of {size}", units.human_size(pool.size_bytes * pool.total), f"{pool.total}, {pool.free} free"
    if found.transparent_huge_pages is not None:
        yield "huge pages", found.transparent_huge_pages, "transparent ones; where always, PC1 has its memory in them"
    for number, gpu in enumerate(found.gpus):
        yield f"GPU {number}", _size(gpu.memory_bytes), gpu.name
    if not found.gpus:
        yield "GPUs", "0", "neither nvidia-smi nor the driver names any"
    for space in found.spaces:
        yield space.what, _size(space.total_bytes), f"{_size(space.free_bytes)} free in {space.path}"


def _size(size_bytes: int | None) -> str:
    return "unknown" if size_bytes is None else units.human_size(size_bytes)
