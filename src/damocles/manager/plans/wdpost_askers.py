"""Who asks for window PoSts, and could therefore take a job.

Workers ask once a minute unless told otherwise, so a process that has just begun has heard of nobody. If it took the only one that has
asked yet for the only one there is, it would believe whatever that one reports. So it keeps who has asked, and takes those whom the process
before it knew for workers that ask at its start.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, delete, insert, select

from damocles.manager.db import tables
from damocles.manager.plans import wdpost_turns
from damocles.wire import codec, wdpost

# A worker that has asked for jobs since then could take one.
ASKING_SECONDS = 150.0
_KEPT_SECONDS = 24 * 3600.0
_AGAIN_SECONDS = 3600.0  # after which it is kept anew

_askers = tables.wdpost_askers


@dataclass(slots=True)
class Askers:
    """Who has asked for which jobs, and when."""

    _last: dict[str, tuple[wdpost.AllocateSpec, float]] = field(default_factory=dict)
    _kept: dict[str, tuple[wdpost.AllocateSpec, float]] = field(default_factory=dict)

    def heard(self, worker: str, spec: wdpost.AllocateSpec, now: float) -> bool:
        """Take note that a worker asks; return whether that is to be kept, too."""
        self._last = {name: said for name, said in self._last.items() if said[1] + ASKING_SECONDS >= now}
        self._last[worker] = (spec, now)
        kept_spec, kept_at = self._kept.get(worker, (None, 0.0))
        if kept_spec == spec and now < kept_at + _AGAIN_SECONDS:
            return False
        self._kept[worker] = (spec, now)
        return True

    def restored(self, known: Mapping[str, wdpost.AllocateSpec], now: float) -> None:
        """Take workers that were known before for such that ask now."""
        for worker, spec in known.items():
            self._last.setdefault(worker, (spec, now))

    def of(self, record: wdpost.Record, at_work: Iterable[wdpost.Record], now: float) -> set[str]:
        """Return who could take a job: workers that asked for such jobs recently, or have another one."""
        asking = {
            name
            for name, (spec, at) in self._last.items()
            if at + ASKING_SECONDS >= now and wdpost_turns.fits(spec, record.input)
        }
        return asking | {
            other.worker for other in at_work if other.state is wdpost.State.RUNNING and other.id != record.id
        }


def load(tx: Connection, now: float) -> dict[str, wdpost.AllocateSpec]:
    """Return the workers that have asked within a day, with what they asked for last."""
    rows = tx.execute(select(_askers).where(_askers.c.at >= now - _KEPT_SECONDS)).all()
    return {row.worker: codec.decode(row.spec, wdpost.AllocateSpec) for row in rows}


def keep(tx: Connection, worker: str, spec: wdpost.AllocateSpec, now: float) -> None:
    """Keep that a worker asks, and forget those that have not asked for a day."""
    tx.execute(delete(_askers).where((_askers.c.worker == worker) | (_askers.c.at < now - _KEPT_SECONDS)))
    tx.execute(insert(_askers).values(worker=worker, spec=codec.encode(spec).decode(), at=now))
