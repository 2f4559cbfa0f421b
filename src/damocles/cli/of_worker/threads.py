"""`damocles-worker worker`: list, pause, resume and abort the sealing threads of a running worker.

These commands are typed when something is wrong, so they need little: from the configuration only the worker's
address, and no library that takes long to import.
"""

import time
from collections.abc import Callable
from typing import Annotated, TypeVar

from cyclopts import App, Parameter

from damocles import methods
from damocles.cli.connecting import calls, credentials, worker_at
from damocles.cli.terminal import exits, tables, watching
from damocles.cli.threads import acts, options, views
from damocles.operating import dialogues, selection
from damocles.rpc.calling import sync
from damocles.text import units
from damocles.wire import codec, control, fleet

T = TypeVar("T")

app = App(
    name="worker",
    help=(
        "List and control the sealing threads of a running worker.\n\n"
        "`-c FILE` or `-H HOST:PORT` name the worker, before or after the command; the default is this machine's worker "
        "at the usual port."
    ),
    version_flags=[],
)
app.command(
    "damocles.cli.of_worker.work:drain",
    name="drain",
    help="Finish the sectors in progress, begin no new ones.",
    help_epilogue=options.examples(
        "damocles-worker worker drain --wait", "damocles-worker worker drain --deadline 4h --reason 'new disks'"
    ),
)
app.command(
    "damocles.cli.of_worker.work:undrain",
    name="undrain",
    help="Begin new sectors again.",
    help_epilogue=options.examples("damocles-worker worker undrain"),
)
app.command(
    "damocles.cli.of_worker.work:logs",
    name="logs",
    help="Print the latest log lines of a thread's stages.",
    help_epilogue=options.examples(
        "damocles-worker worker logs 0 --follow", "damocles-worker worker logs 0 --stage pc1 --sector s-t010000-2"
    ),
)
app.command(
    "damocles.cli.of_worker.work:history",
    name="history",
    help="Show every step of a sector on this worker.",
    help_epilogue=options.examples("damocles-worker worker history s-t010000-2"),
)

Index = Annotated[
    str | None, Parameter(name=["--index", "-i"], help="The thread's number in the list, or several: 0,2 or 0-3.")
]
Thread = Annotated[str | None, Parameter(help="The same as --index.")]
Target = Annotated[str | None, Parameter(help="The same as --state.")]
State = Annotated[
    str | None,
    Parameter(name=["--state", "-s", "--to"], help="The state to resume from; default: the present one."),
]

_RESUME = "damocles-worker worker resume"


@app.command(
    name="list",
    help_epilogue=options.examples(
        "damocles-worker worker list", "damocles-worker worker list -c worker.toml --paused --full"
    ),
)
@watching.watchable
def list_(
    *,
    which: options.Which = options.NONE,
    wide: Annotated[bool, options.Flag(name=["--wide", "-w"], help="Print a table with all columns.")] = False,
    why: Annotated[bool, options.Flag(name="--why", help="Print what threads wait for, and their processes.")] = False,
    full: options.Full = False,
    json: options.AsJson = False,
    at: worker_at.At = worker_at.USUAL,
) -> int:
    """List sealing threads: their stores, sectors and states, whether they are paused, and the last error.

    On a terminal this is a table that fits; elsewhere it is the original's lines, or with `--wide` its columns.
    """
    chosen = options.selected(which)
    resume = [_RESUME, *credentials.repeated(at, worker_at.USUAL)]

    with at.call() as worker:
        threads = _threads(worker, chosen, details=why or json or tables.on_terminal())
    acts.check_words(chosen, threads)
    if json:
        exits.print_json([_flat(thread) for thread in threads])
    elif tables.on_terminal() or why:
        views.show_threads(threads, named=False, wide=wide or why, full=full, resume=resume)
    elif wide:
        tables.print_lines(tables.plain_lines(_V013, map(_columns, threads)))
    else:
        for thread in threads:
            exits.print_line(_line(thread.info))
    return exits.OK if threads else acts.show_nothing(chosen)


@app.command(
    help_epilogue=options.examples(
        "damocles-worker worker pause 0", "damocles-worker worker pause --all --now --reason 'new disks'"
    )
)
def pause(
    thread: Thread = None,
    /,
    *,
    index: Index = None,
    now: options.Now = False,
    which: options.Which = options.NONE,
    how: options.How = options.PLAINLY,
    at: worker_at.At = worker_at.USUAL,
) -> int:
    """Pause a sealing thread, or all that the options select, at the next boundary."""
    act = acts.wanted("pause", now=now, dry_run=how.dry_run, reason=how.reason)
    return _act(options.selected(which, index=_one("thread", thread, index)), act, how, at)


