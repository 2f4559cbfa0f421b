"""How fast a stage goes on, and what people read of it."""

import pytest

from damocles.operating import words
from damocles.wire import control
from damocles.worker.thread import stage_runs

GIB, MIB = 1 << 30, 1 << 20


def test_pace_of_the_last_minute():
    """The first news tell none; later ones that of the last minute, not that of the beginning."""
    one = stage_runs.Pace()
    assert one.of(0, 100 * MIB, "B", 10.0).per_second is None
    assert 5 * MIB == one.of(10 * MIB, 100 * MIB, "B", 12.0).per_second
    for second in range(13, 140):
        told = one.of(10 * MIB + (second - 12) * MIB, 1 * GIB, "B", float(second))
    assert told.per_second == pytest.approx(MIB, rel=0.02)


def test_another_file_is_measured_anew():
    """As is a stage that begins again, and one that stands still has no pace."""
    one = stage_runs.Pace()
    one.of(0, 100, "B", 0.0)
    assert 50 == one.of(50, 100, "B", 1.0).per_second
    assert one.of(60, 200, "B", 2.0).per_second is None
    assert 10 == one.of(70, 200, "B", 3.0).per_second
    assert one.of(1, 200, "B", 4.0).per_second is None
    assert one.of(1, 200, "B", 9.0).per_second is None


@pytest.mark.parametrize(
    ("news", "text"),
    [
        (control.Progress(12 * GIB, 32 * GIB, "B", 256 * MIB), "12GiB of 32GiB, 256MiB/s, 1m20s left"),
        (control.Progress(12 * GIB, None, "B", 256 * MIB), "12GiB, 256MiB/s"),
        (control.Progress(3, 10, "sectors", 0.5), "3 of 10 sectors, 14s left"),
        (control.Progress(0, 32 * GIB, "B"), "0B of 32GiB"),
        (control.Progress(0, None, "B"), ""),
        (None, ""),
    ],
)
def test_what_people_read(news, text):
    """Bytes, rate and time left, as far as they are known."""
    assert text == words.progress(news)
