"""Read sectors before a window PoSt: one on a disk that hangs must not cost all the others.

Of each sector, the parts are read that the proof will need. A read that hangs cannot be interrupted; it is abandoned
in a thread of ours. In the library of proofs it would block one of the few threads that all sectors
share, and with some of them hanging no sector could be proved any more.

The lengths of the files are checked: with a cut file the library fails for all sectors instead of naming this
one. The library itself finds damaged content.
"""

import os
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from damocles import proofs
from damocles.stages import job, settings
from damocles.stores import exhausted, layout
from damocles.wire import sectors, tasks

READERS = 8  # of a folder at a time: more would get in each other's way on one disk

_PROOF_SIZE = re.compile(r"StackedDrg(?:Window|Winning)(\d+[KMG]iB)V")
_LEAF_BYTES = 32
_BLOCK_BYTES = 4096
_POLL_SECONDS = 0.1

Challenges = Mapping[int, Sequence[int]]
Read = Callable[[tasks.Replica, sectors.SectorSize, Sequence[int]], None]


@dataclass(slots=True)
class _Reading:
    """A sector under way."""

    replica: tasks.Replica
    began: float
    is_done: bool = False
    error: Exception | None = None


@dataclass(slots=True)
class _Folder:
    """The sectors of one folder, most likely on one disk."""

    waiting: list[tasks.Replica] = field(default_factory=list)
    running: list[_Reading] = field(default_factory=list)
    hung: int = 0  # in a row

    def next(self) -> tasks.Replica | None:
        """Return the next sector to read, if it is time for it.

        When nothing here answers any more, all that is left is tried at once, so that the folder costs its time limit
        once or twice and not once for each sector.
        """
        if self.waiting and (len(self.running) < READERS or self.hung >= READERS):
            return self.waiting.pop()
        return None


def check(
    task: tasks.CheckReplicas, challenges: Challenges, around: job.Job, read: Read | None = None
) -> list[tasks.Fault]:
    """Return the sectors that cannot be read within the time limit, by number, each with the reason.

    A panic of the library, or a defect, is raised.

    Args:
        task: The sectors.
        challenges: The leaves of each that the proof needs.
        around: Receives the number of sectors read, and may end the task.
        read: Reads one sector; by default `read_replica`.
    """
    size = _sector_size(task.proof_type)
    folders: dict[Path, _Folder] = defaultdict(_Folder)
    for replica in reversed(task.replicas):
        folders[Path(replica.sealed_file).parent].waiting.append(replica)
    faults: dict[int, str] = {}
    news = threading.Event()

    def work(reading: _Reading) -> None:
        number = reading.replica.sector_id
        try:
            (read or read_replica)(reading.replica, size, challenges[number])
        except Exception as error:  # noqa: BLE001 - handed over to the thread that waits
            reading.error = error
        reading.is_done = True
        news.set()

    def start(folder: _Folder, replica: tasks.Replica) -> None:
        reading = _Reading(replica, time.monotonic())
        folder.running.append(reading)
        threading.Thread(target=work, args=(reading,), name="replica", daemon=True).start()

    def settle(folder: _Folder, reading: _Reading) -> None:
        reason = ""
        if reading.is_done:
            folder.hung = 0
            reason = "" if reading.error is None else reason_of(reading.error, reading.replica)
        elif time.monotonic() - reading.began >= task.seconds:
            folder.hung += 1
            reason = f"{reading.replica.sealed_file} or its cache was not read within {task.seconds:g} s"
        else:
            return
        folder.running.remove(reading)
        if reason:
            faults[reading.replica.sector_id] = reason
            around.log(f"sector {reading.replica.sector_id}: {reason}")

    while left := sum(len(folder.waiting) + len(folder.running) for folder in folders.values()):
        around.progress(len(task.replicas) - left, len(task.replicas), "sectors")
        for folder in folders.values():
            while (chosen := folder.next()) is not None:
                start(folder, chosen)
        news.wait(_POLL_SECONDS)
        news.clear()
        for folder in folders.values():
            for reading in list(folder.running):
                settle(folder, reading)
    return [tasks.Fault(number, reason) for number, reason in sorted(faults.items())]


def reason_of(error: Exception, replica: tasks.Replica) -> str:
    """Return why a sector cannot be proved; raise what is not the sector's trouble."""
    if isinstance(error, OSError) and not exhausted.is_lacking(error):
        return f"{error.filename or replica.sealed_file}: {error.strerror or error}"
    if isinstance(error, proofs.ProofsError) and not isinstance(error, proofs.ProofsPanic):
        return f"{replica.sealed_file} or its cache is damaged: {error}"
    raise error


def unusable(task: tasks.WindowPoSt) -> list[tasks.Fault]:
    """Return the sectors with files that are missing or cut; reads next to nothing, and waits for disks that hang."""
    size, faults = _sector_size(task.proof_type), []
    for replica in task.replicas:
        try:
            read_replica(replica, size, ())
        except OSError as error:
            faults.append(tasks.Fault(replica.sector_id, reason_of(error, replica)))
    return faults


def read_replica(replica: tasks.Replica, size: sectors.SectorSize, leaves: Sequence[int]) -> None:
    """Read the challenged places of the sealed file, and both ends of each file of the cache.

    Raises:
        OSError: A file is missing, unreadable or too short.
    """
    with Path(replica.sealed_file).open("rb", buffering=0) as file:
        found = os.fstat(file.fileno()).st_size
        if found != size:
            raise OSError(0, f"has {found} bytes, a sector of this proof has {int(size)}", replica.sealed_file)
        for leaf in leaves:
            offset = leaf * _LEAF_BYTES // _BLOCK_BYTES * _BLOCK_BYTES
            if not os.pread(file.fileno(), _BLOCK_BYTES, offset):
                raise OSError(0, f"cannot be read at {offset}", replica.sealed_file)
    cache, rows = Path(replica.cache_dir), settings.rows_to_discard()
    read_p_aux(cache)
    for name in layout.tree_r_last_names(size):
        _read_ends(cache / name, lambda found: settings.tree_problem(found, size, rows))


def read_p_aux(cache: Path) -> None:
    """Read the commitments in a cache, of which the library names neither the file nor the sector if they are cut.

    Raises:
        OSError: They are missing, unreadable or cut.
    """
    _read_ends(cache / "p_aux", _want_of_p_aux)


def _read_ends(path: Path, want: Callable[[int], str]) -> None:
    with path.open("rb", buffering=0) as file:
        found = os.fstat(file.fileno()).st_size
        if wanted := want(found):
            raise OSError(0, f"has {found} bytes, {wanted}", str(path))
        for offset in (0, max(0, found - _BLOCK_BYTES)):
            os.pread(file.fileno(), _BLOCK_BYTES, offset)


def _want_of_p_aux(found: int) -> str:
    return f"it should have {layout.P_AUX_BYTES}" if found < layout.P_AUX_BYTES else ""


def _sector_size(proof_type: str) -> sectors.SectorSize:
    match = _PROOF_SIZE.match(proof_type)
    if match is None:
        raise ValueError(f"{proof_type!r} is not a PoSt proof: expected a name like StackedDrgWindow32GiBV1_2")
    return sectors.SectorSize.parse(match[1])
