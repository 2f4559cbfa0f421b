"""`damocles-manager util worker top`: the fleet on one screen, what needs a person first."""

import contextlib
import select
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from damocles import terminal
from damocles.cli import common, fleet_calls, fleet_views
from damocles.wire import control, units

REFRESH_SECONDS = 2.0
_ORDER = ("Paused", "Running", "Waiting", "Idle")
_STYLES = {"Paused": "bold red", "Running": "green", "Waiting": "yellow", "Idle": "dim", "live": "green", "lost": "red"}
_HEAD_LINES = 5  # of a screen, beside the two tables
_MOST_WORKERS = 12
_PLAIN_WIDTH = 400  # where nothing limits it


def run(manager: fleet_calls.Manager) -> int:
    """Show the fleet until `q` or Ctrl-C; once if this is no terminal."""
    console = Console() if sys.stdout.isatty() else Console(width=_PLAIN_WIDTH)
    if not (console.is_terminal and sys.stdin.isatty()):
        console.print(_screen(manager, rows=None))
        return common.OK
    with (
        contextlib.suppress(KeyboardInterrupt),
        _keys() as pressed,
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        while True:
            try:
                screen = _screen(manager, rows=console.height)
            except common.Failed as failure:
                screen = Text(f"{terminal.shown(str(failure))}\n(trying again)", style="red")
            live.update(screen, refresh=True)
            if pressed(REFRESH_SECONDS) in {"q", "Q", "\x1b"}:
                break
    return common.OK


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """Yield what waits some seconds for a key; keys are not echoed meanwhile."""
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


def ask(manager: fleet_calls.Manager) -> tuple[list[control.WorkerStatus], control.FleetThreads]:
    """Return all workers and all threads."""
    workers = manager.call("Damocles.Workers", returns=list[control.WorkerStatus])
    told = manager.call(
        "Damocles.FleetThreads", [control.Selection(all=True), manager.worker_seconds], returns=control.FleetThreads
    )
    return workers, told


def _screen(manager: fleet_calls.Manager, *, rows: int | None) -> RenderableType:
    workers, told = ask(manager)
    return screen(workers, told, now=time.time(), rows=rows)


def screen(
    workers: Sequence[control.WorkerStatus], told: control.FleetThreads, *, now: float, rows: int | None
) -> RenderableType:
    """Draw the fleet; with `rows` no higher than a terminal of that many lines."""
    states = Counter(thread.info.thread_state.state for thread in told.threads)
    statuses = Counter(worker.status for worker in workers)
    head = Text.assemble(
        (time.strftime("%H:%M:%S", time.gmtime(now)), "bold"),
        f"  {len(workers)} {'worker' if len(workers) == 1 else 'workers'}",
        *(Text(f"  {count} {status}", _STYLES.get(status, "yellow")) for status, count in statuses.items()),
        f"   {len(told.threads)} {'thread' if len(told.threads) == 1 else 'threads'}",
        *(Text(f"  {states[state]} {state.lower()}", _STYLES[state]) for state in _ORDER if states[state]),
    )
    silent = {silence.worker: silence.reason for silence in told.silent}
    # Those that are well are in the counts; on a small screen the others matter.
    shown = sorted(workers, key=lambda worker: (worker.info.name not in silent, worker.status == "live"))
    shown_workers = shown if rows is None else shown[:_MOST_WORKERS]
    threads = sorted(told.threads, key=lambda thread: _urgency(thread, now))
    room = None if rows is None else max(1, rows - len(shown_workers) - _HEAD_LINES)
    parts: list[RenderableType] = [head, _workers(shown_workers, silent), Text(""), _threads(threads[:room], now)]
    if room is not None and len(threads) > room:
        parts.append(Text(f"… and {len(threads) - room} more threads", style="dim"))
    return Group(*parts)


def _urgency(thread: control.ThreadDetail, now: float) -> tuple[int, float, str, int]:
    """Sort paused threads to the top, and of each state those first that are in it longest."""
    state = thread.info.thread_state.state
    place = _ORDER.index(state) if state in _ORDER else len(_ORDER)
    return place, -(now - thread.since), thread.worker, thread.info.index


def _workers(workers: Sequence[control.WorkerStatus], silent: dict[str, str]) -> Table:
    table = _table("Worker", "Dest", "Status", "LastPing", "Threads", "Empty", "Paused", "Errors", "Trouble")
    for worker in workers:
        info, summary = worker.info, worker.info.summary
        table.add_row(
            _text(info.name),
            _text(info.dest),
            Text(fleet_views.status(worker), _STYLES.get(worker.status, "yellow")),
            units.go_duration(round(worker.age_seconds)),
            *(str(count) for count in (summary.threads, summary.empty, summary.paused, summary.errors)),
            _last(silent.get(info.name, ""), "red"),
        )
    return table


def _threads(threads: Sequence[control.ThreadDetail], now: float) -> Table:
    table = _table("Worker", "#", "Sector", "State", "Doing", "For", "Pid", "Reason")
    for thread in threads:
        info = thread.info
        state = info.thread_state.state
        doing = f"{info.job_stage or ''} {info.thread_state.proc or ''}" if state == "Running" else ""
        reason = info.last_error or (fleet_views.waits_for(thread) if thread.waiting or thread.pausing else "")
        table.add_row(
            _text(thread.worker),
            str(info.index),
            _text(info.job_id or "-"),
            _text(info.job_state),
            Text.assemble((terminal.shown(state), _STYLES.get(state, "")), f" {terminal.shown(doing)}"),
            units.go_duration(max(0, round(now - thread.since))),
            str(thread.pid or "-"),
            _last(reason),
        )
    return table


def _table(*names: str) -> Table:
    """Make a table whose last column alone gives way when the screen is narrow."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, no_wrap=name != names[-1])
    return table


def _text(text: str) -> Text:
    """Show words of others as they are: not as markup, and not as commands to the terminal."""
    return Text(terminal.shown(text))


def _last(text: str, style: str = "") -> Text:
    return Text(terminal.shown(text.replace("\n", " ")), style, no_wrap=True, overflow="ellipsis")
