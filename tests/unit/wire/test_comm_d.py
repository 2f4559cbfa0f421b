"""CommD of a sector from its pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damocles.wire import commitments


@given(st.integers(0, 5), st.randoms())
def test_comm_d_does_not_depend_on_how_zeros_are_cut(power, dice):
    """However a sector of zeros is cut into aligned pieces, its CommD is that of the whole."""
    size = 128 << power
    pieces, offset = [], 0
    while offset < size:
        most = offset & -offset or size
        piece = dice.choice([128 << p for p in range(power + 1) if 128 << p <= most])
        pieces.append((piece, commitments.zero_comm_d(piece)))
        offset += piece
    assert commitments.zero_comm_d(size) == commitments.comm_d(pieces, size)


def test_comm_d_depends_on_the_order():
    """Two pieces of one size are the two children of the root."""
    a, b = bytes([1]) * 32, bytes([2]) * 32
    assert commitments.comm_d([(1024, a), (1024, b)], 2048) != commitments.comm_d([(1024, b), (1024, a)], 2048)
    assert a == commitments.comm_d([(2048, a)], 2048)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([1024], "the pieces are 1024 bytes, the sector has 2048"),
        ([512, 1024, 512], "a piece of 1024 bytes cannot begin at 512"),
        ([1000], "1000 is no size of a piece"),
        ([64], "64 is no size of a piece"),
    ],
)
def test_comm_d_needs_pieces_that_fill_the_sector(sizes, message):
    """What leaves gaps or is not aligned has no CommD."""
    with pytest.raises(ValueError, match=message):
        commitments.comm_d([(size, bytes(32)) for size in sizes], 2048)
