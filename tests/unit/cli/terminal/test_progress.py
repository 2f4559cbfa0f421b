"""How far a long command has come."""

import io
import sys

import pytest

from damocles.cli.terminal import progress


class Terminal(io.StringIO):
    """Fake: a terminal that keeps what was written."""

    def isatty(self):
        """Be one."""
        return True


class Clock:
    """A clock that is moved by hand."""

    now = 100.0

    def __call__(self):
        """Return the time."""
        return self.now


def show(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, *times: float) -> str:
    """Count on a stream, once at each time, and return what is on it; the end takes it away."""
    monkeypatch.setattr(sys, "stderr", stream)
    clock = Clock()
    counter = progress.Counter("sectors", 200, clock=clock)
    for number, at in enumerate(times, 1):
        clock.now = 100.0 + at
        counter.show(number * 10)
    shown = stream.getvalue()
    counter.end()
    return shown


def test_a_short_command_shows_nothing(monkeypatch):
    """Within two seconds nobody needs to be told, and nothing has to be taken away."""
    stream = Terminal()
    assert "" == show(stream, monkeypatch, 0.5, 1.9)
    assert "" == stream.getvalue()


def test_a_long_one_tells_now_and_then(monkeypatch):
    """From two seconds on the count is told, at most five times a second, on one line that is cleared at the end."""
    stream = Terminal()
    assert "\r20 sectors (10 %)\r40 sectors (20 %)" == show(stream, monkeypatch, 1.0, 2.1, 2.2, 2.4)
    assert stream.getvalue().endswith(f"\r{' ' * 17}\r")


def test_a_pipe_hears_nothing(monkeypatch):
    """Where nobody looks there are no lines that a program would have to skip."""
    stream = io.StringIO()
    assert "" == show(stream, monkeypatch, 5.0)
