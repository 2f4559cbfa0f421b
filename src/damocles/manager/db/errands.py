"""What a thread is at in a database, and how it is brought back when that does not answer."""

import threading
from collections.abc import Callable


class Errand:
    """One transaction and its repetitions. `end` may come from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cut: Callable[[], None] | None = None
        self.is_over = False

    def begin(self, cut: Callable[[], None]) -> bool:
        """Say how the wait for an answer is cut short; false if there is no time left to wait."""
        with self._lock:
            self._cut = cut
            return not self.is_over

    def done(self) -> None:
        """Say that nothing is waited for any more."""
        with self._lock:
            self._cut = None

    def end(self) -> None:
        """Cut the wait short, and let there be no other."""
        with self._lock:
            self.is_over = True
            if self._cut is not None:
                self._cut()
