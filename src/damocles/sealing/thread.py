"""A sealing thread as a value: its sector, what operators want of it, what it does; and the events that can happen to it.

`shift.step` leads from one value to the next. Two helpers carry it out: the hands, which do one `Task` at a time and
answer each with one event, and the pen, which writes into the journal of the thread's store beside them.
"""

from dataclasses import dataclass, field

from damocles.sealing import events, planner
from damocles.sealing.sectors import Sector
from damocles.wire import control
from damocles.wire.sectors import SectorID

# What the hands do; what the planner says about a sector is among it.


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Read the thread's options; answer `OptionsRead` or `Unread`."""


@dataclass(frozen=True, slots=True)
class OpenStore:
    """Open the store and look what its journal holds; answer `Found` or `OutOfOrder`."""


@dataclass(frozen=True, slots=True)
class Mend:
    """Wait until somebody resumes; if what is wrong may heal by itself, for some seconds at most (`Waited`)."""

    failure: str
    seconds: float | None = None
    again: "ReadOptions | OpenStore | None" = None  # what is tried again then, if nothing is to be recorded
    cause: Exception | None = None  # a defect of ours, for the log


@dataclass(frozen=True, slots=True)
class Await:
    """Wait until the worker's `Orders` let the thread work."""

    what: str
    is_idle: bool  # it has no sector, and may not begin one


@dataclass(frozen=True, slots=True)
class LookForRoom:
    """Look whether a sector of this plan may be begun; answer `Room`."""

    plan: str


@dataclass(frozen=True, slots=True)
class Claim:
    """Ask the manager for the next attempt at the sector; answer `Granted` or `NotGranted`."""

    sector: SectorID


@dataclass(frozen=True, slots=True)
class End:
    """Do nothing more."""


Task = planner.Action | ReadOptions | OpenStore | Mend | Await | LookForRoom | Claim | End


# What the pen does.


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Record a step of the sector, or a wish; answer `Recorded` or `Unrecorded`. What the step leads to follows then."""

    before: Sector
    event: events.Event
    after: Sector
    at: float  # unix seconds
    seconds: float | None = None  # that the handler ran whose result this is
    hosts: tuple[str, ...] = ()  # other machines on which its stages ran
    instructions: tuple[planner.Instruction, ...] = ()

    @property
    def is_wish(self) -> bool:
        """Whether nothing but what is wanted of the thread changes."""
        return isinstance(self.event, events.PauseWanted | events.PauseDropped)


@dataclass(frozen=True, slots=True)
class Rest:
    """A wish could not be recorded: let some seconds go by and answer `Rested`, or take up the next entry before."""

    seconds: float


# What can happen. Requests first.


@dataclass(frozen=True, slots=True)
class Asked:
    """Abort the sector, or take the manager's report on it; with `now` a running stage is ended for that.

    If `sector` is given, a thread that has another one by now ignores this.
    """

    event: events.Abort | events.Withdrawn | events.Failed
    now: bool
    sector: SectorID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What holds for all threads of a worker; it happens to a thread whenever it changes."""

    closed: bool = False  # no new sector is begun
    why: str = ""
    overdue: bool = False  # the deadline of a drain has come: what is in work pauses
    unready: str | None = None  # what everything waits for


@dataclass(frozen=True, slots=True)
class Stop:
    """The thread ends at its next boundary, with the worker or alone; with `now` a running stage is ended for that."""

    now: bool = False


@dataclass(frozen=True, slots=True)
class Leave:
    """The thread begins no further sector, and ends once it has none."""


# Answers of the hands and of the pen.


@dataclass(frozen=True, slots=True)
class Done:
    """An action of the planner's is over, with this event of the sector."""

    event: events.Event
    seconds: float | None = None
    hosts: tuple[str, ...] = ()

    def entry(self, before: Sector, after: Sector, at: float, instructions: tuple[planner.Instruction, ...]) -> Entry:
        """Return what to record of it."""
        return Entry(
            before=before,
            event=self.event,
            after=after,
            at=at,
            seconds=self.seconds,
            hosts=self.hosts,
            instructions=instructions,
        )


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The task was ended early, since something else was wanted."""


@dataclass(frozen=True, slots=True)
class Waited:
    """The time of `Mend` is over."""


@dataclass(frozen=True, slots=True)
class OptionsRead:
    """The thread's options, as far as they matter for its decisions."""

    plan: str
    limits: planner.Limits


@dataclass(frozen=True, slots=True)
class Unread:
    """The options cannot be read; those from before stay in force."""

    failure: str
    shown: str  # while the thread goes on without them


@dataclass(frozen=True, slots=True)
class Found:
    """The store is open; its journal holds this."""

    sector: Sector | None


@dataclass(frozen=True, slots=True)
class OutOfOrder:
    """The store cannot be used."""

    failure: str
    heals: bool


