"""What a task in the child can report to its parent while it runs."""

import threading
import time
from collections.abc import Callable

from damocles.stages import protocol

_REPORT_SECONDS = 1.0


class Cancelled(Exception):
    """Nobody waits for this task any more."""

    def __init__(self) -> None:
        super().__init__("cancelled: nobody waits for this task any more")


class Job:
    """One task: where its news go, and whether anybody still wants it.

    Native calls neither report nor stop; the loops of ours do both in `progress`.
    """

    def __init__(self, send: Callable[[protocol.Progress | str], None] | None = None) -> None:
        self._send = send
        self._cancelled = threading.Event()
        self._reported = 0.0

    def cancel(self) -> None:
        """Ask the task to end; called by another thread."""
        self._cancelled.set()

    def check(self) -> None:
        """Raise `Cancelled` if the task should end."""
        if self._cancelled.is_set():
            raise Cancelled

    def progress(self, done: int, total: int | None, unit: str = "B") -> None:
        """Report how far the task is, once a second at most, and `check`."""
        self.check()
        now = time.monotonic()
        if self._send is not None and (now - self._reported >= _REPORT_SECONDS or done == total):
            self._reported = now
            self._send(protocol.Progress(done, total, unit))

    def wait(self, text: str, done: int, total: int | None, unit: str = "B") -> None:
        """Report, and log, that the task is stalled and why; the next `progress` means that it goes on."""
        self.log(text)
        self._reported = 0.0
        if self._send is not None:
            self._send(protocol.Progress(done, total, unit, text))

    def log(self, text: str) -> None:
        """Send a line for the log of this task."""
        if self._send is not None:
            self._send(text)
