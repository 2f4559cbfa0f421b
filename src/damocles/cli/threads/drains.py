"""Wait for the end of a drain, with a countdown."""

import shutil
import sys
import time
from collections.abc import Callable

from damocles.cli.terminal import exits
from damocles.text import terminal, units
from damocles.wire import codec, control

_POLL_SECONDS = 0.5


def show(drain: control.Drain, *, as_json: bool) -> int:
    """Print the progress of a drain."""
    if as_json:
        exits.print_json(codec.to_builtins(drain))
    else:
        exits.print_line(_text(drain))
    return exits.OK


def wait(drain: control.Drain, ask: Callable[[], control.Drain], *, as_json: bool) -> int:
    """Show what is left, whenever that changes and on a terminal each second, until nothing is.

    Fail if the deadline comes first, if somebody ends the drain, or if all that is left is paused and will not end.
    """
    deadline = drain.deadline
    shown = ""
    live = sys.stdout.isatty() and not as_json
    while True:
        busy = f"draining, still in progress: {', '.join(drain.busy) or 'nothing'}"
        text = terminal.shown(_text(drain) if live or not drain.on else busy)
        if text != shown and not as_json:
            # A line that the terminal breaks could not be drawn over.
            line = f"\r\x1b[K{terminal.cut(text, shutil.get_terminal_size().columns - 1)}" if live else text
            print(line, end="" if live else "\n", flush=True)
            shown = text
        stuck = bool(drain.busy) and set(drain.paused) == set(drain.busy)
        over = not drain.on or not drain.busy or stuck or (deadline is not None and drain.deadline is None)
        if over:
            break
        time.sleep(_POLL_SECONDS)
        drain = ask()
    if live:
        print()
    if as_json:
        exits.print_json(codec.to_builtins(drain))
    if not drain.on:
        raise exits.Failed("somebody else ended the drain")
    if stuck and not (deadline is not None and drain.deadline is None):
        raise exits.Failed(
            f"paused, and will not end by themselves: {', '.join(drain.busy)}; resume or abort them (--paused)"
        )
    if drain.busy:
        raise exits.Failed(f"the deadline has passed; paused at their next boundary: {', '.join(drain.busy)}")
    if not as_json:
        print("drained: no sector is in progress")
    return exits.OK


def _text(drain: control.Drain) -> str:
    busy = f"{len(drain.busy)} in progress" + (f": {', '.join(drain.busy)}" if drain.busy else "")
    if drain.paused:
        busy += f" ({len(drain.paused)} of them paused)"
    if not drain.on:
        return f"takes new sectors; {busy}"
    left = ""
    if drain.deadline is not None:
        left = f", {units.brief_duration(max(0, round(drain.deadline - time.time())))} to the deadline"
    reason = f" ({drain.reason})" if drain.reason else ""
    return f"draining{reason}{left}; {busy}"
