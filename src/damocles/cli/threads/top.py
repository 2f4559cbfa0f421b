"""`damocles-manager util worker top`: the fleet on one screen, beginning with what needs a person."""

import contextlib
import select
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from damocles import methods
from damocles.cli.connecting import calls
from damocles.cli.terminal import exits, tables, watching
from damocles.operating import words
from damocles.text import terminal, units
from damocles.wire import control

_HEAD_LINES = 5  # of a screen, beside the two tables
_MOST_WORKERS = 12
_WORKERS = ("Worker", "Address", "Status", "Ping", "Threads", "Empty", "Paused", "Errors", "Trouble")
_THREADS = ("Worker", "#", "Sector", "State", "Doing", "For", "Pid", "Why")

# The other screen of a terminal without a cursor, so that what was on the first one comes back.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


def run(manager: calls.Manager) -> int:
    """Show the fleet until `q` or Ctrl-C; once if this is no terminal."""
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        for line in screen(*ask(manager), now=time.time(), columns=columns, rows=None):
            print(line)
        return exits.OK
    with contextlib.suppress(KeyboardInterrupt), _other_screen(), _keys() as pressed:
        while True:
            size = shutil.get_terminal_size()
            try:
                lines = screen(
                    *ask(manager),
                    now=time.time(),
                    columns=size.columns,
                    rows=size.lines,
                    colour=terminal.wants_colour(),
                )
            except exits.Failed as failure:
                lines = [terminal.cut(terminal.shown(str(failure)), size.columns), "(trying again)"]
            drawn = "\r\n".join(f"{line}{watching.END_OF_LINE}" for line in lines)
            print(f"{watching.HOME}{drawn}{watching.END_OF_SCREEN}", end="", flush=True)
            if pressed(watching.EVERY_SECONDS) in {"q", "Q", "\x1b"}:
                break
    return exits.OK


@contextlib.contextmanager
def _other_screen() -> Iterator[None]:
    print(_ENTER, end="", flush=True)
    try:
        yield
    finally:
        print(_LEAVE, end="", flush=True)


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """Yield a function that waits some seconds for a key; keys are not echoed meanwhile."""
    import termios
    import tty

    def pressed(seconds: float) -> str:
        readable, _, _ = select.select([sys.stdin], [], [], seconds)
        return sys.stdin.read(1) if readable else ""

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield pressed
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def ask(manager: calls.Manager) -> tuple[list[control.WorkerStatus], control.FleetThreads]:
    """Return all workers and all threads."""
    workers = manager.call(methods.fleet.workers())
    fleet = manager.call(methods.fleet.threads(control.Selection(all=True), manager.worker_seconds))
    return workers, fleet


def screen(
    workers: Sequence[control.WorkerStatus],
    fleet: control.FleetThreads,
    *,
    now: float,
    columns: int | None,
    rows: int | None,
    colour: bool = False,
) -> list[str]:
    """Draw the fleet as lines that fit into `columns`; with `rows` no more than a terminal has."""
    states = Counter(thread.info.thread_state.state for thread in fleet.threads)
    statuses = Counter(worker.status for worker in workers)
    head = (
        f"{time.strftime('%H:%M:%S', time.gmtime(now))}"
        f"  {len(workers)} {'worker' if len(workers) == 1 else 'workers'}"
        + "".join(f"  {count} {status}" for status, count in statuses.items())
        + f"   {len(fleet.threads)} {'thread' if len(fleet.threads) == 1 else 'threads'}"
        + "".join(f"  {states[state]} {state.lower()}" for state in words.DOING if states[state])
    )
    silent = {silence.worker: silence.reason for silence in fleet.silent}
    # Healthy workers are in the counts; on a small screen the others matter.
    shown = sorted(workers, key=lambda worker: (worker.info.name not in silent, worker.status == "live"))
    shown_workers = shown if rows is None else shown[:_MOST_WORKERS]
    threads = sorted(fleet.threads, key=lambda thread: _urgency(thread, now))
    room = None if rows is None else max(1, rows - len(shown_workers) - _HEAD_LINES)
    worker_rows = [_worker_cells(worker, silent) for worker in shown_workers]
    thread_rows = [_thread_cells(thread, now, full=columns is None) for thread in threads[:room]]
    more = [f"… and {len(threads) - room} more threads"] if room is not None and len(threads) > room else []
    return [
        terminal.cut(terminal.shown(head), columns) if columns else terminal.shown(head),
        *tables.lines(_WORKERS, worker_rows, columns, colour=colour),
        "",
        *tables.lines(_THREADS, thread_rows, columns, colour=colour),
        *more,
    ]


def _urgency(thread: control.ThreadDetail, now: float) -> tuple[int, float, str, int]:
    """Sort paused threads to the top, and within a state those first that have been in it longest."""
    return words.place(thread.info.thread_state.state), -(now - thread.since), thread.worker, thread.info.index


def _worker_cells(worker: control.WorkerStatus, silent: dict[str, str]) -> tuple[str, ...]:
    info, summary = worker.info, worker.info.summary
    return (
        *(info.name, info.dest, words.status(worker), units.brief_duration(int(worker.age_seconds))),
        *(str(summary.threads), str(summary.empty), str(summary.paused), str(summary.errors)),
        silent.get(info.name, ""),
    )


def _thread_cells(thread: control.ThreadDetail, now: float, *, full: bool) -> tuple[str, ...]:
    info = thread.info
    state = info.thread_state.state
    doing = f"{state} {info.job_stage}" if state == "Running" and info.job_stage else state
    return (
        *(thread.worker, str(info.index), info.job_id or "-", info.job_state or "-", doing),
        units.brief_duration(max(0, int(now - thread.since))),
        *(
            f"{thread.far_host}:{thread.pid}" if thread.far_host else str(thread.pid or "-"),
            words.why(thread, now, full=full),
        ),
    )
