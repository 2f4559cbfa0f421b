"""Taking the padding out of sector data."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damocles.stages.files import fr32


def pad(data: bytes) -> bytes:
    """Pad as the definition says: 254 bits of data, lowest first, in each 256."""
    bits = "".join(format(byte, "08b")[::-1] for byte in data)
    padded = "".join(bits[i : i + 254].ljust(256, "0") for i in range(0, len(bits), 254))
    return bytes(int(padded[i : i + 8][::-1], 2) for i in range(0, len(padded), 8))


@given(data=st.data(), blocks=st.sampled_from([1, 2, 8, 16, 48]))
def test_a_range_is_what_was_padded(data, blocks):
    """Any range of the data comes back, whatever the chunks that it lies in."""
    raw = data.draw(st.binary(min_size=127 * blocks, max_size=127 * blocks))
    offset = data.draw(st.integers(0, len(raw) - 1))
    size = data.draw(st.integers(1, len(raw) - offset))
    sink = io.BytesIO()
    told: list[int] = []
    fr32.copy_range(io.BytesIO(pad(raw)), sink, offset, size, told.append)
    assert raw[offset : offset + size] == sink.getvalue()
    assert size == told[-1]


def test_a_range_beyond_the_end_is_refused():
    """What is not in the sector is not made up."""
    with pytest.raises(ValueError, match="the range of 2 bytes from 126 goes beyond the end"):
        fr32.copy_range(io.BytesIO(bytes(128)), io.BytesIO(), 126, 2, lambda _: None)
