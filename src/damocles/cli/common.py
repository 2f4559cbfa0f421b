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

import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
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
_NARROWEST = 6
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
        error(" ".join(str(failure).split()))
        hint("try --help")
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


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, whole_last: bool = False) -> None:
    """Print rows under a header, columns two blanks apart, as in the originals' tables.

    On a terminal the table fits its width: the widest columns give way, with … where something is cut. Elsewhere
    nothing is cut, nor is the last column with `whole_last`: the terminal breaks its line.
    """
    lines = [[*header], *([_one_line(cell) for cell in row] for row in rows)]
    widths = [max(_MIN_WIDTH, *map(len, column)) for column in zip(*lines, strict=True)]
    is_terminal = sys.stdout.isatty()
    if is_terminal:
        available = shutil.get_terminal_size().columns - _GAP * (len(header) - 1)
        while sum(widths) > available and max(widths) > _NARROWEST:
            widths[widths.index(max(widths))] -= 1
        if whole_last:
            widths[-1] = max(map(len, (line[-1] for line in lines)))
    for number, line in enumerate(lines):
        cells = [_cut(cell, width) for cell, width in zip(line, widths, strict=True)]
        text = (
            "".join(cell.ljust(width + _GAP) for cell, width in zip(cells[:-1], widths[:-1], strict=True)) + cells[-1]
        )
        print(f"{_BOLD}{text}{_PLAIN}" if number == 0 and is_terminal and _wants_colour() else text)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _wants_colour() -> bool:
    return "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _say(label: str, colour: str, text: str) -> None:
    if sys.stderr.isatty() and _wants_colour():
        label = f"{colour}{label}{_PLAIN}"
    for line in text.splitlines():
        print(f"{label}: {terminal.shown(line)}", file=sys.stderr)


def _one_line(text: str) -> str:
    return terminal.shown(text.strip().replace("\r", ""))
