"""Structs of our own control API (`Damocles.*`), which workers and managers serve beside the original's methods.

Times are unix seconds. A struct may gain fields with defaults; old peers ignore them.
"""

from typing import Annotated, Any, TypeAlias

import msgspec

from damocles.text import redaction, units
from damocles.wire import fleet, seal

# How long something shall last or may take: an end that no calendar has could be neither kept nor shown.
Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=units.LONGEST_SECONDS)]


MOST_WORKERS = 256  # that one call can name
MOST_OTHERS = 1000  # sectors, threads, states or plans
WorkerNames: TypeAlias = Annotated[list[str], msgspec.Meta(max_length=MOST_WORKERS)]
Names: TypeAlias = Annotated[list[str], msgspec.Meta(max_length=MOST_OTHERS)]


class Waiting(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a thread waits for and since when; `until` if that is known."""

    what: str
    since: float
    until: float | None = None


class Progress(msgspec.Struct, frozen=True):
    """How far a stage is, in bytes (`B`) or whatever `unit` names; `total` is null where it is unknown.

    `per_second` is its pace over the last minute, null until that is known.
    """

    done: int
    total: int | None
    unit: str
    per_second: float | None = None


class ThreadDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A sealing thread with everything that helps to understand it."""

    info: fleet.ThreadInfo
    worker: str = ""  # the manager fills in its name for the worker, and where it called it
    dest: str = ""
    sector: str | None = None
    since: float  # of the thread's present activity
    waiting: Waiting | None = None
    pid: int | None = None  # of the process that runs the stage
    progress: Progress | None = None  # of the stage, if it tells
    host: str = ""  # of that process
    far_host: str = ""  # the same, where it is not the worker's
    attempt: int = 1
    retries: int = 0
    paused_at: float | None = None
    pausing: bool = False  # a pause is asked for and comes at the next boundary
    unrecorded: bool = False  # and would be forgotten by a restart, since the store's disk has not taken it yet
    draining: bool = False
    state_since: float | None = None  # when the sector came to its state


class Selection(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A selection of threads; all given conditions must match. An empty one selects nothing: set `all`.

    `workers` are names, addresses or patterns (`gpu-*`); `states` names of sector states; `error` a part of the last
    error's text; `paused` whether the thread is paused.
    """

    all: bool = False
    workers: WorkerNames = []
    indexes: Annotated[list[int], msgspec.Meta(max_length=MOST_OTHERS)] = []
    sectors: Names = []
    states: Names = []
    plans: Names = []
    error: str | None = None
    paused: bool | None = None


class Act(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An act on a thread: `pause`, `resume` or `abort`. A dry run only predicts the outcome.

    The reason has no secrets: it goes to logs and histories.
    """

    verb: str
    now: bool = False  # pause: kill the running stage
    state: str | None = None  # resume: from this state
    dry_run: bool = False
    reason: str = ""

    def __post_init__(self) -> None:
        """Hide them."""
        msgspec.structs.force_setattr(self, "reason", redaction.text(self.reason))


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What an act did to a thread (or would do), or why it was refused.

    `silent` means that no answer came, so that the effect is unknown. Without an index, the outcome is for the whole worker,
    which could not list its threads or has none that match. `before` and `after` are what the thread did and its sector's state, like `Paused C1Done`; after an
    act that takes effect later, `after` is how it looked when the answer was given, and of a dry run how it would look.
    """

    worker: str = ""
    dest: str = ""
    index: int | None = None
    sector: str | None = None
    state: str = ""
    before: str = ""
    after: str = ""
    ok: bool
    silent: bool = False
    text: str


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """A worker that gave no answer, and why."""

    worker: str
    dest: str = ""
    reason: str


class FleetThreads(msgspec.Struct, frozen=True, kw_only=True):
    """The selected threads of all workers that answered, and those that did not."""

    threads: list[ThreadDetail] = []
    silent: list[Silence] = []


class Transition(msgspec.Struct, frozen=True):
    """When a worker came to a status."""

    at: float
    status: str


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A worker in the manager's registry.

    `status` is `live`, `late` (two pings that were due have not come) or `lost` (none for the expiration time).
    `interval_seconds` is the manager's estimate of its ping interval. Transitions are those that this manager has
    seen since its start, oldest first. `sharing` has the addresses of all workers that ping under this name, if there is
    more than one; everything else is of the one that pinged last.
    """

    info: fleet.WorkerInfo
    status: str
    last_ping: float
    age_seconds: float  # of the last ping, by the manager's clock
    interval_seconds: float
    transitions: list[Transition] = []
    sharing: list[str] = []


class ManagerSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A manager that a worker may call, and the error of its last call if that failed; `in_use` is true of one.

    `answered_since` is when the worker came to the one that answers.
    """

    url: str
    in_use: bool
    answered_since: float | None = None
    error: str = ""


class ManagerBeside(msgspec.Struct, frozen=True, kw_only=True):
    """A manager on the database: its machine and home, where it listens and since when it runs; `is_asked` is true of the one that answers.

    `silent_seconds` have gone since it was heard of last, if that is so long that it may be dead.
    """

    name: str
    address: str
    since: float
    is_asked: bool = False
    silent_seconds: float | None = None


class LogLine(msgspec.Struct, frozen=True):
    """A line of a stage's process; `number` counts up, also over restarts of the worker.

    `host` is the machine of the process, where that is not the worker's.
    """

    number: int
    at: float
    stage: str
    pid: int
    text: str
    sector: str = ""
    host: str = ""


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A step in the life of a sector, from the journal of the store that it happened in.

    Without a state it is a call to the manager, whose name is the event.
    """

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
    by: str = ""  # the token and the address that told the manager of it
    hosts: list[str] = []  # other machines on which stages of it ran

    def __post_init__(self) -> None:
        """Hide secrets that an earlier release has written into the journal."""
        if self.error is not None:
            msgspec.structs.force_setattr(self, "error", redaction.text(self.error))


class SectorHistory(msgspec.Struct, frozen=True, kw_only=True):
    """The life of a sector wherever it happened, oldest first, and the workers that could not be asked."""

    entries: list[HistoryEntry] = []
    silent: list[Silence] = []


TIMES_AT_ONCE = (
    5000  # sectors in an answer: a hundred thousand at once would take a second of a core, and all that memory
)


class SectorTimes(msgspec.Struct, frozen=True, kw_only=True):
    """When a sector was handed out last, and since when it is in its state; nobody has reported when one came there that was imported."""

    sector: str
    handed_out: float
    since: float | None = None


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a worker takes new sectors, and how far it has come in finishing those it has.

    At `deadline` the threads that still hold a sector are paused at their next boundary. Of the sectors in progress, `paused`
    are those that will not end before somebody resumes or aborts them. `was_on` is the previous value, in the answer to
    a change.
    """

    on: bool
    since: float | None = None
    deadline: float | None = None
    reason: str = ""
    busy: list[str] = []  # sectors still in work
    paused: list[str] = []
    was_on: bool | None = None

    def __post_init__(self) -> None:
        """Hide what is secret in the reason, which everybody sees who may look."""
        msgspec.structs.force_setattr(self, "reason", redaction.text(self.reason))


class Token(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A token as lists show it; `id` is the beginning of its text. One of scope worker is for one `worker` or `shared`."""

    id: str
    name: str
    scope: str
    created: float
    created_by: str
    expires: float | None = None
    revoked: float | None = None
    used: float | None = None
    worker: str | None = None
    shared: bool = False


class NewToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token that was just made, and its text, which nobody will see again."""

    token: Token
    text: str


class AuditEntry(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A change that somebody asked for; `who` is like `alice via manager` if the manager passed it on.

    `names` are those of the parameters, as far as `params` has them.
    `params` are as they came, but for secrets, `before` and `after` what is known of the thing that was changed, `outcome`
    is the result (left out if it is secret) or the error's text. What is too long or too deep is cut, and then a text
    instead of a value. Of a change that has not `ended`, and of one that was cut off with its daemon, nobody knows what
    came of it.
    """

    id: int = 0
    at: float
    who: str
    address: str
    what: str
    names: list[str] = []
    params: Any = None
    reason: str = ""
    sectors: list[str] = []
    before: Any = None
    after: Any = None
    ok: bool
    outcome: Any = None
    ended: bool = True


class AuditEnd(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What becomes known of an entry when its change has ended."""

    ok: bool
    outcome: Any = None
    before: Any = None
    after: Any = None
    sectors: list[str] = []


class AuditQuery(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Which entries of an audit; what is given must hold together. `after_id` continues a longer list."""

    since: float | None = None
    who: str | None = None
    what: str | None = None  # a part of the method's name, in any case
    sector: str | None = None
    after_id: int = 0
    limit: int = 1000


class ReloadRequest(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A configuration to be read again, or a dry run of that."""

    dry_run: bool = False
    reason: str = ""


class MinerChange(msgspec.Struct, frozen=True, kw_only=True):
    """A miner whose table has changed, and in which keys."""

    miner: int
    keys: list[str]


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """What a configuration that was read again has changed: miners, and keys that take a restart."""

    file: str
    added: list[int] = []
    changed: list[MinerChange] = []
    removed: list[int] = []
    needs_restart: list[str] = []


# The identity of a sealing store, as its journal has it.
Store: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]


class Claimed(msgspec.Struct, frozen=True):
    """A sector handed out, and the number of the attempt that its holder may work under."""

    allocated: seal.AllocatedSector
    attempt: int


class Handed(msgspec.Struct, frozen=True):
    """Work on a proven sector, in the form of the method of the same name in `Venus`, and the attempt as in `Claimed`."""

    given: msgspec.Raw
    attempt: int
