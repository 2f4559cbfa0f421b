"""Tables of workers, threads, histories and logs, for both programs."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from damocles.cli.terminal import exits, tables
from damocles.cli.threads import notes
from damocles.operating import words
from damocles.rpc import errors
from damocles.text import terminal, units
from damocles.wire import codec, control, fleet

LOG_WAIT_SECONDS = 20.0

NULL = "NULL"  # the original's word for what is not there

# What the original has, where output is no terminal.
WORKERS = ("Name", "Dest", "Threads", "Empty", "Paused", "Errors", "LastPing(with ! if expired)")
WORKERS_WIDE = (
    *("Name", "Dest", "Version", "Threads", "Empty", "Paused", "Running", "Waiting", "Errors"),
    *("LastPing(with ! if expired)", "Status", "Since"),
)
THREADS = ("Index", "Loc", "SectorID", "Paused", "PausedElapsed", "State", "LastErr")
THREADS_WIDE = (
    *("Index", "Loc", "Plan", "JobID", "JobState", "JobStage", "ThreadState"),
    *("WaitsFor", "Attempt", "Retries", "Host", "Pid", "LastErr"),
)

_THREADS = ("#", "Sector", "State", "Stage", "Doing", "For", "Store", "Why")
_THREADS_WIDE = (
    *("#", "Sector", "Plan", "State", "Stage", "Doing", "For", "Waits for", "Try", "Retries"),
    *("Store", "Host", "Pid", "Error"),
)


def workers(expiration_seconds: float, *, wide: bool) -> tables.Table[control.WorkerStatus]:
    """Return the table of workers; only a wide one has what came after the first releases."""
    now = time.time()

    def cells(worker: control.WorkerStatus) -> tuple[str, ...]:
        info, summary = worker.info, worker.info.summary
        counts = [*map(str, (summary.threads, summary.empty, summary.paused))]
        if wide:
            counts += map(str, (summary.running, summary.waiting))
        ping = units.brief_duration(int(worker.age_seconds)) + (" !" if worker.age_seconds > expiration_seconds else "")
        since = units.brief_moment(worker.transitions[-1].at, now) if worker.transitions else words.NOTHING
        newer = (info.version or words.NOTHING,) if wide else ()
        end = (words.status(worker) or words.NOTHING, *((since,) if wide else ()))
        return info.name, info.dest, *newer, *counts, str(summary.errors), ping, *end

    return tables.Table(
        columns=(
            *("Worker", "Address", *(("Version",) if wide else ()), "Threads", "Empty", "Paused"),
            *(("Running", "Waiting") if wide else ()),
            *("Errors", "Ping", "Status", *(("Since",) if wide else ())),
        ),
        cells=cells,
        plain_columns=WORKERS_WIDE if wide else WORKERS,
        plain_cells=lambda worker: worker_cells(worker, expiration_seconds, wide=wide),
    )


def worker_cells(worker: control.WorkerStatus, expiration_seconds: float, *, wide: bool) -> tuple[str, ...]:
    """Return the row of a worker where output is no terminal."""
    info, summary = worker.info, worker.info.summary
    ping = units.go_duration(worker.age_seconds) + (" (!)" if worker.age_seconds > expiration_seconds else "")
    first = (str(count) for count in (summary.threads, summary.empty, summary.paused))
    if not wide:
        return info.name, info.dest, *first, str(summary.errors), ping
    newer = (str(count) for count in (summary.running, summary.waiting, summary.errors))
    since = units.moment(worker.transitions[-1].at) if worker.transitions else "-"
    return info.name, info.dest, info.version, *first, *newer, ping, words.status(worker) or "-", since


def warn_of_shared_names(workers: Iterable[control.WorkerStatus]) -> None:
    """Warn on stderr about names that several workers share."""
    for worker in workers:
        if worker.sharing:
            dests = " and ".join(worker.sharing)
            exits.warning(
                f"{worker.info.name}: {len(worker.sharing)} workers ping under this name, from {dests}: give each its"
                " own (worker.name)"
            )


def show_threads(
    threads: Sequence[control.ThreadDetail],
    *,
    named: bool,
    wide: bool,
    full: bool,
    resume: Sequence[str],
) -> None:
    """Print sealing threads, and what can be done for those that lack parameters.

    `named` adds their workers' names, and where several workers share one, their addresses. `resume` is the command that
    resumes them, and its options.
    """
    now = time.time()
    dests: dict[str, set[str]] = {}
    for thread in threads:
        dests.setdefault(thread.worker, set()).add(thread.dest)
    named = named or any(len(several) > 1 for several in dests.values())

    def with_name(thread: control.ThreadDetail, inner: tuple[str, ...]) -> tuple[str, ...]:
        if not named:
            return inner
        return thread.worker if len(dests[thread.worker]) == 1 else f"{thread.worker} {thread.dest}", *inner

    def cells(thread: control.ThreadDetail) -> tuple[str, ...]:
        make = _wide_cells if wide else _cells
        return with_name(thread, make(thread, now, full=full))

    def plain_cells(thread: control.ThreadDetail) -> tuple[str, ...]:
        make = wide_thread_cells if wide else thread_cells
        return with_name(thread, make(thread))

    first = ("Worker",) if named else ()
    table = tables.Table(
        columns=(*first, *(_THREADS_WIDE if wide else _THREADS)),
        cells=cells,
        plain_columns=(*first, *(THREADS_WIDE if wide else THREADS)),
        plain_cells=plain_cells,
    )
    tables.show(table, threads, full=full, nothing="no sealing threads")
    if tables.on_terminal():
        for line in notes.lines(threads, resume=resume, whole=wide and not full):
            exits.print_line(line)


def thread_cells(thread: control.ThreadDetail) -> tuple[str, ...]:
    """Return the row of a thread where output is no terminal."""
    info = thread.info
    paused = info.thread_state.state == "Paused"
    elapsed = info.thread_state.elapsed
    return (
        str(info.index),
        info.location,
        _or_null(info.job_id),
        str(paused).lower(),
        units.go_duration(elapsed) if paused and elapsed is not None else NULL,
        info.job_state,
        _or_null(info.last_error),
    )


def wide_thread_cells(thread: control.ThreadDetail) -> tuple[str, ...]:
    """Return the row of a thread with newer releases' columns, and what it has been waiting for."""
    info, state = thread.info, thread.info.thread_state
    doing = state.state
    if state.elapsed is not None:
        doing += f"({units.go_duration(state.elapsed)}) {state.proc or ''}"
    return (
        str(info.index),
        info.location,
        info.plan,
        info.job_id or "-",
        info.job_state,
        info.job_stage or "-",
        doing.rstrip(),
        waits_for(thread),
        str(thread.attempt),
        str(thread.retries),
        thread.host or "-",
        str(thread.pid or "-"),
        info.last_error or "-",
    )


