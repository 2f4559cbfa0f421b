"""CIDs of commitments, as the chain writes CommR, CommD and piece commitments.

Codes are from the multicodec table: `fil-commitment-unsealed` 0xf101 with `sha2-256-trunc254-padded` 0x1012,
`fil-commitment-sealed` 0xf102 with `poseidon-bls12_381-a2-fc1` 0xb401.
"""

import base64
import functools
import hashlib
from collections.abc import Iterable

from damocles.wire import codec

# Version 1, codec, multihash code, length 32, each as unsigned varint.
_UNSEALED_PREFIX = bytes.fromhex("0181e203922020")
_SEALED_PREFIX = bytes.fromhex("0182e20381e80220")


def _cid(prefix: bytes, commitment: bytes) -> codec.CID:
    text = base64.b32encode(prefix + codec.Bytes32(commitment)).decode().lower().rstrip("=")
    return codec.CID("b" + text)


def sealed_cid(comm_r: bytes) -> codec.CID:
    """Return the CID of a replica commitment (32 bytes), `bagboea4b5abc…`."""
    return _cid(_SEALED_PREFIX, comm_r)


def unsealed_cid(comm_d: bytes) -> codec.CID:
    """Return the CID of a data or piece commitment (32 bytes), `baga6ea4sea…`."""
    return _cid(_UNSEALED_PREFIX, comm_d)


def commitment_of(cid: str) -> codec.Bytes32:
    """Return the 32 bytes of a commitment CID.

    Raises:
        ValueError: It is not the CID of a sealed or unsealed commitment.
    """
    text = cid[1:].upper()
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8)) if cid.startswith("b") else b""
    except ValueError:
        raw = b""
    for prefix in (_UNSEALED_PREFIX, _SEALED_PREFIX):
        # In its one spelling alone: a CID becomes the name of a file, and two names would be two pieces.
        if raw.startswith(prefix) and len(raw) == len(prefix) + 32 and _cid(prefix, raw[len(prefix) :]) == cid:
            return codec.Bytes32(raw[len(prefix) :])
    raise ValueError(f"{cid!r} is not the CID of a sealed or unsealed commitment")


@functools.cache
def zero_comm_d(size_bytes: int) -> codec.Bytes32:
    """Return CommD of zeros: of a sector without deals, or of a filler piece of `size_bytes` padded bytes (a power of 2).

    Every node is the SHA-256 of its two children with the two highest bits cleared, so that it is an element of the
    field.
    """
    node = bytes(32)
    for _ in range((size_bytes // 32).bit_length() - 1):
        node = _parent(node, node)
    return codec.Bytes32(node)


def comm_d(pieces: Iterable[tuple[int, bytes]], sector_bytes: int) -> codec.Bytes32:
    """Return CommD of a sector from its pieces, each with its padded bytes and commitment, in their order.

    Raises:
        ValueError: They do not fill the sector, or one does not begin at a multiple of its size.
    """
    # Finished subtrees from left to right, each larger than the next: like adding binary numbers.
    open_trees: list[tuple[int, bytes]] = []
    offset_bytes = 0
    for size, commitment in pieces:
        check_size(size)
        if offset_bytes % size:
            raise ValueError(
                f"a piece of {size} bytes cannot begin at {offset_bytes}, which is no multiple of its size"
            )
        node, width = commitment, size
        while open_trees and open_trees[-1][0] == width:
            node, width = _parent(open_trees.pop()[1], node), 2 * width
        open_trees.append((width, node))
        offset_bytes += size
    if offset_bytes != sector_bytes:
        raise ValueError(f"the pieces are {offset_bytes} bytes, the sector has {sector_bytes}")
    return codec.Bytes32(open_trees[0][1])


def check_size(size_bytes: int) -> None:
    """Refuse a padded piece size that none can have.

    Raises:
        ValueError: It is no power of 2, or below 128.
    """
    if size_bytes < 128 or size_bytes & (size_bytes - 1):
        raise ValueError(f"{size_bytes} is no size of a piece: expected a power of 2 from 128 bytes on")


def _parent(left: bytes, right: bytes) -> bytes:
    digest = hashlib.sha256(left + right).digest()
    return digest[:31] + bytes([digest[31] & 0x3F])
