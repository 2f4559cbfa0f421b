"""Checks of a configuration that look at the machine: cores and memory that processors are to have."""

from collections.abc import Iterator, Mapping
from typing import Any

from damocles.stages import host
from damocles.worker.config.checks import Finding, strings, table, tables
from damocles.worker.config.processors import GROUP_STAGES
from damocles.worker.config.report import KeyPath

NO_HUGE_PAGE_FILES = (
    "PC1 takes its memory from the system, as transparent huge pages where it gives them, and from no files"
)
_HUGE_PAGE_NAMES = ("HUGEPAGE_FILES_PATH", "HUGEPAGE_FILES_PATH_PATTERN")


def oddities(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what processors ask for and this machine does not have; they run without it."""
    processors = table(data, "processors")
    nodes, cores = host.nodes(), host.cores()
    for stage in (*GROUP_STAGES, "sealing_daemons"):
        for index, group in tables(processors, stage):
            node = group.get("numa_preferred")
            if isinstance(node, int) and not isinstance(node, bool) and node not in nodes:
                path = ("processors", stage, index, "numa_preferred")
                yield path, node, f"this machine has {_named('node', nodes)}: memory is taken from any"
            yield from _of_the_original(("processors", stage, index), group)
            cpuset = table(group, "cgroup").get("cpuset")
            if not isinstance(cpuset, str):
                continue
            try:
                missing = host.parse_cpus(cpuset) - cores
            except ValueError:
                continue  # told already
            if missing:
                there = "on the rest" if host.parse_cpus(cpuset) & cores else "on every core"
                text = f"this machine gives us {_named('core', cores)}, but not {host.cpu_list(missing)}: runs {there}"
                yield ("processors", stage, index, "cgroup", "cpuset"), cpuset, text


def _of_the_original(here: KeyPath, group: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what has an effect in the original, and none here."""
    for name in _HUGE_PAGE_NAMES:
        if name in table(group, "envs"):
            yield (*here, "envs", name), None, f"has no effect: {NO_HUGE_PAGE_FILES}"
    for word in strings(group.get("args")):
        if word.replace("_", "-").startswith("--hugepage-files-path"):
            yield (*here, "args"), word, f"has no effect: {NO_HUGE_PAGE_FILES}"
    cgroup = table(group, "cgroup")
    if "group_name" in cgroup and "cpuset" not in cgroup:
        yield (*here, "cgroup", "group_name"), cgroup["group_name"], "has no effect without cpuset beside it"


def _named(what: str, numbers: frozenset[int]) -> str:
    return f"{what}{'s' if len(numbers) > 1 else ''} {host.cpu_list(numbers)}"