def waits_for(thread: control.ThreadDetail) -> str:
    """Return what a thread waits for, since when, and until when if that is known."""
    waiting = thread.waiting
    if waiting is None:
        text = "-"
    else:
        until = f" until {units.moment(waiting.until)}" if waiting.until is not None else ""
        text = f"{waiting.what} since {units.moment(waiting.since)}{until}"
    if thread.pausing:
        text += f", {words.then_pauses(thread)}"
    return text


def _cells(thread: control.ThreadDetail, now: float, *, full: bool) -> tuple[str, ...]:
    info = thread.info
    return (
        *(
            str(info.index),
            info.job_id or words.NOTHING,
            info.job_state or words.NOTHING,
            info.job_stage or words.NOTHING,
        ),
        *(info.thread_state.state, words.lasts(thread, now), info.location, words.why(thread, now, full=full)),
    )


def _wide_cells(thread: control.ThreadDetail, now: float, *, full: bool) -> tuple[str, ...]:
    info = thread.info
    return (
        *(
            str(info.index),
            info.job_id or words.NOTHING,
            info.plan,
            info.job_state or words.NOTHING,
            info.job_stage or words.NOTHING,
        ),
        *(
            _doing(info) if full else info.thread_state.state,
            words.lasts(thread, now),
            words.waits(thread, now) or words.progress(thread.progress) or words.NOTHING,
            str(thread.attempt),
            str(thread.retries),
        ),
        *(info.location, thread.host or words.NOTHING, str(thread.pid or words.NOTHING)),
        words.brief_error(info.last_error, full=full),
    )


