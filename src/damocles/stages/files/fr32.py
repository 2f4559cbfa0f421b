"""Take the padding out of sector data.

Elements of the curve's field have a little less than 255 bits, so a sector keeps 254 bits of data in every 32 bytes:
127 bytes become 128, the lowest bit first, and the two highest bits of each element are zero.
"""

import functools
from collections.abc import Callable
from typing import BinaryIO

GROUP_BYTES = 127  # of data that four elements hold: the smallest number that begins and ends with one

_ELEMENT_BITS = 256
_PADDING_BITS = 2
_CHUNK_BYTES = 1 << 12  # the fastest: 110 MB/s


def unpad(padded: bytes) -> bytes:
    """Return the data in `padded`; its length is 128 times a power of two, the result is 127 bytes for each 128.

    Neighbours are joined pairwise, in all of the data at once: a gap of two bits between elements becomes one of four
    between pairs, and so on.
    """
    number, slot, gap = int.from_bytes(padded, "little"), _ELEMENT_BITS, _PADDING_BITS
    for lower in _masks(len(padded)):
        number = (number & lower) | ((number & (lower << slot)) >> gap)
        slot, gap = 2 * slot, 2 * gap
    return number.to_bytes(len(padded) // 128 * GROUP_BYTES, "little")


@functools.cache
def _masks(size_bytes: int) -> tuple[int, ...]:
    """Return, for each round of joining, ones where the lower one of each pair has its data."""
    total_bits, slot, gap, masks = size_bytes * 8, _ELEMENT_BITS, _PADDING_BITS, []
    while slot < total_bits:
        pairs = ((1 << total_bits) - 1) // ((1 << (2 * slot)) - 1)  # a one at the beginning of each pair
        masks.append(((1 << (slot - gap)) - 1) * pairs)
        slot, gap = 2 * slot, 2 * gap
    return tuple(masks)


def copy_range(
    source: BinaryIO, sink: BinaryIO, offset_bytes: int, size_bytes: int, progress: Callable[[int], None]
) -> None:
    """Copy a range of the data in `source`, counted without the padding; report the bytes done to `progress`.

    `source` holds a multiple of 128 bytes. A range beyond its end is a `ValueError`.
    """
    data_per_chunk = _CHUNK_BYTES // 128 * GROUP_BYTES
    done = 0
    while done < size_bytes:
        chunk, skipped = divmod(offset_bytes + done, data_per_chunk)
        source.seek(chunk * _CHUNK_BYTES)
        padded = source.read(_CHUNK_BYTES)
        # Zeros behind the end stand for nothing: the length is checked.
        data = unpad(padded.ljust(_CHUNK_BYTES, b"\0"))[: len(padded) // 128 * GROUP_BYTES]
        part = data[skipped : skipped + size_bytes - done]
        if not part:
            raise ValueError(f"the range of {size_bytes} bytes from {offset_bytes} goes beyond the end of the sector")
        sink.write(part)
        done += len(part)
        progress(done)
