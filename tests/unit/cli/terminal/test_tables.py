"""Tables of all commands: one line a row on a terminal, and that they leave nothing out elsewhere."""

import importlib
import os
import sys
from collections.abc import Iterator, Sequence

import pytest

from damocles.cli.terminal import tables
from damocles.cli.threads import top, views
from damocles.text import terminal

COLUMNS = ("Sector", "State", "Doing", "Store", "Why")
LONG = "no answer from the manager at http://10.0.0.1:1789/ for 1m18s, and it is tried again until it comes"
STORE = "/srv/damocles/some/long/folder/store"
ROWS = [
    ("s-t010000-1", "PersistanceSubmitted", "Paused", f"{STORE}1", LONG),
    ("s-t010000-12", "PC1Done", "Running", f"{STORE}2", "-"),
]


@pytest.fixture
def shown(capsys, monkeypatch):
    """Return what prints a table on a terminal of some columns, or elsewhere, and gives its lines."""

    def shown(
        width: int | None, rows=ROWS, columns=COLUMNS, *, colour: bool = False, full: bool | None = False
    ) -> list[str]:
        if width is not None:
            monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
            monkeypatch.setitem(os.environ, "COLUMNS", str(width))
        if not colour:
            monkeypatch.setitem(os.environ, "NO_COLOR", "1")
        tables.show(tables.Table[tuple[str, ...]](columns=columns, cells=lambda row: row), rows, full=full)
        printed: str = capsys.readouterr().out
        return printed.splitlines()

    return shown


def test_elsewhere_every_row_is_a_line(shown):
    """Without a terminal nothing is cut; only a line break within a cell is written out."""
    header, first, second = shown(None, [(*ROWS[0][:4], f"a\n{LONG}"), ROWS[1]])
    assert f"Sector        State                 Doing    {'Store'.ljust(len(STORE) + 1)}  Why" == header
    assert [*ROWS[0][:4], f"a\\n{LONG}"] == first.split(maxsplit=4)
    assert [*ROWS[1]] == second.split()


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200, 250])
def test_a_row_is_one_line_that_fits(shown, width):
    """On a terminal of any usual width each row is one line, ids are whole and the header is as it is."""
    lines = shown(width)
    assert max(map(len, lines)) <= width
    assert ["s-t010000-1", "s-t010000-12"] == [line.split()[0] for line in lines[1:3]]
    left_out = lines[3].removeprefix("not shown: ").split(" (")[0].split(", ") if len(lines) > 3 else []
    assert [name for name in COLUMNS if name not in left_out] == lines[0].split()


def test_what_is_cut_first(shown):
    """Paths give way before reasons, in their middle; a reason that is too long ends with …."""
    (_, first, _) = shown(120)
    assert [*ROWS[0][:3], "/srv/damo…/long/folder/store1"] == first.split()[:4]
    assert first.endswith("…")
    assert LONG.startswith(first.split(maxsplit=4)[4].removesuffix("…"))
    assert 120 == len(first)


def test_what_is_left_out_is_named(shown):
    """If cutting is not enough, columns that others can spare are left out, with a line that says so."""
    assert "not shown: Store (--full, or a wider terminal)" == shown(58)[-1]
    assert "not shown: Store (a wider terminal)" == shown(58, full=None)[-1]  # the command has no such option


def test_full_cuts_nothing(shown):
    """With `--full` all cells are whole, whatever the width."""
    _, first, second = shown(60, full=True)
    assert [*ROWS[0]] == first.split(maxsplit=4)
    assert [*ROWS[1]] == second.split()


def test_no_terminal_is_too_narrow(shown):
    """Where even the ids do not fit, lines are cut at the edge."""
    lines = shown(10)
    assert 10 == max(map(len, lines))
    assert 4 == len(lines)


def test_wide_characters_take_two_columns(shown):
    """Names in Chinese neither push the columns after them to the right nor a line over the edge."""
    rows = [("封装机一号", "0", "磁盘已满" * 20), ("gpu", "1", "-")]
    lines = shown(80, rows, ("Worker", "#", "Why"))
    assert all(terminal.width(line) <= 80 for line in lines)
    assert [12, 12, 12] == [
        terminal.width(line[: line.index(mark)]) for line, mark in zip(lines, ("#", "0 ", "1 "), strict=True)
    ]
    assert lines[1].endswith("…")


