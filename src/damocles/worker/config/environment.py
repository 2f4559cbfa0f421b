"""Checks of the environments that stages get: the settings of the library of proofs in them.

Each stage would panic on what the library cannot read, one sector after the other.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from damocles.stages import settings
from damocles.worker.config.checks import Finding, table, tables
from damocles.worker.config.processors import GROUP_STAGES

_STAGES_WITH_TREES = ("pc2", "snap_encode", "check_replicas", "window_post")  # of which some read what others write


def of_worker() -> list[str]:
    """Return what is wrong with the environment of this process, which stages inherit."""
    return [f"environment: {problem}" for problem in settings.problems()]


def errors(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong with the variables of processors that the file sets."""
    for stage, index, group in _groups(data):
        environment = _environment(group)
        for problem in settings.problems(environment):
            # What it inherits is told of the worker itself.
            for name in problem.names:
                if name in table(group, "envs"):
                    yield ("processors", stage, index, "envs", name), environment[name], problem.expected
                    break
    yield from _rows(data)


def _rows(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield processors with which a worker could not prove what it seals, or would take whole sectors for faults."""
    groups: list[tuple[str, int | None, Mapping[str, str]]] = [
        (stage, index, _environment(group)) for stage, index, group in _groups(data) if stage in _STAGES_WITH_TREES
    ]
    with_groups = {stage for stage, _, _ in groups}
    groups += [(stage, None, os.environ) for stage in _STAGES_WITH_TREES if stage not in with_groups]
    try:
        rows = [settings.rows_to_discard(environment) for _, _, environment in groups]
        own = settings.rows_to_discard()
    except ValueError:
        return  # told already
    if len(set(rows)) == 1:
        return
    for (stage, index, _), found in zip(groups, rows, strict=True):
        if index is not None and found != own:
            path = ("processors", stage, index, "envs", settings.ROWS_TO_DISCARD)
            expected = (
                f"expected {own}, as the other stages have it: sectors are proved with what they were sealed with"
            )
            yield path, str(found), f"{expected}; set it for the whole worker instead"


def _groups(data: Mapping[str, Any]) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    processors = table(data, "processors")
    for stage in GROUP_STAGES:
        for index, group in tables(processors, stage):
            yield stage, index, group


def _environment(group: Mapping[str, Any]) -> dict[str, str]:
    """Return what the processes of a group get."""
    own = {name: text for name, text in table(group, "envs").items() if isinstance(text, str)}
    return {**(os.environ if group.get("inherit_envs", True) else {}), **own}
