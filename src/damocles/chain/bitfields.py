"""Sets of sector numbers, partitions or deadlines as the chain has them.

In JSON they are lengths of runs, out and in by turns, beginning with out: `{1, 2, 3, 10}` is `[1, 3, 6, 1]`, the empty
set `[0]`. In CBOR they are bytes of RLE+: two bits for the version, the first bit of the set, then its runs: `1` a run
of one, `01` and four bits one of up to 15, `00` and a varint a longer one; lowest bits first, the empty set no bytes.
Actors take no second spelling of a set, and neither is one read here.

Sets are kept as runs: a set of 2^63 numbers takes no more room than one of two.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Self

_LIMIT = (1 << 64) - 1  # sum of all runs
_LIMIT_BYTES = 32 << 10  # of RLE+, in go-bitfield and in the actors


class Bitfield:
    """A set of numbers from 0 to 2^64 - 2, frozen."""

    __slots__ = ("_ranges",)

    _ranges: tuple[tuple[int, int], ...]  # first, and one after the last; ascending, with gaps between

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._ranges = _joined((number, number + 1) for number in sorted(set(numbers)))

    @classmethod
    def _of_ranges(cls, ranges: Iterable[tuple[int, int]]) -> Self:
        made = cls.__new__(cls)
        made._ranges = _joined(ranges)  # noqa: SLF001, its own
        return made

    @classmethod
    def from_runs(cls, lengths: Iterable[int]) -> Self:
        """Read lengths of runs as go-bitfield does; a last run of numbers that are out is of no account.

        Raises:
            ValueError: A length is negative, zero (but for the first), or they go beyond 2^64.
        """
        ranges, start = [], 0
        for index, length in enumerate(lengths):
            if isinstance(length, bool) or not isinstance(length, int):
                raise ValueError("expected lengths of runs, whole numbers")  # noqa: TRY004, as every refusal of what was read
            if length < 0 or (length == 0 and index):
                raise ValueError(f"a run of {length}: only the first may be empty")
            if index % 2:
                ranges.append((start, start + length))
            start += length
        return cls._of_ranges(ranges)

    def runs(self) -> list[int]:
        """Return the lengths of runs (inverse of `from_runs`)."""
        return [length for length, _ in self._runs()] or [0]

    def _runs(self) -> Iterator[tuple[int, bool]]:
        """Yield length and whether it is in, beginning with what is out."""
        end = 0
        for start, stop in self._ranges:
            yield start - end, False
            yield stop - start, True
            end = stop

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and any(start <= number < stop for start, stop in self._ranges)

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers in ascending order; ask `count` before, if the set is a stranger's."""
        return itertools.chain.from_iterable(itertools.starmap(range, self._ranges))

    @property
    def count(self) -> int:
        """How many numbers are in it; `len` cannot tell more than 2^63."""
        return sum(stop - start for start, stop in self._ranges)

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bitfield) and self._ranges == other._ranges

    def __hash__(self) -> int:
        return hash(self._ranges)

    def __repr__(self) -> str:
        spans = (str(start) if stop == start + 1 else f"{start}-{stop - 1}" for start, stop in self._ranges)
        return f"{{{', '.join(spans)}}}"

    def __or__(self, other: "Bitfield") -> "Bitfield":
        return Bitfield._of_ranges(sorted(self._ranges + other._ranges))

    def __sub__(self, other: "Bitfield") -> "Bitfield":
        return Bitfield._of_ranges(_cut(self._ranges, other._ranges))

    def __and__(self, other: "Bitfield") -> "Bitfield":
        return self - (self - other)

    def to_json(self) -> list[int]:
        """Return the lengths of runs."""
        return self.runs()

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read lengths of runs; null is the empty set, as go-bitfield reads it."""
        if value is not None and not isinstance(value, list):
            raise ValueError("expected lengths of runs")
        return cls.from_runs(value or ())

    def to_cbor(self) -> bytes:
        """Return RLE+."""
        if not self:
            return b""
        runs = [length for length, _ in self._runs() if length]
        bits = f"00{0 in self:d}{''.join(map(_bits_of, runs))}"
        if len(bits) > 8 * _LIMIT_BYTES:
            raise ValueError(f"a set of {len(runs)} runs is too large for the chain; name fewer numbers at once")
        # Lowest bit first, and nothing after the last one that is set.
        value = int(bits[::-1], 2)
        return value.to_bytes((value.bit_length() + 7) // 8, "little")

    @classmethod
    def from_cbor(cls, value: Any) -> Self:
        """Read RLE+.

        Raises:
            ValueError: It is none, or not the only spelling of its set.
        """
        if not isinstance(value, bytes) or len(value) > _LIMIT_BYTES:
            raise ValueError(f"expected RLE+ of up to {_LIMIT_BYTES} bytes")
        bits = f"{int.from_bytes(value, 'little'):b}"[::-1] if value else ""
        ranges, start, is_in = [], 0, bits[2:3] == "1"
        for length in _lengths(bits[3:]):
            if is_in:
                ranges.append((start, start + length))
            start, is_in = start + length, not is_in
        read = cls._of_ranges(ranges)
        if read.to_cbor() != value:  # another version as well, a run of nothing, and runs that could be shorter
            raise ValueError("this is not the only spelling of a set in RLE+")
        return read


def _bits_of(length: int) -> str:
    """Return the bits of a run, lowest first."""
    if length == 1:
        return "1"
    if length < 16:
        return "01" + f"{length:04b}"[::-1]
    bits = "00"
    while length > 0x7F:
        bits += f"{length & 0x7F:07b}"[::-1] + "1"
        length >>= 7
    return bits + f"{length:08b}"[::-1]


def _lengths(bits: str) -> Iterator[int]:
    """Yield the runs in bits, as long as there are some; what is not canonical is found by writing them again."""
    at = 0
    while at < len(bits):
        if bits[at] == "1":
            at += 1
            yield 1
        elif bits[at + 1 : at + 2] == "1":
            yield _number(bits[at + 2 : at + 6])
            at += 6
        else:
            at, length, shift = at + 2, 0, 0
            while True:
                length |= _number(bits[at : at + 7]) << shift
                at, shift = at + 8, shift + 7
                if bits[at - 1 : at] != "1" or shift >= 70:
                    break
            yield length


def _number(bits: str) -> int:
    return int(bits[::-1] or "0", 2)


def _joined(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Join ranges that touch or overlap; they come in ascending order of their beginnings."""
    joined: list[tuple[int, int]] = []
    for start, stop in ranges:
        if start < 0 or stop > _LIMIT:
            raise ValueError(f"{start} to {stop} is beyond the numbers of a set: 0 to 2^64 - 2")
        if start >= stop:
            continue
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return tuple(joined)


def _cut(ranges: Iterable[tuple[int, int]], holes: tuple[tuple[int, int], ...]) -> Iterator[tuple[int, int]]:
    """Yield what is left of ranges without the holes, both in ascending order."""
    at = 0
    for start, stop in ranges:
        begin = start
        while at < len(holes) and holes[at][1] <= start:
            at += 1
        for hole_start, hole_stop in itertools.islice(holes, at, None):
            if hole_start >= stop:
                break
            yield begin, hole_start
            begin = max(begin, hole_stop)
        yield begin, stop