def test_states_are_coloured(shown, monkeypatch):
    """A paused thread is red and a running one green, on a terminal that has colours; the width does not change."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    header, first, second = shown(120, colour=True)
    assert "\x1b[31mPaused \x1b[0m" in first
    assert "\x1b[32mRunning\x1b[0m" in second
    assert header.startswith("\x1b[1m")
    rows = [("live, draining",), ("firing, muted",), ("a\u00e9",)]
    assert ["\x1b[33mlive, draining\x1b[0m", "\x1b[31mfiring, muted \x1b[0m"] == shown(
        120, rows, ("State",), colour=True
    )[1:3]
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in "".join(shown(120, colour=True))


def test_words_of_others_stay_in_their_cell(shown):
    """Line breaks, tabs and escape sequences in a cell neither break the line nor reach the terminal."""
    rows = [("s-t010000-1", "PC1Done", "Idle", "/store", "a\n\tb\x1b[31mc")]
    assert 2 == len(shown(120, rows))
    assert shown(120, rows)[1].endswith(r"a b\x1b[31mc")


def every_table() -> Iterator[Sequence[str]]:
    """Yield the columns of every table that a command shows on a terminal."""
    names = (
        "access.audit",
        "access.auth",
        "of_manager.moves",
        "of_manager.plans",
        "of_manager.sectors",
        "of_worker.params",
        "of_worker.store",
    )
    for name in names:
        module = importlib.import_module(f"damocles.cli.{name}")
        yield from (found.columns for found in vars(module).values() if isinstance(found, tables.Table))
    yield from (views.workers(600, wide=wide).columns for wide in (False, True))
    yield from (views._THREADS, views._THREADS_WIDE, top._WORKERS, top._THREADS)
    yield from every_table_of("of_manager.wdpost")
    yield from every_table_of("of_manager.alerts")


def every_table_of(name: str) -> Iterator[Sequence[str]]:
    """Yield the columns of the tables of window PoSts, or of alerts, which depend on more than their rows."""
    module = importlib.import_module(f"damocles.cli.{name}")
    if name == "of_manager.alerts":
        yield module._table(0.0).columns
    else:
        yield from (module._table(2, 0.0, detail=detail).columns for detail in (False, True))


def test_what_a_command_asks_for_is_never_cut():
    """A window PoSt is reset by its id, an alert is muted by its number: however long the rest is, they stay whole."""
    for module in ("of_manager.wdpost", "of_manager.alerts"):
        for columns in every_table_of(module):
            row = ["463b45a456f4a4c7", *["x" * 40] * (len(columns) - 1)]
            (text,) = list(tables.lines(columns, [row], 80))[1:]
            assert text.startswith("463b45a456f4a4c7 ")


def test_every_column_says_how_it_gives_way():
    """One thing has one name in all tables, by which it is known how it is cut."""
    names = {name for columns in every_table() for name in columns}
    assert len(names) > 40
    assert set() == names - tables.COLUMNS.keys()


def test_a_column_that_no_terminal_could_show_is_refused_everywhere():
    """Tests have no terminal: a table whose column has no way of giving way must not wait for one to fail."""
    with pytest.raises(ValueError, match="'Novel'"):
        tables.Table(columns=("Sector", "Novel"), cells=tuple)


def test_a_history_keeps_its_events_at_80_columns(shown):
    """What the manager did to a sector has neither worker nor state: without the event such a row says nothing."""
    columns = ("Time", "Worker", "Store", "Try", "State", "Event", "Took", "By", "Error")
    row = ("11-30 11:11:11Z", "gpu1", "/mnt/nvme1/store1", "1", "PersistanceSubmitted", "SubmitPersistance")
    header = shown(80, [(*row, "134ms", "local-worker at 127.0.0.1", "-")], columns)[0]
    assert "Event" in header.split()


def test_that_there_are_no_rows_is_said_in_words(capsys, monkeypatch):
    """On a terminal in place of the header; elsewhere programs get the header that they expect, and people read stderr."""
    table = tables.Table[tuple[str, ...]](columns=COLUMNS, cells=lambda row: row)
    tables.show(table, iter(()), nothing="no sectors")
    out, err = capsys.readouterr()
    assert (list(COLUMNS), "no sectors\n") == (out.split(), err)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    tables.show(table, iter(()), full=False, nothing="no sectors")
    assert ("no sectors\n", "") == capsys.readouterr()
    tables.show(table, iter(ROWS), full=False, nothing="no sectors")
    out, err = capsys.readouterr()
    assert ("no sectors" in out, err) == (False, "")
