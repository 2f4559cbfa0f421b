"""Tables for people and for programs.

On a terminal a row is one line that fits, whatever is in it: columns give way in the order of their ranks, and `--full`
leaves nothing out. Elsewhere a table is as it always was, in the originals' columns where they have it: programs read it.

A table is data (`Table`), and how a column gives way goes by its name, so that one thing has one name in all tables.
"""

import functools
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from damocles.cli.terminal import exits
from damocles.text import terminal

T = TypeVar("T")

Fact: TypeAlias = tuple[str, str]  # a name and a value

GAP = 2
_WIDER = "a wider terminal"
_MIN_WIDTH = 2
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"
_RED, _GREEN, _YELLOW, _DIM = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[2m"

_COLOURS = {
    **dict.fromkeys(
        ("Paused", "lost", "critical", "firing", "Aborted", "Failed", "failed", "missing", "damaged", "cut", "removed"),
        _RED,
    ),
    **dict.fromkeys(("Waiting", "late", "warning", "pending", "draining", "drained", "expired", "revoked"), _YELLOW),
    **dict.fromkeys(("Running", "live", "ok", "resolved", "Finished", "Succeed", "valid"), _GREEN),
    "Idle": _DIM,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """How a column gives way where a row does not fit: the one with the highest rank first.

    Without a rank it stays as it is. It is cut down to `least` characters, with a `wish` to have so many before others
    are cut for it; if that is not enough, columns that are `spare` are left out, the highest first. `ends` cuts in the
    middle.
    """

    rank: int = 0
    least: int = 0
    wish: int = 0
    spare: int = 0
    ends: bool = False
    coloured: bool = False


_TEXT = Column(rank=1, least=28, wish=44)  # errors and reasons: what an operator looks for
_PATH = Column(rank=6, least=14, spare=6, ends=True)
_NAME = Column(rank=3, least=8, wish=24)
_TIME = Column(spare=5)

# Every column that a terminal shows, by its name.
COLUMNS: Mapping[str, Column] = {
    "#": Column(),
    "A day": Column(),
    "About": _TEXT,
    "Ack": Column(rank=5, least=8, spare=4),
    "Active": Column(),
    "Address": Column(rank=4, least=15, wish=22, spare=1),
    "All": Column(),
    "Balance": Column(),
    "By": Column(rank=4, least=6, spare=6),
    "Bytes": Column(),
    "Changed": _TEXT,
    "Count": Column(),
    "Created": Column(spare=4),
    "Deadline": Column(),
    "Deals": Column(spare=2),
    "Default": Column(rank=3, least=8, wish=16),
    "Dest": Column(rank=5, least=10, ends=True),
    "Doing": Column(rank=4, least=8, coloured=True),
    "Elapsed": Column(spare=2),
    "Empty": Column(spare=3),
    "End": Column(rank=4, least=9),
    "Ends": Column(),
    "Error": _TEXT,
    "Errors": Column(),
    "Event": Column(rank=4, least=8, spare=3),
    "Expiration": Column(rank=4, least=8),
    "Expiration (days)": Column(),
    "Expires": Column(spare=2),
    "Faulty": Column(),
    "File": Column(rank=1, least=16, ends=True),
    "Finished": Column(spare=3),
    "For": Column(),
    "From": Column(spare=6),
    "Group": Column(rank=5, least=8),
    "Heartbeat": Column(spare=3),
    "Holds": Column(rank=3, least=11),
    "Host": Column(rank=7, least=6, spare=9),
    "ID": Column(),
    "Id": Column(),
    "Job": Column(),  # reset and remove want it whole
    "Key": Column(rank=5, least=14, ends=True),
    "Kind": Column(),
    "Live": Column(),
    "Meaning": _TEXT,
    "MaxExpiration": Column(spare=4),
    "MaxExtendNow": Column(rank=5, least=8),
    "Miner": Column(spare=1),
    "MostCost": Column(spare=5),
    "Name": _NAME,
    "Nonce": Column(spare=2),
    "Offset": Column(),
    "Open": Column(),
    "Ok": Column(),
    "One more": Column(rank=4, least=13),
    "Outcome": Column(rank=1, least=10, wish=30),
    "Partition": Column(),
    "Partitions": Column(rank=5, least=10, spare=5),
    "Paused": Column(),
    "Pid": Column(spare=7),
    "Piece": Column(rank=6, least=12, ends=True),
    "Ping": Column(),
    "Plan": Column(spare=5),
    "Pledge": Column(spare=3),
    "PreCommit": Column(spare=2),
    "Port": Column(),
    "Premium": Column(),
    "Process": Column(rank=5, least=8),
    "Proof": Column(rank=5, least=9, spare=3),
    "Proofs": _TEXT,
    "Proven": Column(),
    "Reason": Column(rank=2, least=10, wish=30),
    "Reached": _TEXT,
    "Recovering": Column(),
    "Retries": Column(spare=8),
    "Queue": Column(spare=6),
    "Rule": Column(rank=5, least=12),
    "Running": Column(spare=4),
    "Scope": Column(),
    "SealProof": Column(spare=6),
    "Sector": Column(),
    "Sectors": Column(spare=4),
    "Sectors (faults)": Column(),
    "Sender": Column(rank=6, least=14, spare=6, ends=True),
    "Setting": Column(rank=6, least=44, ends=True),
    "Severity": Column(coloured=True),
    "Since": _TIME,
    "Size": Column(),
    "Stage": Column(spare=4),
    "Started": Column(spare=4),
    "State": Column(rank=2, least=12, coloured=True),
    "Status": Column(coloured=True),
    "Store": _PATH,
    "Subject": Column(rank=5, least=10),
    "Text": _TEXT,
    "Threads": Column(),
    "Time": Column(),
    "Token": Column(),
    "Took": Column(),
    "Trouble": _TEXT,
    "Try": Column(spare=2),
    "Updated": _TIME,
    "Used": Column(spare=3),
    "Value": Column(rank=5, least=8, wish=16, spare=3),
    "Version": Column(rank=5, least=7, spare=6),
    "Waiting": Column(spare=4),
    "Waits for": Column(rank=2, least=12, wish=30),
    "What": Column(rank=4, least=13, wish=20),
    "Who": Column(rank=3, least=8, wish=16),
    "Why": _TEXT,
    "With": Column(rank=2, least=14, wish=30),
    "Within": Column(),
    "Worker": _NAME,
    "Before": Column(rank=4, least=10),
    "After": Column(rank=4, least=10),
}


@dataclass(frozen=True, kw_only=True)
class Table(Generic[T]):
    """A table: its columns and the cells of a row; `plain…` is what it has where output is no terminal."""

    columns: Sequence[str]
    cells: Callable[[T], Sequence[str]]
    plain_columns: Sequence[str] = ()
    plain_cells: Callable[[T], Sequence[str]] | None = None

    def __post_init__(self) -> None:
        """Refuse a column that no terminal could show, also where output is none: tests have none."""
        unknown = [name for name in self.columns if name not in COLUMNS]
        if unknown:
            raise ValueError(f"how do the columns {unknown} give way? say so in COLUMNS")


def on_terminal() -> bool:
    """Return whether a person reads the standard output."""
    return sys.stdout.isatty()


def columns(*, full: bool = False) -> int | None:
    """Return how wide lines for people may be, `None` for any width: no terminal, or `full`."""
    return None if full or not on_terminal() else shutil.get_terminal_size().columns


def print_lines(text: Iterable[str]) -> None:
    """Print lines that have been made to be shown."""
    sys.stdout.write("".join(f"{line}\n" for line in text))


def print_facts(pairs: Iterable[Fact]) -> None:
    """Print names and values, one a line; an empty name stands for an empty line."""
    known = list(pairs)
    width = max(len(name) for name, _ in known) + 1
    for name, value in known:
        exits.print_line(f"{f'{name}:':<{width}}  {value}" if name else "")


def show(table: Table[T], items: Iterable[T], *, full: bool | None = None, nothing: str = "") -> None:
    """Print a table, for people or for programs; `full` leaves nothing out on a terminal either.

    A command that has no option for that says nothing of it, and none is advised. In place of a table without rows stands
    `nothing`; programs get its header, and that on stderr.
    """
    items = list(items)
    if nothing and not items:
        if on_terminal():
            exits.print_line(nothing)
            return
        exits.hint(nothing)
    if on_terminal():
        rows = map(table.cells, items)
        way = _WIDER if full is None else f"--full, or {_WIDER}"
        text = lines(table.columns, rows, columns(full=bool(full)), colour=terminal.wants_colour(), note=way)
    else:
        text = plain_lines(table.plain_columns or table.columns, map(table.plain_cells or table.cells, items))
    print_lines(text)


def plain_lines(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table for programs: columns two blanks apart, nothing cut, the last one not filled up."""
    table = [header, *([_plain(cell) for cell in row] for row in rows)]
    widths = [max(_MIN_WIDTH, *map(len, column)) + GAP for column in zip(*table, strict=True)][:-1]
    line = "".join(f"{{:<{width}}}" for width in widths) + "{}"
    return (line.format(*row) for row in table)


def lines(
    names: Sequence[str], rows: Iterable[Sequence[str]], columns: int | None, *, colour: bool = False, note: str = ""
) -> Iterator[str]:
    """Yield the lines of a table for people, none longer than `columns`, if that is given.

    Of columns that are left out the last line tells, with `note` for what shows them; without one there is no such line.
    """
    table = [names, *([_one_line(cell) for cell in row] for row in rows)]
    natural = [max(map(terminal.width, column)) for column in zip(*table, strict=True)]
    if columns is None or sum(natural) + GAP * (len(natural) - 1) <= columns:
        shown = dict(enumerate(natural))
    else:
        shown = _fitted([COLUMNS[name] for name in names], natural, [len(name) for name in names], columns)
    made = [_Cell.of(COLUMNS[names[index]], width, natural[index]) for index, width in shown.items()]
    for number, row in enumerate(table):
        cells = [cell.text(row[index], colour=colour and number > 0) for index, cell in zip(shown, made, strict=True)]
        text = (" " * GAP).join(cells).rstrip()
        if columns is not None and sum(shown.values()) + GAP * (len(shown) - 1) > columns:
            text = terminal.cut(text, columns)  # there is no room even for what nobody can do without
        yield f"{_BOLD}{text}{_PLAIN}" if colour and number == 0 else text
    left_out = [name for index, name in enumerate(names) if index not in shown]
    if note and left_out:
        text = terminal.cut(f"not shown: {', '.join(left_out)} ({note})", columns or sys.maxsize)
        yield f"{_DIM}{text}{_PLAIN}" if colour else text


@dataclass(frozen=True, slots=True)
class _Cell:
    """How the cells of a column are written."""

    width: int
    whole: bool
    ends: bool
    coloured: bool

    @classmethod
    def of(cls, column: Column, width: int, natural: int) -> "_Cell":
        return cls(width, width >= natural, column.ends, column.coloured)

    def text(self, cell: str, *, colour: bool) -> str:
        if not self.whole:
            cell = (terminal.cut_middle if self.ends else terminal.cut)(cell, self.width)
        text = cell.ljust(self.width) if cell.isascii() else terminal.filled(cell, self.width)
        if colour and self.coloured and (style := _colour(cell)):
            return f"{style}{text}{_PLAIN}"
        return text


@functools.lru_cache(maxsize=256)
def _colour(cell: str) -> str | None:
    """Return the colour of a state; of several words (`live, draining`) the last one that has one counts."""
    words = reversed(cell.replace(",", " ").split())
    return next((_COLOURS[word] for word in words if word in _COLOURS), None)


def _fitted(columns: Sequence[Column], natural: Sequence[int], least: Sequence[int], width: int) -> dict[int, int]:
    """Return the columns that are shown, by number, and their widths, which together fit if they can at all."""
    kept = list(range(len(columns)))
    while True:
        room = width - GAP * (len(kept) - 1)
        widths = {index: min(natural[index], columns[index].wish or natural[index]) for index in kept}
        for index in sorted(kept, key=lambda index: -columns[index].rank):
            floor = max(least[index], columns[index].least)
            if columns[index].rank and widths[index] > floor:
                widths[index] -= min(widths[index] - floor, max(0, sum(widths.values()) - room))
        spare = [index for index in kept if columns[index].spare]
        if sum(widths.values()) <= room or not spare:
            break
        kept.remove(max(spare, key=lambda index: columns[index].spare))
    for index in sorted(kept, key=lambda index: columns[index].rank):
        widths[index] += min(natural[index] - widths[index], max(0, room - sum(widths.values())))
    return widths


def _plain(cell: str) -> str:
    return terminal.shown(cell.strip().replace("\r", ""))


def _one_line(cell: str) -> str:
    return cell if cell.isprintable() and cell[:1] != " " else terminal.shown(" ".join(cell.split()))
