"""Files of a sector on its own store, as several plans need them: made empty, linked, and all of it off the event loop."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import anyio.to_thread

from damocles import durable, failpoints
from damocles.sealing import failures
from damocles.stores import exhausted, full, layout
from damocles.worker.plans.job import Job

T = TypeVar("T")


async def in_thread(work: Callable[..., T], *args: object) -> T:
    """Do file work off the event loop; what goes wrong with local files is for an operator."""
    return await _done(work, *args, abandon_on_cancel=False)


async def on_disk(work: Callable[..., T], *args: object) -> T:
    """Read from a disk that may hang, off the event loop: a cancelled caller stops waiting for it."""
    return await _done(work, *args, abandon_on_cancel=True)


async def _done(work: Callable[..., T], *args: object, abandon_on_cancel: bool) -> T:
    try:
        return await anyio.to_thread.run_sync(work, *args, abandon_on_cancel=abandon_on_cancel)
    except OSError as error:
        if full.is_full(error):
            raise failures.Full(str(error.filename or "a store"), error.strerror or "") from error
        msg = f"{error.strerror}: {error.filename}"
        if exhausted.is_lacking(error):
            raise failures.Temporary(msg) from error
        raise failures.Critical(msg) from error


def make_empty_file(path: Path) -> None:
    """Make an empty file in place of one that may be there, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # a link's target belongs to a persist store, or to a copy of this one
    path.write_bytes(b"")


def link(name: Path, target: Path) -> None:
    """Make a durable link, in place of one that may be there."""
    part = name.with_name(f".{name.name}.part")
    part.unlink(missing_ok=True)
    part.symlink_to(target)
    failpoints.reach(f"link.before:{name.name}")
    part.replace(name)
    durable.sync_entry(name.parent)
    failpoints.reach(f"link.after:{name.name}")


def link_to_tree_d(place: layout.Layout, cache: Path) -> None:
    """Link from a cache folder to tree-d by a relative path, which holds wherever the store is moved to."""
    folder = os.path.relpath(place.prepared_dir.resolve(), cache.resolve())
    link(cache / layout.TREE_D, Path(folder, layout.TREE_D))


def relink(job: Job) -> None:
    """Let the links among the sector's files lead to where their targets are now.

    The store may have come from another path, or from a machine where tree-d of an empty sector or the persist store
    has another path. Every link stands at any time, as it was or as it is to be.

    Raises:
        failures.Critical: This machine has no tree-d of an empty sector.
    """
    place = job.place
    for cache in (place.cache_dir, place.update_cache_dir):
        if (cache / layout.TREE_D).is_symlink():
            link_to_tree_d(place, cache)
    targets = {}
    if (static := job.static_tree_d.get(place.size)) is not None:
        targets[place.tree_d_file] = static
    if (source := job.persist_stores.get(job.sector.access_instance or "")) is not None:
        targets |= {place.data / name: source.path / name for name in layout.persisted_names(job.id, place.size)}
    for name, target in targets.items():
        if name.is_symlink() and name.readlink() != target:
            link(name, target)
    if place.tree_d_file.is_symlink() and not place.tree_d_file.exists():
        label = place.size.label
        raise failures.Critical(
            f"{job.id} was sealed with a ready-made tree-d that is not here: {place.tree_d_file.readlink()}; make it with:"
            f" damocles-worker generator tree-d --sector-size {label} --path FOLDER, name it in the configuration"
            f" (processors.static_tree_d.{label}) and start the worker again"
        )
