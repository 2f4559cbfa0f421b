"""Checks of the environments that stages get: the settings of the library of proofs in them.

Each stage would panic on what the library cannot read, one sector after the other.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from damocles.stages import settings
from damocles.worker import config_model
from damocles.worker.config_checks import Finding, table, tables


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


def _groups(data: Mapping[str, Any]) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    processors = table(data, "processors")
    for stage in config_model.GROUP_STAGES:
        for index, group in tables(processors, stage):
            yield stage, index, group


def _environment(group: Mapping[str, Any]) -> dict[str, str]:
    """Return what the processes of a group get."""
    own = {name: text for name, text in table(group, "envs").items() if isinstance(text, str)}
    return {**(os.environ if group.get("inherit_envs", True) else {}), **own}
