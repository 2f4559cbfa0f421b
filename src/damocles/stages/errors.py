"""What can go wrong with a stage, by what the caller should do.

```
StageError
├── StageFailed        the task failed and would fail again: its message is the processor's own
└── StageDied          the process is gone, the task may be fine: run it again
    └── ChildNotReady  it could not be started: look at its command
```
"""

from collections.abc import Sequence


class StageError(Exception):
    """A stage did not give its output."""

    def __init__(self, stage: str, message: str, pid: int | None = None, detail: str | None = None) -> None:
        super().__init__(message)
        self.stage = stage
        self.message = message
        self.pid = pid
        self.detail = detail  # more than a listing should show: a traceback, or the last lines of stderr
        self.scratch: str | None = None  # where the process had its temporary files


class StageFailed(StageError):
    """The processor answered that the task failed; the text is exactly its `err_msg`."""


class StageDied(StageError):
    """The process ended, or had to be ended, before it answered. Nothing of its work may be trusted."""


class ChildNotReady(StageDied):
    """A processor was started and did not report that it is ready. Run its command by hand to see why."""


def command_text(command: Sequence[str]) -> str:
    """Write a command as one would type it, shortened to what fits in a message."""
    text = " ".join(command)
    return text if len(text) <= 200 else text[:197] + "..."
