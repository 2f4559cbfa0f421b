"""What a doctor finds, how it is shown, and the exit code.

A finding is `ok`, worth a `look` (it works, and could work better or may end), or `wrong`. Only the last makes the exit
code 1.
"""

import enum
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from damocles.cli.terminal import exits
from damocles.text import redaction, terminal


class Level(enum.StrEnum):
    """How a finding counts."""

    OK = "ok"
    LOOK = "look"
    WRONG = "wrong"


_COLOURS = {Level.OK: "\x1b[32m", Level.LOOK: "\x1b[33m", Level.WRONG: "\x1b[31m"}
_PLAIN = "\x1b[0m"
_LEVEL_WIDTH, _ABOUT_WIDTH, _NARROWEST = 7, 15, 40


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding: what it is about, and a sentence; of what is not ok, the sentence says what to do."""

    level: Level
    about: str
    text: str


def ok(about: str, text: str) -> Finding:
    """Return a finding that is as it should be."""
    return Finding(Level.OK, about, text)


def look(about: str, text: str) -> Finding:
    """Return a finding that is worth a look."""
    return Finding(Level.LOOK, about, text)


def wrong(about: str, text: str) -> Finding:
    """Return a finding that is wrong."""
    return Finding(Level.WRONG, about, text)


def show(found: Iterable[Finding], *, as_json: bool) -> int:
    """Print findings as they come, and return the exit code: 1 if one is wrong."""
    kept: list[Finding] = []
    is_terminal = sys.stdout.isatty()
    width = max(_NARROWEST, shutil.get_terminal_size().columns) if is_terminal else None
    for one in found:
        kept.append(one)
        if not as_json:
            for line in lines(one, width=width, colour=is_terminal and terminal.wants_colour()):
                print(line, flush=True)
    bad = [one for one in kept if one.level is Level.WRONG]
    if as_json:
        made = [{"level": one.level, "about": one.about, "text": redaction.text(one.text)} for one in kept]
        exits.print_json({"ok": not bad, "findings": made})
    else:
        looks = sum(one.level is Level.LOOK for one in kept)
        print(f"{len(bad)} wrong, {looks} to look at, {len(kept) - len(bad) - looks} ok")
    return exits.FAILED if bad else exits.OK


def lines(one: Finding, *, width: int | None = None, colour: bool = False) -> Iterator[str]:
    """Yield the lines of a finding, none longer than `width`, if that is given."""
    text = terminal.shown(redaction.text(one.text).replace("\n", "; "))
    indent = _LEVEL_WIDTH + _ABOUT_WIDTH
    level = f"{one.level:<{_LEVEL_WIDTH}}"
    head = f"{_COLOURS[one.level]}{level}{_PLAIN}" if colour else level
    head += f"{one.about:<{_ABOUT_WIDTH - 1}} "
    wrapped = [text] if width is None else textwrap.wrap(text, width - indent, break_on_hyphens=False) or [""]
    yield (head + wrapped[0]).rstrip()
    for line in wrapped[1:]:
        yield " " * indent + line


def otherwise(found: Iterable[Finding], make: Callable[[], Finding]) -> Iterator[Finding]:
    """Yield what was found, and if that is nothing, that all is well."""
    is_empty = True
    for one in found:
        is_empty = False
        yield one
    if is_empty:
        yield make()
