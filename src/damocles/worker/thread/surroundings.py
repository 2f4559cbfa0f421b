"""What a sealing thread is given: its settings, what the worker shares among its threads, and its store."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from damocles import pulse
from damocles.sealing import planner, thread
from damocles.stages.supervision import executor
from damocles.stores import identity, sealing
from damocles.stores.outlets import Outlets
from damocles.stores.persist import PersistStore
from damocles.stores.pieces import PieceStores
from damocles.wire import sectors
from damocles.worker import upstream
from damocles.worker.plans import job
from damocles.worker.thread import fitness, reservations, stage_runs

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The configuration of a thread at the moment."""

    plan: str
    options: job.Options
    limits: planner.Limits


@dataclass(slots=True, kw_only=True)
class Gate:
    """Whether threads may begin new sectors, or work at all; why not is shown to people. Wake the threads after a change."""

    closed: bool = False
    why: str = ""
    overdue: bool = False  # a drain's deadline has come: what is in work pauses
    unready: str | None = None  # what everything waits for: journals are read, and nothing is done
    news: pulse.Pulse = field(default_factory=pulse.Pulse)  # when listings change

    def changed(self) -> None:
        """Wake the reporters of the worker."""
        self.news.beat()

    def orders(self) -> thread.Orders:
        """Return the orders for the threads."""
        return thread.Orders(closed=self.closed, why=self.why, overdue=self.overdue, unready=self.unready)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all threads of a worker share."""

    instance: str
    manager: upstream.Manager
    stages: executor.Stages
    persist_stores: Mapping[str, PersistStore]
    static_tree_d: Mapping[sectors.SectorSize, Path]
    pieces: PieceStores
    trash_retention_seconds: float
    outlets: Outlets = Outlets()  # noqa: RUF009 - frozen
    memory: identity.Memory = identity.NOTHING
    gate: Gate = field(default_factory=Gate)
    observe: stage_runs.Observe | None = None
    room: reservations.Reservations = field(default_factory=reservations.Reservations)
    lacking_for_post: fitness.Lacking = lambda _: None


@contextmanager
def opened(location: Path, memory: identity.Memory = identity.NOTHING) -> Iterator[sealing.SealingStore]:
    """Open a store; a folder that does not exist, and never has, becomes one, if its parent exists.

    Raises:
        identity.NotTheStore: Another store was there before: is its disk mounted?
    """
    memory.check(location)
    if not location.exists() and location.parent.is_dir():
        log.warning("sealing store created: there was none", location=str(location))
        sealing.init(location)
    with sealing.opened(location) as store:
        memory.admit(location)
        yield store
