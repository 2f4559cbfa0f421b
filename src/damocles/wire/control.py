"""Structs of our own control API (`Damocles.*`), which workers and managers serve beside the original's methods.

Times are unix seconds. A struct may gain fields with defaults; old peers ignore them.
"""

import msgspec

from damocles.wire import fleet


class Waiting(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a thread waits for and since when; `until` if that is known."""

    what: str
    since: float
    until: float | None = None


class ThreadDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A sealing thread with everything that helps to understand it."""

    info: fleet.ThreadInfo
    worker: str = ""  # the manager fills it in
    sector: str | None = None
    since: float  # of the thread's present activity
    waiting: Waiting | None = None
    pid: int | None = None  # of the process that runs the stage
    host: str = ""
    attempt: int = 1
    retries: int = 0
    paused_at: float | None = None
    pausing: bool = False  # a pause is asked for and comes at the next boundary
    draining: bool = False
    state_since: float | None = None  # when the sector came to its state


class Selection(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Which threads; what is given must hold together. Nothing given selects nothing: say `all`.

    `workers` are names, addresses or patterns (`gpu-*`); `states` names of sector states; `error` a part of the last
    error's text; `paused` whether the thread is paused.
    """

    all: bool = False
    workers: list[str] = []
    indexes: list[int] = []
    sectors: list[str] = []
    states: list[str] = []
    plans: list[str] = []
    error: str | None = None
    paused: bool | None = None


class Act(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Do something to a thread: `pause`, `resume` or `abort`.

    `expect_sector` and `expect_state` guard against a thread that has moved on since it was selected: then the act is
    refused. A dry run says what would happen.
    """

    verb: str
    now: bool = False  # pause: kill the running stage
    state: str | None = None  # resume: from this state
    dry_run: bool = False
    reason: str = ""
    expect_sector: str | None = None
    expect_state: str | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What an act did to a thread (or would do), or why it was refused."""

    worker: str = ""
    index: int
    sector: str | None = None
    state: str = ""
    ok: bool
    text: str


class LogLine(msgspec.Struct, frozen=True):
    """A line of a stage's process; `number` counts up over the life of the worker's process."""

    number: int
    at: float
    stage: str
    pid: int
    text: str


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A step in the life of a sector, from the journal of the store that it happened in."""

    at: float
    worker: str = ""
    location: str = ""
    plan: str
    sector: str | None
    attempt: int
    prev: str
    state: str
    event: str
    seconds: float | None = None
    error: str | None = None


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a worker takes new sectors, and how far it has come in finishing those it has.

    At `deadline` the threads that still hold a sector are paused at their next boundary.
    """

    on: bool
    since: float | None = None
    deadline: float | None = None
    reason: str = ""
    busy: list[str] = []  # sectors still in work
