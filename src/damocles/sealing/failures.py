"""Failures of a stage or a call, by what has to be done about them.

Failure
├── Temporary   try again after a while; the budget is `max_retries`, then it becomes Permanent
│   ├── Away        the manager or the chain is not ready: the same, but for as long as it takes
│   │   └── Lacking so is a disk: it is full, or not mounted
│   └── NotServed   the manager does not have the method: the same, and a person has to look
├── Permanent   an operator has to look; the thread pauses and keeps the sector
├── Critical    the machine or its files are not in order; the thread pauses too
└── Abort       the sector cannot be finished; it is aborted and its files go to the trash
"""

import enum

from damocles.text import redaction
from damocles.wire import codec


class Level(enum.Enum):
    """The four levels; values are the names in `ReportState`."""

    TEMPORARY = "Temporary"
    PERMANENT = "Permanent"
    CRITICAL = "Critical"
    ABORT = "Abort"


class Failure(Exception):
    """A stage or call failed; the message is the cause, `level` what to do."""

    level = Level.CRITICAL

    def __init__(self, message: str) -> None:
        super().__init__(redaction.text(codec.plain(message)))  # to be recorded, sent and shown

    @property
    def text(self) -> str:
        """The error as listings show it: `permanent: No cached parameters found …`."""
        return f"{self.level.value.lower()}: {self}"


class Temporary(Failure):
    """Worth another try: the state is tried again after a while, `max_retries` times; then the thread pauses."""

    level = Level.TEMPORARY


class Away(Temporary):
    """The manager cannot be reached, or a message is on its way to the chain: it is tried for as long as it takes."""


class Lacking(Away):
    """A disk of this machine is full, or not mounted: it is tried for as long as it takes."""


class Full(Lacking):
    """A disk is full: it goes on once there is room.

    `reason` is the system's error.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"no room in {place}: {reason}; it goes on once there is room")
        self.reason = reason


class NotServed(Temporary):
    """The manager does not have the method: it is of another release, or was started without that part. It is tried again, and a person has to look."""


class Permanent(Failure):
    """It does not heal by itself: the thread pauses and keeps the sector until an operator resumes it."""

    level = Level.PERMANENT


class Stale(Permanent):
    """The sector belongs to another worker now; what lies here is no longer valid."""


class Unknown(Permanent):
    """The manager has no such sector in progress. It may be the wrong manager, or one that has lost its database."""


class Critical(Failure):
    """The machine or its files are not in order: the thread pauses and keeps the sector until an operator resumes it."""

    level = Level.CRITICAL


class Abort(Failure):
    """The sector cannot be finished: it is aborted, and its files go to the trash."""

    level = Level.ABORT
