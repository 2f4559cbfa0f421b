"""What a daemon reads again when it gets SIGHUP, instead of ending by it."""

import inspect
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog

log = structlog.get_logger(__name__)


Step: TypeAlias = Callable[[], Awaitable[object] | None]


class Reloads:
    """Files that can be read again while the daemon runs."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, Step]] = []

    def add(self, what: str, step: Step) -> None:
        """Let `step` read `what` again; if it raises, what was read before has to stay in force."""
        self._steps.append((what, step))

    async def run(self) -> None:
        """Read everything again."""
        for what, step in self._steps:
            try:
                done = step()
                if inspect.isawaitable(done):
                    await done
            except Exception as error:  # noqa: BLE001 (whatever is wrong with a file: the daemon goes on)
                log.error("not read again; what was read before stays in force", what=what, error=str(error))
            else:
                log.info("read again", what=what)
        if not self._steps:
            log.info("SIGHUP: there is nothing to read again; other settings take effect at the next start")
