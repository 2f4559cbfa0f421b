"""Make parameter sets for a test network, each in a child process that can be watched and stopped.

The maker of a set could forge proofs with it, so no real network accepts its proofs. Every set generated here gets
a mark for that (see `inspection`).
"""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio
import anyio.abc
import anyio.to_thread

from damocles.parameters import catalog, inspection, locks
from damocles.parameters.catalog import Kind
from damocles.parameters.watching import Watcher
from damocles.stages import host
from damocles.text import units
from damocles.wire import sectors

WARNING = "sets generated on this machine are for test networks only: no real network accepts their proofs"

# Measured with two cores, from idle ones with wide instructions to busy ones without.
_KNOWN = {
    (Kind.POREP, 2048): "half a minute to 3min, 0.8GiB of memory",
    (Kind.UPDATE, 2048): "half a minute to 2min, 0.8GiB of memory",
    (Kind.WINNING, 2048): "a few seconds",
    (Kind.WDPOST, 2048): "a few seconds",
    (Kind.SRS, 0): "a few seconds",
}
# From here on, sectors are sealed on real networks only.
_TOO_LARGE = sectors.SectorSize.GIB32
_LAST_WORDS_BYTES = 2000


async def generate(
    sets: Sequence[catalog.FileSet], folder: Path, watcher: Watcher, *, adopt: bool = False, every_seconds: float = 1.0
) -> list[str]:
    """Make what is missing of these sets in `folder`; return what went wrong, a line per set.

    Files that are here already stay. With `adopt` they are marked as made here, unless they are the published ones.
    """
    failures = []
    for wanted in sets:
        name = _name(wanted)
        target = folder / wanted.files[0].name
        try:
            if (failure := _impossible(wanted)) is None:
                folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240
                async with locks.exclusive(
                    target, partial(watcher.say, f"{name}: another process is generating it, waiting")
                ):
                    failure = await _one(wanted, folder, watcher, adopt=adopt, every_seconds=every_seconds)
        except OSError as error:
            failure = f"cannot write to {folder}: {error.strerror}"
        finally:
            watcher.end(name)
        if failure:
            failures.append(f"{name}: {failure}")
    return failures


def _name(wanted: catalog.FileSet) -> str:
    return f"{wanted.kind} {wanted.size_label}"


def _impossible(wanted: catalog.FileSet) -> str | None:
    if wanted.sector_size >= _TOO_LARGE:
        return "sectors of this size are for real networks: fetch the published files"
    return None


async def _one(
    wanted: catalog.FileSet, folder: Path, watcher: Watcher, *, adopt: bool, every_seconds: float
) -> str | None:
    name = _name(wanted)
    before, mark = inspection.look([wanted], folder), inspection.read_mark(wanted, folder)
    if bad := next((report for report in before if report.status is inspection.Status.BAD), None):
        return f"{bad.path} {bad.detail}; delete it first"
    foreign = any(report.status is inspection.Status.PRESENT for report in before)
    if any(report.status is inspection.Status.MISSING for report in before):
        watcher.say(f"{name}: generating ({_KNOWN.get((wanted.kind, wanted.sector_size), 'time unknown')})")
        started = time.monotonic()
        if not foreign:
            # First: killed after a file has got its name, nobody could tell any more that it was made here.
            known = mark.files if mark is not None else {}
            here = {one.name: known[one.name] for one in before if one.size_bytes and one.name in known}
            inspection.write_mark(wanted, folder, inspection.Mark(wanted.kind, wanted.sector_size, here))
        try:
            if failure := await _run_child(wanted, folder, watcher, every_seconds):
                return failure
        finally:
            inspection.drop_mark_alone(wanted, folder)
        watcher.say(f"{name}: generated in {units.brief_duration(time.monotonic() - started)}")
    else:
        watcher.say(f"{name}: already here")
        if mark is not None and len(mark.files) == len(wanted.files):
            return None
    if foreign and not adopt:
        watcher.say(f"{name}: not marked as generated on this machine; if it was, mark it with --adopt")
        return None
    made = await anyio.to_thread.run_sync(inspection.mark_of, wanted, folder)
    if all(made.files[file.name].digest == file.digest for file in wanted.files):
        watcher.say(f"{name}: these are the published files")
        return None
    inspection.write_mark(wanted, folder, made)
    if foreign:
        watcher.say(f"{name}: marked as generated on this machine")
    return None


async def _run_child(wanted: catalog.FileSet, folder: Path, watcher: Watcher, every_seconds: float) -> str | None:
    """Run the child to its end; return its last words if it fails."""
    command = [sys.executable, "-m", "damocles.parameters.maker", wanted.kind, str(wanted.sector_size)]
    environment = {**os.environ, catalog.CACHE_VARIABLE: str(folder), host.PARENT_VARIABLE: str(os.getpid())}
    with tempfile.TemporaryFile() as words:
        process = await anyio.open_process(command, stdout=words, stderr=words, env=environment, start_new_session=True)
        try:
            await _watch(process, wanted, folder, watcher, every_seconds)
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                with anyio.CancelScope(shield=True):
                    await process.wait()
        if process.returncode == 0:
            return None
        words.seek(max(0, words.seek(0, os.SEEK_END) - _LAST_WORDS_BYTES))
        text = words.read().decode(errors="replace").strip()
    return text or f"the child process ended with code {process.returncode} (killed for lack of memory?)"


async def _watch(
    process: anyio.abc.Process, wanted: catalog.FileSet, folder: Path, watcher: Watcher, every_seconds: float
) -> None:
    part = part_of(wanted, folder)
    started = time.monotonic()
    while process.returncode is None:
        with anyio.move_on_after(every_seconds):
            await process.wait()
        so_far = [f"{units.brief_duration(time.monotonic() - started)} so far"]
        if memory_bytes := _memory_of(process.pid):
            so_far.append(f"memory {units.human_size(memory_bytes)}")
        if (share := share_of(part)) > 0:
            left_seconds = (time.monotonic() - started) * (1 / share - 1)
            so_far.append(f"{share:.0%} written, about {units.brief_duration(left_seconds)} left")
        watcher.pulse(f"{wanted.kind} {wanted.size_label}", ", ".join(so_far))


def _memory_of(pid: int) -> int:
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def part_of(wanted: catalog.FileSet, folder: Path) -> Path:
    """Return where the large file of a set is while it is being made."""
    return folder / f"{wanted.files[0].name}.part"


def progress(part: Path, seconds: float) -> str:
    """Return how much of a file is made after so many seconds, and when the rest will be; empty before it is begun."""
    share = share_of(part)
    if share == 0:
        return ""
    return f"{share:.0%} written, about {units.human_duration(round(seconds * (1 / share - 1)))} left"


def share_of(path: Path) -> float:
    """Return how much of a file is written that has its final length from the beginning: the share of its blocks."""
    try:
        status = path.stat()
    except OSError:
        return 0.0
    return min(1.0, status.st_blocks * 512 / status.st_size) if status.st_size else 0.0
