"""Checks of a configuration that are about its stores together, and what is in them (see `config_checks`)."""

import glob
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from damocles.stores import identity, layout, sealing
from damocles.worker.config import rpc
from damocles.worker.config.checks import Finding, no_folder, plan_of, scan_globs, strings, table, tables
from damocles.worker.config.report import KeyPath

_SCANNED: KeyPath = ("worker", "scan_persist_stores")
_CLEARED = frozenset({"data", "meta", "trash"})  # of a sealing store


def errors(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield folders inside those that a sealing store clears, or in which a persist store keeps its sectors."""
    places = [(path, location, Path(location).resolve()) for path, location in _locations(data)]
    if isinstance(home := table(data, "worker").get("home"), str):
        places.append((("worker", "home"), home, Path(home).expanduser().resolve()))
    for path, location, folder in places:
        for other, outer, root in places:
            is_sealing = other[0] == "sealing_thread"
            names = _CLEARED if is_sealing else layout.OF_SECTORS if other != ("worker", "home") else frozenset()
            inner = next((name for name in sorted(names) if folder.is_relative_to(root / name)), None)
            if inner is not None and other != path:
                what = "a sealing store clears away" if is_sealing else "a persist store keeps its sectors in"
                yield path, location, f"is in {outer}/{inner}, which {what}: choose a folder outside of it"
    for path, location, folder in _outlets(data):
        for other, outer, root in places:
            is_persist = other[0] == "attached" or other == _SCANNED
            for inner in layout.OF_SECTORS if is_persist else ("",):
                if folder.is_relative_to(root / inner):
                    yield (
                        path,
                        location,
                        f"is in {root / inner}, where no piece is put: choose a folder outside of {outer}",
                    )


def oddities(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what keeps a thread from working, or a sector from being finished, and the others not."""
    yield from _foreign(data)
    yield from _all_readonly(data)
    yield from _not_mounted(data)
    for path, location, folder in _outlets(data):
        if (problem := no_folder(folder)) is not None:
            yield path, location, problem


def _foreign(data: Mapping[str, Any]) -> Iterator[Finding]:
    for index, thread in tables(data, "sealing_thread"):
        location = thread.get("location")
        if isinstance(location, str) and location:
            with suppress(OSError):  # told by whoever opens the store
                if (problem := sealing.not_ours(Path(location))) is not None:
                    yield ("sealing_thread", index, "location"), location, problem


def _all_readonly(data: Mapping[str, Any]) -> Iterator[Finding]:
    attached = [store for _, store in tables(data, "attached")]
    if not attached or scan_globs(data) or not all(store.get("readonly") is True for store in attached):
        return
    for index, thread in tables(data, "sealing_thread"):
        plan = plan_of(thread)
        if plan is not None and plan.persists:
            problem = "begins no sector: every [[attached]] store is readonly, and its sectors need a writable one"
            yield ("sealing_thread", index, "plan"), plan.name, problem


def _not_mounted(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the stores in whose place there was another one before: their disks may not be mounted."""
    home = table(data, "worker").get("home", str(rpc.DEFAULT_HOME))
    memory = identity.Memory(Path(home).expanduser() if isinstance(home, str) else None)
    for path, location in _locations(data):
        try:
            memory.check(Path(location).resolve())
        except identity.NotTheStore as error:
            yield path, location, str(error)


def _outlets(data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str, Path]]:
    """Yield the folders that take pieces."""
    for index, location in enumerate(strings(table(data, "worker").get("unseal_dirs"))):
        yield ("worker", "unseal_dirs", index), location, Path(location).resolve()


def _locations(data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    for kind in ("sealing_thread", "attached"):
        for index, entry in tables(data, kind):
            if isinstance(location := entry.get("location"), str) and location:
                yield (kind, index, "location"), location
    for pattern in scan_globs(data):
        for folder in sorted(glob.glob(pattern)):  # noqa: PTH207  # the patterns are absolute
            yield _SCANNED, folder
