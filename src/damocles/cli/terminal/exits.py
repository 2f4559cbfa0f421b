"""What both programs' commands share: exit codes, errors in one line, JSON.

Exit codes, each except 0 with the reason on stderr:

    0    done
    1    failed, refused, or (of several threads) done to some only
    2    wrong usage, or a missing confirmation
    3    nothing is selected: no such thread, or none that matches
    4    the manager cannot be reached
    5    the worker cannot be reached
    6    there is no such worker
    7    not allowed: no token, or one without the needed scope
    8    the chain node cannot be reached
    130  interrupted

Tracebacks are for bugs.
"""

import json
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from damocles import durable
from damocles.text import terminal

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
NODE_UNREACHABLE = 8
INTERRUPTED = 130

EXIT_CODES = (
    "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no such thread, 4 no manager, 5 no answer from the worker, "
    "6 no such worker, 7 not allowed, 8 no chain node."
)

STANDARD = Path("-")  # stands for the standard output or input

_IN_A_LINE: ContextVar[bool] = ContextVar("in_a_line", default=False)

_RED, _YELLOW, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[0m"


class Failed(Exception):
    """A command cannot do what it was asked to do; the message is for the person who typed it."""

    exit_code = FAILED


class WrongUsage(Failed):
    """The command line itself is wrong."""

    exit_code = USAGE


class NothingSelected(Failed):
    """No thread matches."""

    exit_code = NOTHING_SELECTED


class ManagerUnreachable(Failed):
    """The manager does not answer."""

    exit_code = MANAGER_UNREACHABLE


class WorkerUnreachable(Failed):
    """A worker does not answer."""

    exit_code = WORKER_UNREACHABLE


class UnknownWorker(Failed):
    """The manager knows no such worker."""

    exit_code = UNKNOWN_WORKER


class NotAllowed(Failed):
    """The daemon requires another token."""

    exit_code = NOT_ALLOWED


class NodeUnreachable(Failed):
    """The chain node gives no answer."""

    exit_code = NODE_UNREACHABLE


def run(app: "cyclopts.App", arguments: Sequence[str]) -> int:
    """Parse `arguments`, run the command they name and return the exit code.

    A command returns its exit code, or `None` for 0.
    """
    import cyclopts

    try:
        _check(arguments)
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except cyclopts.CycloptsError as failure:
        error(f"{_in_a_line(failure)} (try --help)")
        return USAGE
    except Failed as failure:
        error(str(failure))
        return failure.exit_code
    except RuntimeError as failure:
        if "home directory" not in str(failure):  # of Path.expanduser, in each Python in its own words
            raise
        error("this user has no home directory: set HOME, or name the folders (--home, worker.home) in full")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return result if isinstance(result, int) else OK


def _check(arguments: Iterable[str]) -> None:
    """Refuse arguments that are not valid text: they could be neither sent nor printed."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as failure:
            raise WrongUsage(f"{argument!r} is not valid UTF-8") from failure


def options_last(given: Sequence[str], group: str, options: Collection[str]) -> list[str]:
    """Move options that follow a group of commands to the end, where they are parsed.

    The original's programs take them only there: `damocles-worker worker -c FILE list`.
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
    """Return what is wrong with a command line."""
    import cyclopts

    if isinstance(failure, cyclopts.UnusedCliTokensError):
        words = failure.unused_tokens or []
        several = "; several threads are written 0,2 or 0-3" if all(map(str.isdigit, words)) else ""
        return f"{' '.join(words)}: nothing more is expected here{several}"
    text = " ".join(str(failure).split()).removesuffix(".")
    if isinstance(failure, cyclopts.UnknownOptionError):
        return _without_wild_guess(text)
    if isinstance(failure, cyclopts.MissingArgumentError):
        text = text.partition("arameter ")[2] or text
        missing = "is missing"
        if failure.keyword is not None:
            missing = f"needs a value; one that begins with - is written {failure.keyword}=VALUE"
        text = text.replace("requires an argument", missing)
    return text


def _without_wild_guess(text: str) -> str:
    """Leave out a guess at what was meant that is like the unknown option only in its dashes."""
    import difflib

    unknown, asks, guess = text.partition(". Did you mean --")
    word = unknown.rpartition("--")[2].partition("=")[0]
    is_wild = bool(asks) and not difflib.get_close_matches(word, [guess.removesuffix("?")], cutoff=0.6)
    return unknown if is_wild else text


def error(text: str) -> None:
    """Print on stderr why the command failed."""
    _print_labelled("error", _RED, text)


def warning(text: str) -> None:
    """Print a warning on stderr."""
    _print_labelled("warning", _YELLOW, text)


def hint(text: str) -> None:
    """Print a hint on stderr."""
    _print_error(terminal.shown(text))


def print_line(text: str) -> None:
    """Print a line that contains text from elsewhere."""
    print(terminal.shown(text))


@contextmanager
def written(out: Path) -> Iterator[IO[bytes]]:
    """Yield a file to write to: standard output, or a file that gets its name once the block has succeeded."""
    if out == STANDARD:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        with durable.replacing(out) as file:
            yield file
    except OSError as error:
        raise Failed(f"{out} cannot be written: {error.strerror}") from error


@contextmanager
def opened(file: Path) -> Iterator[IO[bytes]]:
    """Yield a file to read from: standard input, or a file."""
    if file == STANDARD:
        yield sys.stdin.buffer
        return
    try:
        with file.open("rb") as found:
            yield found
    except OSError as error:
        raise Failed(f"{file} cannot be read: {error.strerror}") from error


@contextmanager
def json_in_a_line() -> Iterator[None]:
    """Let `print_json` print a line for each value while the block runs."""
    before = _IN_A_LINE.set(True)
    try:
        yield
    finally:
        _IN_A_LINE.reset(before)


def print_json(value: Any) -> None:
    """Print `value`, made of dicts, lists, strings, numbers and booleans, as JSON."""
    print(terminal.shown_json(json.dumps(value, indent=None if _IN_A_LINE.get() else 2, ensure_ascii=False)))


def print_result(text: str, value: Any, *, as_json: bool) -> None:
    """Print what was done: as text, or `value` as JSON."""
    if as_json:
        print_json(value)
    elif text:
        print(terminal.shown(text, "\n"))


def _print_labelled(label: str, colour: str, text: str) -> None:
    if sys.stderr.isatty() and terminal.wants_colour():
        label = f"{colour}{label}{_PLAIN}"
    for line in text.splitlines():
        _print_error(f"{label}: {terminal.shown(line)}")


def _print_error(line: str) -> None:
    with suppress(OSError):  # where stderr cannot be written, there is still the exit code
        print(line, file=sys.stderr)