@app.command(
    help_epilogue=options.examples(
        "damocles-worker worker resume 0",
        "damocles-worker worker resume 0 PC1Done",
        "damocles-worker worker resume --error 'No cached parameters' --dry-run",
    )
)
def resume(
    thread: Thread = None,
    target: Target = None,
    /,
    *,
    index: Index = None,
    state: State = None,
    yes: options.YesToAbort = False,
    which: options.WhichToResume = options.NONE_TO_RESUME,
    how: options.How = options.PLAINLY,
    at: worker_at.At = worker_at.USUAL,
) -> int:
    """Resume a paused sealing thread, or all that the options select, from the present state or an earlier one."""
    chosen = options.selected(which, index=_one("thread", thread, index))
    state = _one("state", target, state)
    unsure = acts.aborts(state, chosen) and not yes
    act = acts.wanted("resume", state=state, dry_run=how.dry_run or unsure, reason=how.reason)
    return _act(chosen, act, how, at)


@app.command(
    help_epilogue=options.examples(
        "damocles-worker worker abort 0 --dry-run",
        "damocles-worker worker abort --sector s-t010000-2 --yes --reason 'no use'",
    )
)
def abort(
    thread: Thread = None,
    /,
    *,
    index: Index = None,
    yes: options.Yes = False,
    which: options.Which = options.NONE,
    how: options.How = options.PLAINLY,
    at: worker_at.At = worker_at.USUAL,
) -> int:
    """Abort the sectors of threads: kill their processes, move their files to the trash, and report to the manager."""
    act = acts.wanted("abort", dry_run=how.dry_run or not yes, reason=how.reason)
    return _act(options.selected(which, index=_one("thread", thread, index)), act, how, at)


def _threads(worker: sync.Client, chosen: control.Selection, *, details: bool) -> list[control.ThreadDetail]:
    if details:
        threads = calls.hold(worker, dialogues.threads(time.time()))
    else:
        infos = worker.call(methods.worker.list_threads()) or ()
        threads = [control.ThreadDetail(info=info, since=0.0) for info in infos]
    return [thread for thread in threads if selection.holds(chosen, thread)]


def _one(what: str, word: str | None, option: str | None) -> str | None:
    """Return what was given as a word or as an option."""
    if word is not None and option is not None:
        raise exits.WrongUsage(f"the {what} is given twice, as {word} and as {option}: pass one")
    return option if word is None else word


def _act(chosen: control.Selection, act: control.Act, how: options.How, at: worker_at.At) -> int:
    acts.check(chosen)
    with at.call() as worker:
        outcomes = calls.hold(worker, dialogues.act(chosen, act, time.time()))
    if act.dry_run and not how.dry_run:
        return acts.show_unconfirmed(outcomes, as_json=how.json, chosen=chosen)
    return acts.show(outcomes, dry_run=how.dry_run, as_json=how.json, chosen=chosen)


def _flat(thread: control.ThreadDetail) -> dict[str, object]:
    """Return all that is known of a thread, merged with the original's fields, so that scripts written for those still work."""
    fields: dict[str, object] = codec.to_builtins(thread)
    info: dict[str, object] = codec.to_builtins(thread.info)
    del fields["info"]
    return info | fields


def _line(thread: fleet.ThreadInfo) -> str:
    """Write a thread as damocles v0.2 to v0.12 do; texts are quoted as Rust's `Debug` quotes them."""
    state = thread.thread_state
    is_paused = state.state == "Paused"
    elapsed = state.elapsed if is_paused else None
    return (
        f"#{thread.index}: {_quoted(thread.location)}; "
        f"sector_id={_option(thread.job_id, str)}, "
        f"paused={str(is_paused).lower()}, "
        f"paused_elapsed={_option(elapsed, units.human_duration)}, "
        f"state={thread.job_state or 'Empty'}, "
        f"last_err={_option(thread.last_error, _quoted)}"
    )


def _columns(detail: control.ThreadDetail) -> tuple[str, ...]:
    thread = detail.info
    state = thread.thread_state
    doing = state.state if state.elapsed is None else f"{state.state}({units.human_duration(state.elapsed)})"
    if state.state == "Running":
        doing = f"{doing} {state.proc or ''}"
    return (
        str(thread.index),
        thread.location,
        thread.plan,
        thread.job_id or "-",
        thread.job_state,
        thread.job_stage or "-",
        doing,
        _escaped(thread.last_error or "-"),
    )


def _option(value: T | None, text: Callable[[T], str]) -> str:
    return "None" if value is None else f"Some({text(value)})"


def _quoted(text: str) -> str:
    """Quote as Rust's `{:?}` does."""
    return '"' + _escaped(text).replace("\\'", "'") + '"'


def _escaped(text: str) -> str:
    """Escape as Rust's `escape_debug` does."""
    return "".join(_ESCAPES.get(char) or (char if char.isprintable() else f"\\u{{{ord(char):x}}}") for char in text)


_ESCAPES = {'"': '\\"', "'": "\\'", "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0"}

# The columns of damocles v0.13, so that scripts that read them go on working.
_V013 = ("#", "location", "Plan", "JobID", "JobState", "JobStage", "ThreadState", "LastErr")