@dataclass(frozen=True, slots=True)
class Room:
    """What is lacking for another sector, if anything is."""

    lacking: str | None


@dataclass(frozen=True, slots=True)
class Granted:
    """The sector is ours, under this attempt if the manager knows attempts."""

    attempt: int | None


@dataclass(frozen=True, slots=True)
class NotGranted:
    """The manager has not answered; stages harm nobody, and calls are held back until it does."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The entry is on the disk."""


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """The entry is not, or nobody knows."""

    failure: str
    heals: bool


@dataclass(frozen=True, slots=True)
class Rested:
    """The pen may try again."""


# What the hands say while they are at a task.


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What the handler's stage does: it waits for `what`, or the processor `what` works on it."""

    waits: bool
    what: str | None = None
    pid: int | None = None
    host: str = ""  # where that is another machine
    progress: control.Progress | None = None
    stalled: control.Waiting | None = None


@dataclass(frozen=True, slots=True)
class StageShown:
    """The handler's stage has come this far; none: it is over."""

    stage: Stage | None


@dataclass(frozen=True, slots=True)
class Calling:
    """A call to the manager has no answer yet; none: it has one."""

    call: control.Waiting | None


@dataclass(frozen=True, slots=True)
class Taken:
    """The sector was claimed on the way to its end."""

    sector: SectorID


Event = (
    events.PauseWanted
    | events.Resume
    | Asked
    | Orders
    | Stop
    | Leave
    | Done
    | Interrupted
    | Waited
    | OptionsRead
    | Unread
    | Found
    | OutOfOrder
    | Room
    | Granted
    | NotGranted
    | Recorded
    | Unrecorded
    | Rested
    | StageShown
    | Calling
    | Taken
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """Everything that a sealing thread decides by."""

    sector: Sector  # as it is recorded, but for what is not worth a record
    plan: str  # of the next sector
    limits: planner.Limits = field(default_factory=planner.Limits)
    orders: Orders = field(default_factory=Orders)

    # What is wanted.
    pause_wanted: bool = False  # also in the sector's record, as soon as that can be written
    resume_wanted: events.Resume | None = None
    asked: events.Event | None = None  # of the sector
    stopping: bool = False
    leaving: bool = False  # no further sector is begun, and then it ends

    # What is done.
    doing: Task | None = field(default_factory=ReadOptions)  # none: the pen has to write first
    halting: bool = False  # the hands are to end what they do
    action: planner.Action | None = None  # what the planner said last
    prepared: frozenset[type[Task]] = frozenset()  # what was done for that already
    result: Done | None = None  # what the planner has to be told next
    writing: Entry | Rest | None = None

    # What is known.
    is_loaded: bool = False  # the journal was read
    claimed: SectorID | None = None  # the sector that this process has an attempt at
    was_idle: bool = False  # the sector's handler found nothing to do the last time
    trouble: str | None = None  # keeps the thread from working, and is not in the journal
    unwritten: Entry | None = None  # what could not be recorded for it
    has_been_out_of_order: bool = False
    unread: str | None = None  # why the options could not be read the last time
    wish_failure: str | None = None  # why the wish could not be recorded the last time
    stage: Stage | None = None
    call: control.Waiting | None = None
    since: float = 0.0  # when `doing` began, in unix seconds

    @property
    def is_paused(self) -> bool:
        """Whether the thread waits for `resume`."""
        return isinstance(self.doing, planner.Hold) or self.trouble is not None

    @property
    def is_ending(self) -> bool:
        """Whether the thread does no more than it has to before it ends."""
        return self.stopping or (self.leaving and self.is_loaded and self.sector.job_id is None)

    @property
    def waits_for_its_turn(self) -> bool:
        """Whether the handler's stage does not run yet."""
        return isinstance(self.doing, planner.Execute) and self.stage is not None and self.stage.waits

    @property
    def is_pausing(self) -> bool:
        """Whether a pause is wanted and has not come yet."""
        return self.pause_wanted or self._writes(events.Pause)

    @property
    def is_resuming(self) -> bool:
        """Whether a resume is wanted and has not come yet."""
        return self.resume_wanted is not None or self._writes(events.Resume)

    @property
    def is_unrecorded(self) -> bool:
        """Whether what is wanted would be forgotten by a restart."""
        return self.is_pausing != self.sector.pause_wanted

    @property
    def pid(self) -> int | None:
        """The process that works on the sector."""
        return self.stage.pid if self.stage is not None else None

    @property
    def host(self) -> str:
        """The other machine on which that process is; empty if it is here, or there is none."""
        return self.stage.host if self.stage is not None else ""

    @property
    def is_at_end(self) -> bool:
        """Whether the sector is over, and needs no more than what is done."""
        return isinstance(self.action, planner.Finalize | planner.Discard)

    def _writes(self, kind: type[events.Event]) -> bool:
        return any(isinstance(one, Entry) and isinstance(one.event, kind) for one in (self.writing, self.unwritten))
