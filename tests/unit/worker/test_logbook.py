"""What a worker remembers of the lines of its stages."""

import pytest

from damocles.worker import logbook


@pytest.mark.parametrize(("lines", "length", "kept"), [(6000, 1, 5000), (1000, 4000, 500), (10, 1_000_000, 10)])
async def test_the_last_lines_are_kept(lines, length, kept):
    """As many as there may be and as fit into two million characters, each of at most 4,000, and of each thread."""
    book = logbook.Logbook(lambda: 0.0)
    for _ in range(lines):
        book(0, "PC1", 7, "x" * length)
    book(1, "PC1", 7, "another thread")
    found = await book.read(0, 0, 0.0)
    assert list(range(lines - kept + 1, lines + 1)) == [line.number for line in found]
    assert ["another thread"] == [line.text for line in await book.read(1, 0, 0.0)]
