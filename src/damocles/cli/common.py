"""What both programs' commands share: exit codes, errors in one line, tables, JSON.

Exit codes, each but 0 with a line on stderr that says why:

    0    done
    1    failed, refused, or (of several threads) done to some only
    2    wrong usage, or a confirmation is missing
    3    nothing is selected: no such thread, or none that fits
    4    the manager cannot be reached
    5    the worker cannot be reached
    6    there is no such worker
    7    not allowed: no token, or not one that is good for this
    130  interrupted

Tracebacks are for bugs.
"""

import itertools
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from damocles import terminal

if TYPE_CHECKING:
    import cyclopts

OK = 0
FAILED = 1
USAGE = 2
NOTHING_SELECTED = 3
MANAGER_UNREACHABLE = 4
WORKER_UNREACHABLE = 5
UNKNOWN_WORKER = 6
NOT_ALLOWED = 7
INTERRUPTED = 130

STANDARD = Path("-")  # stands for the standard output or input

_GAP = 2
_MIN_WIDTH = 2
_SHORT_PATH = 16
_LEAST_SHARE = 1 / 3  # of the terminal, for the last column: it tells of errors, and they are long
_RED, _YELLOW, _BOLD, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[1m", "\x1b[0m"


class Failed(Exception):
    """A command cannot do what it was asked to do; the message is for the person who typed it."""

    exit_code = FAILED


class WrongUsage(Failed):
    """The command line itself is wrong."""

    exit_code = USAGE


class NothingSelected(Failed):
    """No thread fits."""

    exit_code = NOTHING_SELECTED


class ManagerUnreachable(Failed):
    """The manager gives no answer."""

    exit_code = MANAGER_UNREACHABLE


class WorkerUnreachable(Failed):
    """A worker gives no answer."""

    exit_code = WORKER_UNREACHABLE


class UnknownWorker(Failed):
    """The manager knows no such worker."""

    exit_code = UNKNOWN_WORKER


class NotAllowed(Failed):
    """The daemon wants another token."""

    exit_code = NOT_ALLOWED


def run(app: "cyclopts.App", arguments: Sequence[str]) -> int:
    """Parse `arguments`, run the command they name and return the exit code.

    A command returns its exit code, or `None` for 0.
    """
    import cyclopts

    try:
        _check(arguments)
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except cyclopts.CycloptsError as failure:
        error(f"{_in_a_line(failure)} (try --help)")
        return USAGE
    except Failed as failure:
        error(str(failure))
        return failure.exit_code
    except BrokenPipeError:
        # Whoever read our output has seen enough (`… | head`); the interpreter must not complain about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return result if isinstance(result, int) else OK


def _check(arguments: Iterable[str]) -> None:
    """Refuse what is no text: it could neither be sent nor printed."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as failure:
            raise WrongUsage(f"{argument!r} is not valid UTF-8") from failure


def options_last(given: Sequence[str], group: str, options: Collection[str]) -> list[str]:
    """Move options that stand behind a group of commands to the end, where they are parsed.

    The originals take them only there: `damocles-worker worker -c FILE list`.
    """
    if not given or given[0] != group:
        return [*given]
    moved: list[str] = []
    words: list[str] = []
    at = 0
    while at < len(given):
        option, attached, _ = given[at].partition("=")
        size = 1
        if option in options:
            size = 1 if attached else 2
        elif option.startswith("-") and (option.startswith("--") or option[:2] not in options):  # unlike -cFILE
            break
        (moved if option.startswith("-") else words).extend(given[at : at + size])
        at += size
    return [*words, *given[at:], *moved]


def _in_a_line(failure: "cyclopts.CycloptsError") -> str:
    """Say what is wrong with a command line; what was typed says which command it is."""
    import cyclopts

    text = " ".join(str(failure).split()).removesuffix(".")
    if isinstance(failure, cyclopts.MissingArgumentError):
        text = text.partition("arameter ")[2] or text
        missing = "is missing"
        if failure.keyword is not None:
            missing = f"needs a value; one that begins with - is written {failure.keyword}=VALUE"
        text = text.replace("requires an argument", missing)
    return text


def error(text: str) -> None:
    """Say on stderr why the command failed."""
    _say("error", _RED, text)


def warning(text: str) -> None:
    """Say on stderr what is odd."""
    _say("warning", _YELLOW, text)


def hint(text: str) -> None:
    """Say on stderr what may help."""
    print(terminal.shown(text), file=sys.stderr)


def say(text: str) -> None:
    """Print a line that has words of others in it."""
    print(terminal.shown(text))


@contextmanager
def written(out: Path) -> Iterator[IO[bytes]]:
    """Yield what to write to: the standard output, or a file that takes its name when the block has ended well."""
    if out == STANDARD:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = out.with_name(f"{out.name}.part")
    try:
        with part.open("wb") as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                part.replace(out)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise Failed(f"{out} cannot be written: {error.strerror}") from error


@contextmanager
def opened(file: Path) -> Iterator[IO[bytes]]:
    """Yield what to read from: the standard input, or a file."""
    if file == STANDARD:
        yield sys.stdin.buffer
        return
    try:
        with file.open("rb") as found:
            yield found
    except OSError as error:
        raise Failed(f"{file} cannot be read: {error.strerror}") from error


def print_json(value: Any) -> None:
    """Print `value`, made of dicts, lists, strings, numbers and booleans, as JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def tell(text: str, value: Any, *, as_json: bool) -> None:
    """Print what was done: as text, or `value` as JSON."""
    if as_json:
        print_json(value)
    elif text:
        print(text)


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under a header, columns two blanks apart, as in the originals' tables.

    On a terminal the table fits its width: the last column wraps, then the others do, the widest first. Nothing is left
    out but the middle of paths, with … in its place. Elsewhere every row is one line, as it is.
    """
    table = [[*header], *([_one_line(cell) for cell in row] for row in rows)]
    is_terminal = sys.stdout.isatty()
    blocks = _fitted(table, shutil.get_terminal_size().columns) if is_terminal else [[line] for line in table]
    widths = _widths(line for block in blocks for line in block)
    for number, block in enumerate(blocks):
        for line in block:
            cells = (cell.ljust(width + _GAP) for cell, width in zip(line[:-1], widths[:-1], strict=True))
            text = "".join(cells) + line[-1]
            print(f"{_BOLD}{text}{_PLAIN}" if number == 0 and is_terminal and _wants_colour() else text)


def _fitted(table: Sequence[Sequence[str]], terminal_width: int) -> Sequence[Sequence[Sequence[str]]]:
    """Return the lines of each row: one, which the terminal breaks, where its words are too long to fit."""
    available = terminal_width - _GAP * (len(table[0]) - 1)
    widths = _widths(table)
    least = _widths([_longest_word(cell) for cell in line] for line in table)
    last = min(widths.pop(), int(terminal_width * _LEAST_SHARE))
    while sum(widths) + last > available:
        flexible = [index for index, width in enumerate(widths) if width > least[index]]
        if not flexible:
            return [[[*(_path_cut(cell, _SHORT_PATH) for cell in line[:-1]), line[-1]]] for line in table]
        widths[max(flexible, key=widths.__getitem__)] -= 1
    blocks = []
    for line in table:
        cells = [_wrapped(_path_cut(cell, width), width) for cell, width in zip(line[:-1], widths, strict=True)]
        cells.append(_wrapped(line[-1], available - sum(widths)))
        blocks.append([*itertools.zip_longest(*cells, fillvalue="")])
    return blocks


def _widths(lines: Iterable[Sequence[str]]) -> list[int]:
    return [max(_MIN_WIDTH, *map(len, column)) for column in zip(*lines, strict=True)]


def _longest_word(text: str) -> str:
    """Return what has to stay in one piece: ids, numbers and times are of use only whole."""
    return max(_path_cut(text, _SHORT_PATH).split(), key=len, default="")


def _path_cut(text: str, width: int) -> str:
    """Shorten paths in their middle, since stores differ in the end."""
    head = width // 3
    tail = width - head - 1
    return " ".join(
        f"{word[:head]}…{word[-tail:]}" if "/" in word and len(word) > width else word for word in text.split(" ")
    )


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]


def _wants_colour() -> bool:
    return "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _say(label: str, colour: str, text: str) -> None:
    if sys.stderr.isatty() and _wants_colour():
        label = f"{colour}{label}{_PLAIN}"
    for line in text.splitlines():
        print(f"{label}: {terminal.shown(line)}", file=sys.stderr)


def _one_line(text: str) -> str:
    return terminal.shown(text.strip().replace("\r", ""))
