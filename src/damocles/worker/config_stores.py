"""Checks of a configuration that are about its stores, and look at the disk (see `config_checks`)."""

import glob
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from damocles.stores import identity
from damocles.worker import config_rpc
from damocles.worker.config_checks import Finding, scan_globs, table, tables
from damocles.worker.config_report import KeyPath


def oddities(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the stores in whose place there was another one before: their disks may not be mounted."""
    home = table(data, "worker").get("home", str(config_rpc.DEFAULT_HOME))
    memory = identity.Memory(Path(home).expanduser() if isinstance(home, str) else None)
    for path, location in _locations(data):
        try:
            memory.check(Path(location).resolve())
        except identity.NotTheStore as error:
            yield path, location, str(error)


def _locations(data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    for kind in ("sealing_thread", "attached"):
        for index, entry in tables(data, kind):
            if isinstance(location := entry.get("location"), str) and location:
                yield (kind, index, "location"), location
    for pattern in scan_globs(data):
        for folder in sorted(glob.glob(pattern)):  # noqa: PTH207  # the patterns are absolute
            yield ("worker", "scan_persist_stores"), folder
