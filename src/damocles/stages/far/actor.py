"""What runs on the far machine: an actor of Ray around a workplace. Ray itself is imported by `driver` alone.

Its calls are threads: `run` in the default group, all others in the group `control`, which a running stage does not hold up.
"""

import os
import platform
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import damocles
from damocles.stages.far import attempts, guard, workplace

CONTROL = "control"
ANSWER = ".answer"  # behind the name of a probe
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Where an actor is, and what is installed there; `stamp` as of `Workplace.renew`."""

    host: str
    damocles: str
    python: str
    stamp: float


def versions() -> dict[str, str]:
    """Return what is installed here; it has to be the same everywhere."""
    return {"damocles": damocles.__version__, "python": platform.python_version()}


def about() -> About:
    """Return where this is, and what is installed here."""
    return About(host=platform.node(), stamp=guard.now(), **versions())


def read(probes: Sequence[str], *, answers: bool) -> Mapping[str, str]:
    """Return what is in these small files on this machine, or why they cannot be read, by their paths.

    With `answers`, write the same into a file beside each, which the machine that asks looks for.
    """
    found = {}
    for probe in probes:
        try:
            found[probe] = Path(probe).read_text()
            if answers:
                Path(probe + ANSWER).write_text(found[probe])
        except (OSError, ValueError) as error:
            found[probe] = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return found


class Slot:
    """One place for a stage. It ends itself when nobody has renewed its lease for twice its length: Ray may take minutes."""

    def __init__(self, work: workplace.Work) -> None:
        self._lease_seconds = work.lease_seconds
        self._place = workplace.Workplace(work)
        threading.Thread(target=self._end_when_forgotten, daemon=True).start()

    def about(self) -> About:
        """Return where this is (see `about`)."""
        return about()

    def run(self, attempt: str, stamp: float, request: bytes) -> Iterator[bytes]:
        """Do a task (see `Workplace.run`)."""
        yield from self._place.run(attempt, stamp, request)

    def renew(self, stamp: float) -> float:
        """Renew the lease (see `Workplace.renew`)."""
        return self._place.renew(stamp)

    def stop(self, attempt: str) -> bool:
        """End an attempt (see `Workplace.stop`)."""
        return self._place.stop(attempt)

    def listed(self, folder: str) -> Mapping[str, int]:
        """Return what is in the folder of an attempt (see `attempts.listed`)."""
        return attempts.listed(Path(folder))

    def read(self, probes: Sequence[str], *, answers: bool) -> Mapping[str, str]:
        """Return what is in these small files here (see `read`)."""
        return read(probes, answers=answers)

    def _end_when_forgotten(self) -> None:
        while self._place.overdue_seconds < self._lease_seconds:
            time.sleep(_LOOK_SECONDS)
        sys.stderr.write("nobody has renewed the lease of this slot: it ends\n")
        self._place.close()
        os._exit(1)
