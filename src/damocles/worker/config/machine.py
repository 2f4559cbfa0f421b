"""Checks of a configuration that look at the machine: cores and memory that processors are to have."""

from collections.abc import Iterator, Mapping
from typing import Any

from damocles.stages import host
from damocles.worker.config import model
from damocles.worker.config.checks import Finding, table, tables


def oddities(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what processors ask for and this machine does not have; they run without it."""
    processors = table(data, "processors")
    nodes, cores = host.nodes(), host.cores()
    for stage in (*model.GROUP_STAGES, "sealing_daemons"):
        for index, group in tables(processors, stage):
            node = group.get("numa_preferred")
            if isinstance(node, int) and not isinstance(node, bool) and node not in nodes:
                path = ("processors", stage, index, "numa_preferred")
                yield path, node, f"this machine has {_named('node', nodes)}: memory is taken from any"
            cpuset = table(group, "cgroup").get("cpuset")
            if not isinstance(cpuset, str):
                continue
            try:
                missing = host.parse_cpus(cpuset) - cores
            except ValueError:
                continue  # told already
            if missing:
                there = "on the rest" if host.parse_cpus(cpuset) & cores else "on every core"
                text = f"this machine gives us {_named('core', cores)}, and no {host.cpu_list(missing)}: runs {there}"
                yield ("processors", stage, index, "cgroup", "cpuset"), cpuset, text


def _named(what: str, numbers: frozenset[int]) -> str:
    return f"{what}{'s' if len(numbers) > 1 else ''} {host.cpu_list(numbers)}"
