"""Notes under a table of threads: what to do about what they lack, once for all that lack the same."""

import re
import shlex
import shutil
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from damocles.operating import words
from damocles.parameters import lacking
from damocles.text import terminal
from damocles.wire import control


class _Lacking(NamedTuple):
    """What threads lack, how to get it, and whether it has arrived since."""

    lack: lacking.Lack
    commands: tuple[str, ...]
    there: bool


def lines(threads: Sequence[control.ThreadDetail], *, resume: Sequence[str], whole: bool) -> Iterator[str]:
    """Yield the notes under a table of threads: what to do about missing parameters, and with `whole` every error.

    `resume` is the command that resumes threads, with the options by which it finds their daemon.
    """
    paused = {thread.info.last_error for thread in threads if thread.info.thread_state.state == "Paused"}
    counts = Counter(
        (thread.info.last_error, words.is_remedied(thread)) for thread in threads if thread.info.last_error
    )
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
            yield from _command(way, *re.split(r" (?=damocles-)", command, maxsplit=1))
        if found in held:
            command, *options = resume
            yield from _command("resume:", f"{command} --error {shlex.quote(found.lack.words)}", *options)


def _threads(count: int) -> str:
    return f"{count} {'thread' if count == 1 else 'threads'}"


def _command(way: str, *parts: str) -> list[str]:
    """Return the lines of a command that can be pasted; a long one is broken between its parts."""
    columns = shutil.get_terminal_size().columns
    made = [f"  {way:8} {parts[0]}"]
    for left, part in zip(range(len(parts) - 2, -1, -1), parts[1:], strict=True):
        if len(made[-1]) + len(f" {part}") + (len(" \\") if left else 0) <= columns:
            made[-1] += f" {part}"
        else:
            made[-1] += " \\"
            made.append(f"  {'':8} {part}")
    return made


def _wrapped(text: str) -> list[str]:
    width = shutil.get_terminal_size().columns
    return textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False)
