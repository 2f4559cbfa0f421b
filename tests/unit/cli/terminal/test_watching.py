"""`--watch`: the same for all lists."""

import contextlib
import io
import json
import sys
from collections.abc import Callable

import pytest

from damocles.cli import manager, worker
from damocles.cli.terminal import exits, watching

# What prints a list that changes while one looks at it.
LISTS = {"list", "info", "status", "threads", "ps", "workers", "sectors", "deadlines", "deadline", "faults", "history"}


class Terminal(io.StringIO):
    """A terminal to print to."""

    def isatty(self) -> bool:
        """Return that it is one."""
        return True


class Pauses:
    """Counts the pauses between lists, and is Ctrl-C after some."""

    def __init__(self, most: int) -> None:
        self.left = most

    def __call__(self, _: float) -> None:
        """Count one."""
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.fixture
def drawn(monkeypatch):
    """Return what watches a function for some pauses on a terminal of six lines, and gives what was drawn."""
    monkeypatch.setenv("LINES", "6")
    monkeypatch.setenv("COLUMNS", "80")

    def drawn(show: Callable[[], int], pauses: int) -> str:
        terminal = Terminal()
        with contextlib.redirect_stdout(terminal):
            assert 0 == watching.again(show, as_json=False, pause=Pauses(pauses))
        return terminal.getvalue()

    return drawn


def printing(*texts: str) -> Callable[[], int]:
    """Return a command that prints one text after the other."""
    left = iter(texts)

    def show() -> int:
        sys.stdout.write(next(left))
        return 0

    return show


@pytest.mark.parametrize("program", [manager, worker])
def test_every_list_can_be_watched(program, options_of):
    """Whatever is named like a list has the option."""
    known = options_of(program)
    lists = {name for name in known if name.split()[-1] in LISTS and name != "damocles-manager util miner info"}
    assert set() == {name for name in lists if "--watch" not in known[name]}


def test_each_list_is_drawn_over_the_one_before(drawn):
    """From the first line on, each line to its end, and below it nothing of the one before."""
    assert "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J\x1b[Hc\x1b[K\n\x1b[J" == drawn(printing("a\nb\n", "c\n"), 2)


def test_a_list_longer_than_the_terminal_keeps_its_beginning(drawn):
    """The last line says how much more there is."""
    text = drawn(printing("\n".join(map(str, range(9)))), 1)
    lines = text.replace("\x1b[K", "").removeprefix("\x1b[H").splitlines()
    assert ["0", "1", "2", "3", "… and 5 more lines"] == lines[:5]


def test_a_failure_is_shown_and_tried_again(drawn):
    """A manager that starts anew is back by itself."""
    then = printing("here again\n")
    failures = [exits.ManagerUnreachable("it is away")]

    def show() -> int:
        if failures:
            raise failures.pop()
        return then()

    text = drawn(show, 2)
    assert "it is away" in text
    assert text.endswith("here again\x1b[K\n\x1b[J")


def test_json_is_a_line_each_time(capsys):
    """For programs that read what comes as it comes; afterwards JSON is as always."""
    answers = iter([{"a": [1]}, {"a": [2]}])

    def show() -> int:
        exits.print_json(next(answers))
        return 0

    assert 0 == watching.again(show, as_json=True, pause=Pauses(2))
    assert [{"a": [1]}, {"a": [2]}] == [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    exits.print_json({"a": [3]})
    assert 3 < len(capsys.readouterr().out.splitlines())


def test_without_a_terminal_it_is_refused(capsys):
    """And says what to do."""
    assert 2 == manager.main(["util", "worker", "list", "--watch"])
    assert "error: --watch needs a terminal; elsewhere add --json" in capsys.readouterr().err
