"""Sets of sector numbers as go-bitfield writes them in JSON: lengths of runs, out and in by turns, beginning with out."""

from collections.abc import Iterable


def runs(numbers: Iterable[int]) -> list[int]:
    """Return the runs of a set: `{1, 2, 3, 10}` is `[1, 3, 6, 1]`, the empty set `[0]`."""
    result: list[int] = []
    end = 0
    for number in sorted(set(numbers)):
        if result and number == end:
            result[-1] += 1
        else:
            result += [number - end, 1]
        end = number + 1
    return result or [0]


def members(lengths: Iterable[int]) -> list[int]:
    """Return the numbers in ascending order (inverse of `runs`)."""
    found: list[int] = []
    start = 0
    for index, length in enumerate(lengths):
        if index % 2:
            found += range(start, start + length)
        start += length
    return found
