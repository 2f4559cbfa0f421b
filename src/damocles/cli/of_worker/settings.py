"""Use the running worker's folders, which a shell on the same machine most likely does not name."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from damocles import methods
from damocles.cli.terminal import exits
from damocles.parameters import catalog
from damocles.stages import settings

Config = Annotated[
    Path | None,
    Parameter(
        name=["--config", "-c"],
        env_var="DAMOCLES_WORKER_CONFIG",
        help="A worker's configuration: use the running worker's folders instead of this shell's.",
    ),
]

_FOLDERS = (catalog.CACHE_VARIABLE, settings.PARENT_CACHE, settings.CACHE_BASE)
_STAGES = ("pc1", "c2", "snap_prove", "window_post", "unseal")  # that look in one of them


def adopt(config: Path | None) -> None:
    """Let this process use the folders of the worker that uses `config`, and report where they differ.

    If the worker does not answer, this shell's environment counts.
    """
    if config is None:
        return
    from damocles.cli.connecting import worker_at

    at = worker_at.At(config=config)
    at.place()  # a file that cannot be read is no worker that does not answer
    try:
        with at.call() as client:
            theirs = client.call(methods.worker.settings())
    except exits.Failed as error:
        exits.warning(f"{error}; using the folders that this shell's environment names")
        return
    ours = dict(os.environ)
    for name in _FOLDERS:
        if name in theirs:
            os.environ[name] = theirs[name]
        else:
            os.environ.pop(name, None)
    for line in (*_differences(ours, theirs), *_of_processors(config)):
        exits.hint(line)


def _differences(ours: dict[str, str], theirs: dict[str, str]) -> Iterator[str]:
    for what, folder in (("parameters", catalog.folder), ("parent caches", settings.parent_cache)):
        if (here := folder(ours)) != (there := folder(theirs)):
            yield f"{what}: the running worker uses {there}; this shell's environment names {here}"


def _of_processors(config: Path) -> Iterator[str]:
    """Yield the processors that have a folder of their own."""
    from damocles.worker.config import checks, report

    processors = checks.table(report.read(config).data, "processors")
    for stage in _STAGES:
        for index, group in checks.tables(processors, stage):
            for name in _FOLDERS:
                if (folder := checks.table(group, "envs").get(name)) is not None:
                    yield f"processors.{stage}[{index}] has its own {name}: {folder}"
