"""Copy or link files between stores: the transfer stage.

A destination appears under its name only when it is whole and on the disk. Until then its bytes are in
`.<name>.part` beside it (`.<name>.<attempt>.part` under a fence), which the next try overwrites or removes, so a kill at
any point needs no cleaning up.
"""

import contextlib
import glob
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from damocles import failpoints
from damocles.stages import durable, fences, job, strangers
from damocles.wire import tasks

_CHUNK_BYTES = 64 << 20


class TransferRefused(Exception):
    """A route cannot be followed."""


def run(task: tasks.Transfer, around: job.Job, *, disable_link: bool = False) -> bool:
    """Follow the routes in order; the first failure ends the task. Store names are for other people's processors."""
    if task.keep is not None:
        strangers.check(task.keep)  # rather than after hours of copying
    for route in task.routes:
        around.check()
        follow(route, around, disable_link=disable_link, fence=task.fence, keep=task.keep)
    return True


def follow(
    route: tasks.Route,
    around: job.Job,
    *,
    disable_link: bool = False,
    fence: tasks.Fence | None = None,
    keep: tasks.Keep | None = None,
) -> None:
    """Copy or link one file or folder.

    Under a `fence` only while no newer attempt has done so, with a `keep` only beside files of the same replica.

    Raises:
        TransferRefused: A path is relative, the source is not there, or the destination is of the other kind.
        fences.Overtaken: A newer attempt has put its file there.
        strangers.Stranger: Files of another sector with this number are there.
        OSError: The file system refused.
    """
    source, destination = _absolute("src", route.src), _absolute("dest", route.dest)
    if not source.exists():
        msg = f"src path not exists: {source}"
        raise TransferRefused(msg)
    _check_kind(source, destination)
    if not destination.is_symlink() and destination.exists() and destination.samefile(source):
        return  # replacing it would destroy the only copy
    durable.make_folder(destination.parent)
    # Two attempts must not write to one file.
    attempt = f".{fence.attempt}" if fence is not None else ""
    part = destination.with_name(f".{destination.name}{attempt}.part")
    _remove(part)
    if route.opt is not None and route.opt.get("allow_link", False) and not disable_link:
        part.symlink_to(source)
    else:
        try:
            (_copy_folder if source.is_dir() else _copy_file)(source, part, around)
            durable.sync(part)
        except FileNotFoundError:
            with _turn(fence, keep, around):  # another one removes what was copied under its name: say so
                raise
    with _turn(fence, keep, around):
        failpoints.reach(f"rename.before:{destination.name}")
        if destination.is_dir() or part.is_dir():
            _remove(destination)  # a folder is replaced in two steps; a kill between them loses nothing but the copy
        part.replace(destination)
        durable.sync_entry(destination.parent)
        failpoints.reach(f"rename.after:{destination.name}")
        if fence is not None:
            for left in destination.parent.glob(f".{glob.escape(destination.name)}.*part"):
                _remove(left)  # of attempts that are over


@contextlib.contextmanager
def _turn(fence: tasks.Fence | None, keep: tasks.Keep | None, around: job.Job) -> Iterator[None]:
    """Hold the right to give a file its name."""
    with fences.turn(fence, around):
        if keep is not None:
            strangers.check(keep)
        yield


def _absolute(side: str, end: dict[str, str | None]) -> Path:
    path = Path(end.get("uri") or "")
    if not path.is_absolute():
        msg = f"{side} path is relative: {path}"
        raise TransferRefused(msg)
    return path


def _check_kind(source: Path, destination: Path) -> None:
    if destination.exists() and source.is_dir() != destination.is_dir():
        kinds = ("a folder", "a file") if source.is_dir() else ("a file", "a folder")
        msg = f"src {source} is {kinds[0]}, but dest {destination} is {kinds[1]}: remove one of them"
        raise TransferRefused(msg)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _copy_folder(source: Path, destination: Path, around: job.Job) -> None:
    destination.mkdir()
    for child in source.iterdir():
        if child.is_dir():
            _copy_folder(child, destination / child.name, around)
        else:
            _copy_file(child, destination / child.name, around)


def _copy_file(source: Path, destination: Path, around: job.Job) -> None:
    with source.open("rb") as reader, destination.open("wb") as writer:
        total, done = os.fstat(reader.fileno()).st_size, 0
        try:
            while sent := os.sendfile(writer.fileno(), reader.fileno(), done, _CHUNK_BYTES):
                done += sent
                around.progress(done, total)
        except OSError as error:  # which names no file
            told = f"{error.strerror}: {source} to {destination}"
            raise OSError(error.errno, told) from error
    if done != total:
        msg = f"{source} changed while it was copied: {total} bytes at first, {done} at the end"
        raise TransferRefused(msg)
