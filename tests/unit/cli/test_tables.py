"""Tables of all commands: what they leave out on a terminal, and that they leave nothing out elsewhere."""

import os
import sys

import pytest

from damocles.cli import common

HEADER = ("ID", "Since", "Location", "Text")
LONG = "proof parameters of 2KiB are missing on this worker: fetch them, or make a set for a test network"
ROWS = [
    ("s-t010000-1", "2026-11-27T23:39:31Z", "/srv/damocles/some/long/folder/store1", LONG),
    ("s-t010000-12", "2026-11-27T23:39:32Z", "/srv/damocles/some/long/folder/store2", "-"),
]


@pytest.fixture
def shown(capsys, monkeypatch):
    """Return what prints a table on a terminal of some columns, or elsewhere, and gives its lines."""

    def shown(columns: int | None, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
        if columns is not None:
            monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
            monkeypatch.setitem(os.environ, "COLUMNS", str(columns))
            monkeypatch.setitem(os.environ, "NO_COLOR", "1")
        common.print_table(header, rows)
        return [line.rstrip() for line in capsys.readouterr().out.splitlines()]

    return shown


def test_elsewhere_every_row_is_a_line(shown):
    """Without a terminal nothing is cut or wrapped; only a line break within a cell is written out."""
    header, first, second = shown(None, HEADER, [(*ROWS[0][:3], f"a\n{LONG}"), ROWS[1]])
    assert "ID            Since                 Location                               Text" == header
    assert [*ROWS[0][:3], f"a\\n{LONG}"] == first.split(maxsplit=3)
    assert [*ROWS[1]] == second.split()


def test_the_last_column_wraps_before_anything_is_cut(shown):
    """If there is room for the other columns, they are whole, and the last one takes the rest of the width."""
    lines = shown(120, HEADER, ROWS)
    assert 120 >= max(map(len, lines))
    column = lines[0].index("Text")
    assert [*ROWS[0][:3]] == lines[1][:column].split()
    assert LONG == " ".join(line[column:] for line in lines[1:-1])
    assert [*ROWS[1]] == lines[-1].split()


def test_only_the_middle_of_paths_is_left_out(shown):
    """On a narrow terminal ids and times stay whole, and so do the ends of paths, in which they differ."""
    lines = shown(80, HEADER, ROWS)
    assert 80 >= max(map(len, lines))
    column = lines[0].index("Text")
    assert [*ROWS[0][:2], "/srv/…der/store1"] == lines[1][:column].split()
    assert [*ROWS[1][:2], "/srv/…der/store2", "-"] == lines[-1].split()
    assert LONG == " ".join(line[column:] for line in lines[1:-1])


def test_cells_of_several_words_wrap(shown):
    """A column other than the last that gives way wraps between words."""
    rows = [("one two three four five six", "x" * 6)]
    assert ["A           B", f"one two     {'x' * 6}", "three four", "five six"] == shown(18, ("A", "B"), rows)


def test_what_cannot_fit_is_left_to_the_terminal(shown):
    """If ids and times alone are too wide, each row is one line with all of its words."""
    lines = shown(40, HEADER, ROWS)
    assert 1 + len(ROWS) == len(lines)
    assert [*ROWS[0][:2], "/srv/…der/store1", LONG] == lines[1].split(maxsplit=3)
