"""What operators want of the threads of a simulated world, and what must become of it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from damocles.sealing import thread, validity
from damocles.testing.simulation import disks
from damocles.worker import threads


class Watched(threads.SealingThread):
    """A thread that has to make sense after every step."""

    def hear(self, event: thread.Event) -> bool:
        """Let something happen, and look.

        Raises:
            disks.Violation: The thread contradicts itself.
        """
        changed = super().hear(event)
        for flaw in validity.flaws(self.mind):
            raise disks.Violation(f"after {event} of {self.location.name}: {flaw}")
        return changed


@dataclass
class Wishes:
    """Pauses that threads said were recorded, and that had not come when their process died."""

    disk: disks.Disk
    _open: set[tuple[str, str]] = field(default_factory=set)  # name and identity of the store

    def note(self, dying: Iterable[threads.SealingThread]) -> None:
        """Take note of what is wanted of threads that die now."""
        self._open |= {self._store(one) for one in dying if one.pausing and not one.mind.is_unrecorded}

    async def check(self, started: threads.SealingThread) -> None:
        """Wait until a thread has read its journal, and make sure that it knows what is wanted of it.

        Raises:
            disks.Violation: It has forgotten that it was to pause.
        """
        while not started.mind.is_loaded:
            await started.moved()
        store = self._store(started)
        if store in self._open and not (started.pausing or started.paused):
            raise disks.Violation(f"{started.location.name} was to pause, and a restart has forgotten it")
        self._open.discard(store)

    def _store(self, one: threads.SealingThread) -> tuple[str, str]:
        name = one.location.name
        return name, self.disk.journals[name].identity
