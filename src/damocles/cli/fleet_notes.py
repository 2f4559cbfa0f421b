"""What stands under a table of threads: what to do about what they lack, once for all that lack the same."""

import shlex
import shutil
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from damocles import terminal
from damocles.parameters import lacking
from damocles.wire import control


class _Lacking(NamedTuple):
    """What threads lack, how to get it, and whether it is there by now."""

    lack: lacking.Lack
    commands: tuple[str, ...]
    there: bool


def lines(threads: Sequence[control.ThreadDetail], *, resume: str, whole: bool) -> Iterator[str]:
    """Yield what to say under a table of threads: what to do about missing parameters, and with `whole` every error."""
    paused = {thread.info.last_error for thread in threads if thread.info.thread_state.state == "Paused"}
    counts = Counter((thread.info.last_error, is_remedied(thread)) for thread in threads if thread.info.last_error)
    lacks: Counter[_Lacking] = Counter()
    held = set()
    for (error, there), count in counts.items():
        if (lack := lacking.found(error)) is not None:
            commands = () if there else tuple(lacking.commands(error))
            found = _Lacking(lack, commands, there)
            lacks[found] += count
            held.update([found] if error in paused else [])
        if whole:
            text = terminal.shown(" ".join(error.split()))
            yield from _wrapped(f"{_threads(count)}: {text}")
    for found, count in lacks.items():
        yield f"{_threads(count)}: {found.lack.text}{', there now' if found.there else ''}"
        for way, command in zip(("fetch:", "or make:"), found.commands, strict=False):
            yield from _command(way, command)
        if found in held:
            yield from _command("resume:", f"{resume} --error {shlex.quote(found.lack.words)}")


def is_remedied(thread: control.ThreadDetail) -> bool:
    """Return whether what a thread lacked is there by now."""
    return thread.waiting is not None and thread.waiting.what == lacking.THERE_NOW


def _threads(count: int) -> str:
    return f"{count} {'thread' if count == 1 else 'threads'}"


def _command(way: str, command: str) -> list[str]:
    """Return the lines of a command that can be pasted: a variable before it gets a line of its own if need be."""
    line = f"  {way:8} {command}"
    variable, _, rest = command.partition(" damocles-")
    if len(line) <= shutil.get_terminal_size().columns or not rest:
        return [line]
    return [f"  {way:8} {variable} \\", f"  {'':8} damocles-{rest}"]


def _wrapped(text: str) -> list[str]:
    width = shutil.get_terminal_size().columns
    return textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False)
