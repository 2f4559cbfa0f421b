"""Take over the pauses that an earlier release kept in a file of the worker's home: now a wish is in the store's journal.

The file is read once, at the start. A store whose disk is away keeps its line until it is back.
"""

from collections.abc import Iterable
from pathlib import Path

import anyio.to_thread
import msgspec
import structlog

from damocles import durable
from damocles.wire import codec
from damocles.worker.thread import loop, surroundings

log = structlog.get_logger(__name__)

FILE_NAME = "pauses.json"


class Earlier:
    """The pauses in the file; `take_over` before the threads run, `run` beside them."""

    def __init__(self, home: Path) -> None:
        self._file = home / FILE_NAME
        self._locations: frozenset[str] = frozenset()
        self._waits: list[loop.SealingThread] = []
        try:
            self._locations = frozenset(codec.decode(self._file.read_bytes(), list[str]))
        except FileNotFoundError:
            pass
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("file of pauses is damaged; ignoring it", file=str(self._file), error=str(error))

    def take_over(self, all_threads: Iterable[loop.SealingThread]) -> None:
        """Pause the threads of these stores."""
        self._waits = [thread for thread in all_threads if str(thread.location) in self._locations]
        for thread in self._waits:
            thread.pause()

    async def run(self, gate: surroundings.Gate) -> None:
        """Drop the pauses that journals have by now; return once none is left."""
        while self._waits:
            recorded = [thread for thread in self._waits if thread.mind.is_loaded and not thread.mind.is_unrecorded]
            if not recorded:
                await gate.news.wait()
                continue
            self._locations -= {str(thread.location) for thread in recorded}
            self._waits = [thread for thread in self._waits if thread not in recorded]
            try:
                await anyio.to_thread.run_sync(self._write, abandon_on_cancel=True)
            except OSError as error:
                # At worst its pauses come once more, after the next start.
                log.warning("file of pauses not written", file=str(self._file), error=str(error))

    def _write(self) -> None:
        if self._locations:
            durable.replace(self._file, codec.encode(sorted(self._locations)))
        else:
            self._file.unlink(missing_ok=True)
