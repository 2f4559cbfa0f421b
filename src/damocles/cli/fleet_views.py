"""Tables of workers, threads, histories and logs, for both programs."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from damocles.cli import common
from damocles.wire import codec, control, units

WATCH_SECONDS = 2.0
LOG_WAIT_SECONDS = 20.0

NULL = "NULL"  # the original's word for what is not there

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
_HISTORY = ("Time", "Worker", "Location", "Attempt", "State", "Event", "Duration", "Error")


def worker_cells(worker: control.WorkerStatus, expiration_seconds: float, *, wide: bool) -> tuple[str, ...]:
    """Return the row of a worker; only a wide one has what came after the first releases."""
    info, summary = worker.info, worker.info.summary
    ping = units.go_duration(worker.age_seconds) + (" (!)" if worker.age_seconds > expiration_seconds else "")
    first = (str(count) for count in (summary.threads, summary.empty, summary.paused))
    if not wide:
        return info.name, info.dest, *first, str(summary.errors), ping
    newer = (str(count) for count in (summary.running, summary.waiting, summary.errors))
    since = units.moment(worker.transitions[-1].at) if worker.transitions else "-"
    return info.name, info.dest, info.version, *first, *newer, ping, status(worker) or "-", since


def status(worker: control.WorkerStatus) -> str:
    """Say whether a worker is there, whether it takes new sectors, and whether it is more than one."""
    told = f"{worker.status}, draining" if worker.info.draining is True else worker.status
    return f"{told}, {len(worker.sharing)} workers" if worker.sharing else told


def warn_of_shared_names(workers: Iterable[control.WorkerStatus]) -> None:
    """Say on stderr which names are several workers'."""
    for worker in workers:
        if worker.sharing:
            dests = " and ".join(worker.sharing)
            common.warning(
                f"{worker.info.name}: {len(worker.sharing)} workers ping under this name, from {dests}: give each its"
                " own (worker.name)"
            )


def thread_cells(thread: control.ThreadDetail) -> tuple[str, ...]:
    """Return the row of a thread."""
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
    """Return the row of a thread with what newer releases know, and what it waits for since when."""
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
    """Say what a thread waits for, since when, and until when if that is known."""
    waiting = thread.waiting
    if waiting is None:
        text = "-"
    else:
        until = f" until {units.moment(waiting.until)}" if waiting.until is not None else ""
        text = f"{waiting.what} since {units.moment(waiting.since)}{until}"
    if thread.pausing:
        text += ", then pauses"
    return text


def by_worker(
    header: Sequence[str],
    cells: Callable[[control.ThreadDetail], tuple[str, ...]],
    threads: Sequence[control.ThreadDetail],
) -> None:
    """Print threads of several workers, if there are any; workers of one name with their addresses."""
    if threads:
        dests: dict[str, set[str]] = {}
        for thread in threads:
            dests.setdefault(thread.worker, set()).add(thread.dest)
        rows = [
            (thread.worker if len(dests[thread.worker]) == 1 else f"{thread.worker} {thread.dest}", *cells(thread))
            for thread in threads
        ]
        common.print_table(("Worker", *header), rows)


def print_history(entries: Iterable[control.HistoryEntry]) -> None:
    """Print the steps of a sector."""
    common.print_table(
        _HISTORY,
        [
            (
                units.moment(entry.at),
                entry.worker or "-",
                entry.location or "-",
                str(entry.attempt),
                entry.state if entry.state == entry.prev else f"{entry.prev or '-'} -> {entry.state}",
                entry.event or "-",
                "-" if entry.seconds is None else units.go_duration(round(entry.seconds, 3)),
                entry.error or "-",
            )
            for entry in entries
        ],
    )


def follow(read: Callable[[int, float], list[control.LogLine]], *, on: bool) -> Iterator[control.LogLine]:
    """Yield the lines of a log, and then those that come.

    `read` takes the number of the last line known and how many seconds to wait for a line after it.
    """
    after, wait_seconds = 0, 0.0
    while True:
        for each in read(after, wait_seconds):
            after = each.number
            yield each
        if not on:
            return
        wait_seconds = LOG_WAIT_SECONDS


def print_log(
    lines: Iterable[control.LogLine], *, sector: str | None = None, stage: str | None = None, as_json: bool = False
) -> int:
    """Print lines of stages as they come, until Ctrl-C; those of one sector, those of one stage; JSON is one a line."""
    try:
        for each in lines:
            if sector not in {None, each.sector} or (stage or each.stage).lower() != each.stage.lower():
                continue
            text = f"{units.moment(each.at)} {each.stage}[{each.pid}] {each.text}"
            common.say(codec.encode(each).decode() if as_json else text)
            sys.stdout.flush()
    except KeyboardInterrupt:
        print(file=sys.stderr)
    return common.OK


def again(show: Callable[[], int], *, watch: bool) -> int:
    """Show something; with `watch` again every two seconds until Ctrl-C, on a terminal in the same place."""
    if not watch:
        return show()
    try:
        while True:
            if sys.stdout.isatty():
                print("\x1b[H\x1b[2J", end="")
            try:
                show()
            except common.Failed as failure:
                if not sys.stdout.isatty():
                    raise
                common.error(str(failure))
            sys.stdout.flush()
            time.sleep(WATCH_SECONDS)
            if not sys.stdout.isatty():
                print()
    except KeyboardInterrupt:
        return common.OK


def _or_null(value: str | None) -> str:
    return NULL if value is None else value
