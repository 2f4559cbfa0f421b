"""Options that the commands on sealing threads share, of both programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from cyclopts import Group, Parameter, Token

from damocles.cli.terminal import exits
from damocles.operating import selection
from damocles.text import spelling, units
from damocles.wire import control, sectors

DEFAULT_TIMEOUT = "5s"

Flag = partial(Parameter, show_default=False)  # an empty default need not be shown

AsJson = Annotated[bool, Flag(name="--json", help="Print JSON.")]
Timeout = Annotated[str, Parameter(name="--timeout", help="How long to wait for an answer.")]
Full = Annotated[bool, Flag(name="--full", help="On a terminal, cut nothing and leave nothing out.")]
Reason = Annotated[str, Flag(name="--reason", help="Why; it is logged.")]
DryRun = Annotated[bool, Flag(name="--dry-run", help="Only report what would happen.")]
Follow = Annotated[bool, Flag(name=["--follow", "-f"], help="Print new lines as they come, until Ctrl-C.")]
LogSector = Annotated[str | None, Flag(name="--sector", help="Only lines of this sector, like s-t010000-2.")]
LogStage = Annotated[str | None, Flag(name="--stage", help="Only lines of this stage, like pc1.")]
Deadline = Annotated[str | None, Flag(name="--deadline", help="Pause what is still in progress after this time.")]
Wait = Annotated[bool, Flag(name="--wait", help="Wait until no sector is in progress.")]
Now = Annotated[bool, Flag(name="--now", help="Kill the running stage; it runs again after the resume.")]
Yes = Annotated[bool, Flag(name="--yes", help="Really do it.")]
YesToAbort = Annotated[bool, Flag(name="--yes", help="Really abort several sectors, with the state Aborted.")]

CONNECTION = Group("Connection", sort_key=2)
_WHICH = Group("Thread selection (all given conditions must match)", sort_key=1)

Sectors = Annotated[tuple[str, ...], Flag(name="--sector", help="Threads with this sector; repeatable.")]
States = Annotated[
    tuple[str, ...],
    Flag(name=["--state", "--in-state"], help="Threads whose sector is in this state; repeatable."),
]
InStates = Annotated[
    tuple[str, ...], Flag(name="--in-state", help="Threads whose sector is in this state; repeatable.")
]
Error = Annotated[str | None, Flag(name="--error", help="Threads whose last error contains this text.")]
Plans = Annotated[tuple[str, ...], Flag(name="--plan", help="Threads with this plan; repeatable.")]
Paused = Annotated[bool, Flag(name="--paused", help="Threads that are paused.")]
All = Annotated[bool, Flag(name="--all", help="All threads.")]


def examples(*lines: str) -> str:
    """Return the end of a command's help: command lines as they are typed."""
    return "\n".join(["Examples:", "", *(f"    {line}" for line in lines), "", exits.EXIT_CODES])


def miner_of(_: object, tokens: Sequence[Token]) -> int:
    """Return the number of a miner that was typed in any of its spellings."""
    return sectors.miner_id(tokens[0].value)


Sector = Annotated[str, Parameter(help="Like s-t010000-2.")]
Miner = Annotated[int, Parameter(converter=miner_of, help="The miner, like f010000, t010000 or 10000.")]
MaybeMiner = Annotated[
    int | None,
    Parameter(
        converter=miner_of, help="The miner, like f010000; default: the only one of the manager's configuration."
    ),
]
OfMiner = Annotated[
    int | None,
    Parameter(name=["--miner", "--actor"], converter=miner_of, help="The miner, like f010000 or 10000."),
]
TheMiner = Annotated[
    int | None,
    Parameter(
        name=["--miner", "--actor"],
        converter=miner_of,
        help="The miner, like f010000; default: the only one of the manager's configuration.",
    ),
]


@Parameter(name="*", group=_WHICH)
@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Flags that select threads."""

    sector: Sectors = ()
    state: States = ()
    error: Error = None
    plan: Plans = ()
    paused: Paused = False
    all: All = False


@Parameter(name="*", group=_WHICH)
@dataclass(frozen=True, slots=True, kw_only=True)
class WhichToResume:
    """The same where `--state` is the state to resume from, as in the original."""

    sector: Sectors = ()
    state: InStates = ()
    error: Error = None
    plan: Plans = ()
    paused: Paused = False
    all: All = False


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How to act, and how to report it."""

    dry_run: DryRun = False
    reason: Reason = ""
    json: AsJson = False


PLAINLY = How()
NONE = Which()
NONE_TO_RESUME = WhichToResume()


def selected(
    which: Which | WhichToResume, *, workers: tuple[str, ...] = (), index: str | None = None
) -> control.Selection:
    """Make a selection from what was typed; a malformed value is wrong usage."""
    try:
        return selection.parse(
            workers=workers,
            indexes=() if index is None else (index,),
            sectors=which.sector,
            states=which.state,
            plans=which.plan,
            error=which.error,
            paused=which.paused or None,
            everything=which.all,
        )
    except ValueError as error:
        raise exits.WrongUsage(str(error)) from error


def sector(text: str) -> str:
    """Return a sector's name as records have it; a malformed one is wrong usage."""
    return selected(Which(sector=(text,))).sectors[0]


def check_stage(name: str | None) -> None:
    """Refuse a stage that does not exist."""
    from damocles.stages import descriptors

    if name is not None and name.lower() not in descriptors.STAGES:
        known = ", ".join(descriptors.STAGES)
        raise exits.WrongUsage(
            f"--stage: there is no stage {name}{spelling.did_you_mean(name, descriptors.STAGES)} ({known})"
        )


def seconds(text: str, option: str = "--timeout") -> float:
    """Read a duration greater than zero."""
    try:
        value = units.parse_duration(text)
    except ValueError as error:
        raise exits.WrongUsage(f"{option}: {error}") from error
    if value <= 0:
        raise exits.WrongUsage(f"{option}: {text!r} is not a positive duration: write one like 5s or 2h")
    if value > units.LONGEST_SECONDS:
        raise exits.WrongUsage(f"{option}: {text!r} is longer than 100 years")
    return value
