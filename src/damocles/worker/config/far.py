"""Checks of the groups that send their tasks to a Ray cluster (`executor = "ray"`); they read the raw tables, as `checks` does."""

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from damocles.stages.far import settings
from damocles.worker.config import checks
from damocles.worker.config.checks import Finding
from damocles.worker.config.processors import GROUP_STAGES
from damocles.worker.config.report import KeyPath

NO_RAY = "needs Ray, which is not installed here: pip install 'damocles[ray]'"

_INLINE = ("c2", "snap_prove", "snap_verify")  # what they work on comes with the task
_WHY_NOT = {
    "transfer": "it moves files between stores that are here",
    "upload": "it would bring the file to another machine first",
    "sealing_daemons": "they get no tasks",
}
_OF_RAY = ("address", "resources", "away", "shared", "lease", "token_file", "insecure")
_OF_HERE = ("inherit_envs", "numa_preferred", "cgroup")


def errors(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what would keep tasks from ever being sent."""
    for path, stage, group in _groups(data):
        if group.get("executor") != "ray":
            continue
        if (why := _WHY_NOT.get(stage)) is not None:
            yield (*path, "executor"), "ray", f"{stage} cannot be sent to other machines: {why}"
        elif importlib.util.find_spec("ray") is None:
            yield (*path, "executor"), "ray", NO_RAY
        if "address" not in group:
            yield (*path, "address"), None, 'missing; expected the address of a Ray head, like "10.0.0.1:6379"'
        if stage not in (*_INLINE, *_WHY_NOT) and not group.get("shared"):
            told = (
                'expected the folders that all machines have under the same path, like ["/srv/sealing", "/srv/persist"]'
            )
            yield (*path, "shared"), None, f"missing; {stage} works on files of the sector: {told}"
        for name, amount in checks.table(group, "resources").items():
            if (problem := settings.misspelled(name)) is not None:
                yield (*path, "resources", name), amount, problem
        for folder in checks.strings(group.get("shared")):
            if (problem := checks.no_folder(Path(folder))) is not None:
                yield (*path, "shared"), folder, problem
        yield from _token((*path, "token_file"), group)


def _token(path: KeyPath, group: Mapping[str, Any]) -> Iterator[Finding]:
    file = group.get("token_file")
    if group.get("insecure") is True or not isinstance(file, str | None):
        return
    try:
        settings.authentication(settings.Group(stage="", address="", token_file=file))
    except settings.NoToken as error:
        told = "get it from the machine of the head, or make one with: damocles-worker ray up --head; insecure = true does without"
        yield path, file, f"{error}; {told}"


def oddities(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield keys without effect."""
    for path, _, group in _groups(data):
        is_far = group.get("executor") == "ray"
        for key in _OF_HERE if is_far else _OF_RAY:
            if key in group:
                yield (*path, key), None, f'has no effect {"with" if is_far else "without"} executor = "ray"'
        if is_far and group.get("insecure") is True:
            yield (
                (*path, "insecure"),
                True,
                "whoever reaches the Ray cluster can run anything on all of its machines, and here",
            )


def _groups(data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str, Mapping[str, Any]]]:
    processors = checks.table(data, "processors")
    for stage in (*GROUP_STAGES, "sealing_daemons"):
        for index, group in checks.tables(processors, stage):
            yield ("processors", stage, index), stage, group
