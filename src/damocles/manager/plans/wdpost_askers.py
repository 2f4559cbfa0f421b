"""Who asks for window PoSts, and could therefore take a job.

Workers ask once a minute unless told otherwise, so a process that has just begun has heard of nobody. If it took the only one that has
asked yet for the only one there is, it would believe whatever that one reports. So it keeps who has asked, and takes those whom the process
before it knew for workers that ask at its start. On a database of several managers it keeps each of them several times while it counts, and reads
whom the others have heard.
"""

from collections.abc import Iterable

from sqlalchemy import Connection, delete, insert, select

from damocles.manager.db import tables
from damocles.manager.db.engine import Database
from damocles.manager.plans import wdpost_turns
from damocles.wire import codec, wdpost

# A worker that has asked for jobs since then could take one.
ASKING_SECONDS = 150.0
_KEPT_SECONDS = 24 * 3600.0
_AGAIN_SECONDS = 3600.0  # after which it is kept anew
_AGAIN_FOR_OTHERS_SECONDS = 30.0

_askers = tables.wdpost_askers


class Askers:
    """Who has asked for which jobs, and when; `since` is when this process began to hear them."""

    def __init__(self, database: Database, since: float) -> None:
        self._database = database
        self._since = since
        self._is_restored = False
        self._last: dict[str, tuple[wdpost.AllocateSpec, float]] = {}
        self._kept: dict[str, tuple[wdpost.AllocateSpec, float]] = {}

    async def restore(self, now: float) -> None:
        """Know whom the process before knew, and whom other managers know: a lone report must not count as everybody's."""
        if not self._is_restored:
            known = await self._database.read(lambda tx: load(tx, self._since - _KEPT_SECONDS))
            for worker, (spec, _) in known.items():
                self._last.setdefault(worker, (spec, self._since))
            self._is_restored = True
        if self._database.is_shared:
            heard = await self._database.read(lambda tx: load(tx, now - ASKING_SECONDS))
            for worker, said in heard.items():
                if worker not in self._last or self._last[worker][1] < said[1]:
                    self._last[worker] = said

    def heard(self, worker: str, spec: wdpost.AllocateSpec, now: float) -> bool:
        """Take note that a worker asks; return whether that is to be kept, too."""
        self._last = {name: said for name, said in self._last.items() if said[1] + ASKING_SECONDS >= now}
        self._last[worker] = (spec, now)
        kept_spec, kept_at = self._kept.get(worker, (None, 0.0))
        again_seconds = _AGAIN_FOR_OTHERS_SECONDS if self._database.is_shared else _AGAIN_SECONDS
        if kept_spec == spec and now < kept_at + again_seconds:
            return False
        self._kept[worker] = (spec, now)
        return True

    def of(self, record: wdpost.Record, at_work: Iterable[wdpost.Record], now: float) -> set[str]:
        """Return who could take a job: workers that asked for such jobs recently, or have another one that they are not slow at."""
        asking = {
            name
            for name, (spec, at) in self._last.items()
            if at + ASKING_SECONDS >= now and wdpost_turns.fits(spec, record.input)
        }
        return asking | {
            other.worker for other in at_work if other.state is wdpost.State.RUNNING and other.id != record.id
        }


def load(tx: Connection, since: float) -> dict[str, tuple[wdpost.AllocateSpec, float]]:
    """Return the workers that have asked since a time, as far as it is kept: what for, and when."""
    rows = tx.execute(select(_askers).where(_askers.c.at >= since)).all()
    return {row.worker: (codec.decode(row.spec, wdpost.AllocateSpec), row.at) for row in rows}


def keep(tx: Connection, worker: str, spec: wdpost.AllocateSpec, now: float) -> None:
    """Keep that a worker asks, and forget those that have not asked for a day."""
    tx.execute(delete(_askers).where((_askers.c.worker == worker) | (_askers.c.at < now - _KEPT_SECONDS)))
    tx.execute(insert(_askers).values(worker=worker, spec=codec.encode(spec).decode(), at=now))