def _doing(info: fleet.ThreadInfo) -> str:
    state = info.thread_state
    return f"{state.state} {state.proc}" if state.proc else state.state


def print_history(entries: Sequence[control.HistoryEntry], *, full: bool) -> None:
    """Print the steps of a sector."""
    now = time.time()
    tables.show(
        tables.Table(
            columns=("Time", "Worker", "Store", "Try", "State", "Event", "Took", "Host", "By", "Error"),
            cells=lambda entry: (
                *(units.brief_moment(entry.at, now), entry.worker or words.NOTHING, entry.location or words.NOTHING),
                *(
                    str(entry.attempt),
                    entry.state or words.NOTHING,
                    entry.event or words.NOTHING,
                    words.took(entry.seconds),
                ),
                *(", ".join(entry.hosts) or words.NOTHING, entry.by or words.NOTHING),
                words.brief_error(entry.error, full=full),
            ),
            plain_columns=(
                "Time",
                "Worker",
                "Location",
                "Attempt",
                "State",
                "Event",
                "Duration",
                "Host",
                "By",
                "Error",
            ),
            plain_cells=_history_cells,
        ),
        entries,
        full=full,
    )


def _history_cells(entry: control.HistoryEntry) -> tuple[str, ...]:
    return (
        units.moment(entry.at),
        entry.worker or "-",
        entry.location or "-",
        str(entry.attempt),
        entry.state or "-" if entry.state == entry.prev else f"{entry.prev or '-'} -> {entry.state}",
        entry.event or "-",
        "-" if entry.seconds is None else units.go_duration(round(entry.seconds, 3)),
        ", ".join(entry.hosts) or "-",
        entry.by or "-",
        entry.error or "-",
    )


def follow(read: Callable[[int, float], list[control.LogLine]], *, on: bool) -> Iterator[control.LogLine]:
    """Yield the lines of a log, then new ones as they come.

    `read` takes the number of the last line known and how many seconds to wait for a line after it. A wait that is cut
    off has changed nothing, so it is repeated once; a caller that was locked out meanwhile gets the reason.
    """
    after, wait_seconds = 0, 0.0
    while True:
        try:
            found = read(after, wait_seconds)
        except (exits.ManagerUnreachable, errors.Disconnected) as failure:
            is_cut_off = any(isinstance(each, errors.Disconnected) for each in (failure, failure.__cause__))
            if not wait_seconds or not is_cut_off:
                raise
            found = read(after, 0.0)
        for each in found:
            after = each.number
            yield each
        if not on:
            return
        wait_seconds = LOG_WAIT_SECONDS


def print_log(
    lines: Iterable[control.LogLine], *, sector: str | None = None, stage: str | None = None, as_json: bool = False
) -> int:
    """Print lines of stages as they come, until Ctrl-C, filtered by sector and stage; JSON is one object per line.

    That there is none is said on stderr.
    """
    has_printed = False
    try:
        for each in lines:
            if sector not in {None, each.sector} or (stage or each.stage).lower() != each.stage.lower():
                continue
            process = f"{each.host}:{each.pid}" if each.host else f"{each.pid}"
            text = f"{units.moment(each.at)} {each.stage}[{process}] {each.text}"
            print(terminal.shown_json(codec.encode(each).decode()) if as_json else terminal.shown(text))
            sys.stdout.flush()
            has_printed = True
    except KeyboardInterrupt:
        print(file=sys.stderr)
    if not has_printed:
        of = "".join(f" of {each}" for each in (stage, sector) if each)
        exits.hint(f"no log lines{of}: a thread keeps the latest lines of its stages until the worker ends")
    return exits.OK


def _or_null(value: str | None) -> str:
    return NULL if value is None else value
