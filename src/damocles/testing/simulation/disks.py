"""Journals in memory that know what is synced and what a power cut would take."""

import copy
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from damocles.sealing import events, planner
from damocles.sealing.sectors import Sector
from damocles.sealing.states import State
from damocles.stores import identity, journal, sealing


class Violation(BaseException):
    """An invariant does not hold. Not an `Exception`, which the system under test would handle."""


@dataclass
class SimJournal:
    """What `stores.journal.Journal` does, for one store.

    Two bugs can be planted: `lazy` forgets to sync every third record, `deaf` keeps no wish and says that it has.
    """

    identity: str
    gate: Callable[[], None]  # raises when the machine is gone
    lazy: bool = False
    deaf: bool = False
    synced: Sector | None = None
    present: Sector | None = None
    acted_on: Sector | None = None  # what the thread was last told is safe
    history: list[tuple[State, str, State]] = field(default_factory=list)
    count: int = 0
    full: bool = False

    def load(self) -> Sector | None:
        """Return the present record; it must be what the thread last relied on."""
        self.gate()
        if self.acted_on is not None and self.present != self.acted_on:
            raise Violation(
                f"the journal of {self.identity} went back: {_brief(self.acted_on)} was recorded, {_brief(self.present)} is left"
            )
        return self.present

    def record(
        self,
        before: Sector,
        event: events.Event,
        after: Sector,
        *,
        at: float,
        seconds: float | None = None,
        hosts: Sequence[str] = (),
    ) -> None:
        """Check the step and keep it."""
        self.gate()
        if self.full:
            raise journal.JournalError("cannot write the journal: No space left on device (simulated)")
        if self.deaf and isinstance(event, events.PauseWanted | events.PauseDropped):
            return
        held = self.present if self.present is not None else Sector(plan=before.plan)
        if held.id is not None and (held.state, held.id) != (before.state, before.id):
            raise Violation(f"{event.name} was applied to {_brief(before)}, but the journal holds {_brief(held)}")
        if isinstance(event, events.PlanEvent):
            edges = {(state, name, target) for state, name, target in planner.PLANS[before.plan].edges()}
            if (before.state, event.name, after.state) not in edges:
                raise Violation(f"a state was skipped: {before.state} -{event.name}-> {after.state}")
        self.history.append((before.state, event.name, after.state))
        self.present = self.acted_on = after
        self.count += 1
        if not (self.lazy and self.count % 3 == 0):
            self.synced = after

    def power_cut(self) -> None:
        """Lose what is not synced."""
        self.present = self.synced

    def close(self) -> None:
        """Do nothing."""


class SimStore(sealing.SealingStore):
    """A store whose working files may only go when the sector is over."""

    def clear(self) -> None:
        """Check, and clear."""
        self._must_be(State.Finished)
        super().clear()

    def discard(self, name: str) -> Path | None:
        """Check, and move to the trash."""
        self._must_be(State.Aborted)
        return super().discard(name)

    def _must_be(self, state: State) -> None:
        present = self.journal.load()
        if present is None or present.state is not state:
            raise Violation(f"files of {self.location} are taken away in state {present.state if present else None}")


@dataclass
class Disk:
    """The stores of one simulated world: a real folder each, and a journal."""

    base: Path
    lazy: bool = False
    deaf: bool = False
    journals: dict[str, SimJournal] = field(default_factory=dict)
    users: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)  # that have been opened
    away: dict[str, SimJournal] = field(default_factory=dict)  # of stores that are not mounted

    def make(self, name: str) -> Path:
        """Make a store."""
        location = self.base / name
        (location / "data").mkdir(parents=True)
        self.journals[name] = SimJournal(identity=name, gate=lambda: None, lazy=self.lazy, deaf=self.deaf)
        return location

    def copy(self, name: str, new: str) -> Path:
        """Copy a store to another machine, as an operator would from a dead one's disk."""
        shutil.copytree(self.base / name, self.base / new, symlinks=True)
        twin = copy.copy(self.journals[name])
        twin.history = list(twin.history)
        twin.acted_on, twin.full = None, False
        self.journals[new] = twin
        return self.base / new

    def unmount(self, location: Path) -> None:
        """Take a store away; what is made in its place is another one."""
        location.rename(self.base / f"{location.name} away")
        name = location.name
        self.away[name] = self.journals[name]
        below = f"{name} below the mount point"
        self.journals[name] = SimJournal(identity=below, gate=lambda: None, lazy=self.lazy, deaf=self.deaf)

    def mount(self, location: Path) -> None:
        """Bring it back, over whatever is there."""
        shutil.rmtree(location, ignore_errors=True)
        (self.base / f"{location.name} away").rename(location)
        self.journals[location.name] = self.away.pop(location.name)

    @contextmanager
    def opened(
        self, location: Path, gate: Callable[[], None], memory: identity.Memory
    ) -> Iterator[sealing.SealingStore]:
        """Open a store for one thread, as `worker.thread.surroundings.opened` does."""
        memory.check(location)
        (location / "data").mkdir(parents=True, exist_ok=True)
        memory.admit(location)
        self.seen.add(location.name)
        if location.name in self.users:
            raise sealing.StoreError(f"{location} is in use by another worker")
        book = self.journals[location.name]
        book.gate = gate
        self.users.add(location.name)
        try:
            yield SimStore(location, book)  # type: ignore[arg-type]
        finally:
            self.users.discard(location.name)


def _brief(sector: Sector | None) -> str:
    return "nothing" if sector is None else f"{sector.id} in {sector.state}"
