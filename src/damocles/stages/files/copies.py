"""Copy or link files between stores, and pieces to where others want them: the transfer stage.

A destination appears under its name only when it is whole and on the disk. Until then its bytes are in
`.<name>.part` beside it (`.<name>.<attempt>.part` under a fence), which the next try overwrites or removes, so a kill at
any point needs no cleaning up. The copy of a large file goes on where it was (see `resuming`).
"""

import contextlib
import errno
import glob
import os
import shutil
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from damocles import durable, failpoints
from damocles.stages import job
from damocles.stages.files import fences, resuming, strangers
from damocles.wire import tasks

_CHUNK_BYTES = 64 << 20
_COMPARED_BYTES = 1 << 20
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})  # on FAT, for example


class TransferRefused(Exception):
    """A route cannot be followed."""


def run(task: tasks.Transfer, around: job.Job, *, disable_link: bool = False) -> bool:
    """Follow the routes in order; the first failure ends the task. Store names are for other people's processors."""
    if task.keep is not None:
        strangers.check(task.keep)  # rather than after hours of copying
    for route in task.routes:
        around.check()
        if task.fresh:
            put(_absolute("src", route.src), _absolute("dest", route.dest), around)
            continue
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
        raise TransferRefused(f"src path not exists: {source}")
    _check_kind(source, destination)
    if not destination.is_symlink() and destination.exists() and destination.samefile(source):
        return  # replacing it would destroy the only copy
    durable.make_folder(destination.parent)
    # Two attempts must not write to one file.
    attempt = f".{fence.attempt}" if fence is not None else ""
    links = route.opt is not None and route.opt.get("allow_link", False) and not disable_link
    if links or source.is_dir() or not resuming.is_worthwhile(source):
        part = _part_of(destination, attempt)
        _remove(part)
    else:
        part = resuming.part_of(source, destination, fence.attempt if fence is not None else None)
    if links:
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


def put(source: Path, destination: Path, around: job.Job) -> None:
    """Copy a file to a place that somebody else chose: nothing is replaced, and only its owner may read it.

    Of what is there already, our own part file alone is removed.

    Raises:
        TransferRefused: Something is there, or a link on the way has changed since the place was checked.
        OSError: The file system refused.
    """
    durable.make_folder(destination.parent, mode=0o700)
    # From here on by its descriptor: whoever may write near it could put a link in its place at any time.
    folder = os.open(destination.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        leads_to = Path(f"/proc/self/fd/{folder}").readlink()
        if leads_to != destination.parent:
            raise TransferRefused(f"dest {destination} leads to {leads_to} meanwhile: nothing is put there")
        if not is_there(source, destination):
            _put(source, destination, folder, around)
    finally:
        os.close(folder)


def _put(source: Path, destination: Path, folder: int, around: job.Job) -> None:
    name, part = destination.name, _part_of(destination)
    _remove_own(part, folder)
    with source.open("rb") as reader, open(part.name, "xb", opener=partial(_private, folder)) as writer:
        _send(reader, writer, source, part, around)
    durable.sync(part)
    failpoints.reach(f"rename.before:{name}")
    try:
        os.link(part.name, name, src_dir_fd=folder, dst_dir_fd=folder)  # which replaces nothing, other than a rename
    except FileExistsError:
        raise _taken(destination) from None
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if os.path.lexists(destination):
            raise _taken(destination) from None
        os.rename(part.name, name, src_dir_fd=folder, dst_dir_fd=folder)
    else:
        os.unlink(part.name, dir_fd=folder)
    os.fsync(folder)
    failpoints.reach(f"rename.after:{name}")


def is_there(source: Path, destination: Path) -> bool:
    """Return whether a file was put to its place before, perhaps by a run that was killed right after.

    Raises:
        TransferRefused: Something else is there.
        OSError: It cannot be read.
    """
    try:
        found = destination.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(found.st_mode) or found.st_size != source.stat().st_size or not _same(source, destination):
        raise _taken(destination)
    part = _part_of(destination)
    if not part.is_symlink() and part.exists() and part.samefile(destination):
        part.unlink()
    return True


def _same(source: Path, destination: Path) -> bool:
    with source.open("rb") as one, open(destination, "rb", opener=_as_it_is) as other:
        while True:
            block = one.read(_COMPARED_BYTES)
            if block != other.read(_COMPARED_BYTES):
                return False
            if not block:
                return True


def _taken(destination: Path) -> TransferRefused:
    return TransferRefused(
        f"dest {destination} already exists and is not this piece; nothing is replaced, remove it first"
    )


def _part_of(destination: Path, attempt: str = "") -> Path:
    return destination.with_name(f".{destination.name}{attempt}.part")


def _remove_own(part: Path, folder: int) -> None:
    try:
        found = os.stat(part.name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        raise TransferRefused(f"{part} is in the way and is not a part file of ours: remove it")
    os.unlink(part.name, dir_fd=folder)


def _private(folder: int, name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NOFOLLOW, 0o600, dir_fd=folder)


def _as_it_is(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


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
        raise TransferRefused(f"{side} path is relative: {path}")
    return path


def _check_kind(source: Path, destination: Path) -> None:
    if destination.exists() and source.is_dir() != destination.is_dir():
        kinds = ("a folder", "a file") if source.is_dir() else ("a file", "a folder")
        raise TransferRefused(f"src {source} is {kinds[0]}, but dest {destination} is {kinds[1]}: remove one of them")


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
    with source.open("rb") as reader, open(destination, "wb", opener=_for_more) as writer:
        _send(reader, writer, source, destination, around, done=resuming.begin(reader, writer))


def _for_more(path: str, flags: int) -> int:
    return os.open(path, os.O_RDWR | (flags & ~(os.O_WRONLY | os.O_TRUNC)), 0o666)


def _send(
    reader: BinaryIO, writer: BinaryIO, source: Path, destination: Path, around: job.Job, *, done: int = 0
) -> None:
    total = os.fstat(reader.fileno()).st_size
    try:
        while sent := os.sendfile(writer.fileno(), reader.fileno(), done, min(_CHUNK_BYTES, resuming.until_sync(done))):
            done += sent
            if resuming.is_due(done):
                os.fdatasync(writer.fileno())
            around.progress(done, total)
    except OSError as error:  # which names no file
        text = f"{error.strerror}: {source} to {destination}"
        raise OSError(error.errno, text) from error
    if done != total:
        raise TransferRefused(f"{source} changed while it was copied: {total} bytes at first, {done} at the end")
