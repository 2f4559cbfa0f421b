"""`damocles-worker hwinfo`: what this machine has for stages, as a worker sees it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from damocles.cli.terminal import exits, tables
from damocles.cli.threads import options
from damocles.stages import host
from damocles.stages.admission import machine
from damocles.text import units
from damocles.wire import codec

Row = tuple[str, str, str]

Config = Annotated[
    Path | None,
    Parameter(
        name=["--config", "-c"],
        env_var="DAMOCLES_WORKER_CONFIG",
        help="A worker's configuration: its stores are looked at too.",
    ),
]

_TABLE = tables.Table[Row](columns=("What", "Size", "Text"), cells=lambda row: row)


def hwinfo(*, config: Config = None, full: options.Full = False, json: options.AsJson = False) -> int:
    """Show what this machine has: cores, memory and their limits, NUMA nodes, huge pages, GPUs, room in the stores.

    It is seen from this shell: a service or a container may have less.
    """
    found = machine.look(folders=list(_folders(config)))
    if json:
        exits.print_json({**codec.to_builtins(found), "capacity": found.capacity()})
    else:
        tables.show(_TABLE, list(_rows(found)), full=full)
    return exits.OK


def _folders(config: Path | None) -> Iterator[tuple[str, Path]]:
    yield "scratch", machine.environment_scratch()
    if config is None:
        return
    from damocles.worker.config import load

    try:
        loaded = load.load(config)
    except load.ConfigError as error:
        raise exits.Failed(str(error)) from error
    for thread in loaded.config.sealing_thread:
        if thread.location is not None:
            yield "sealing", thread.location.resolve()
    for store in loaded.persist_stores:
        yield "persist", store.path


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
