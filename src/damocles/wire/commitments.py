"""CIDs of commitments, as the chain writes CommR, CommD and piece commitments.

Codes are from the multicodec table: `fil-commitment-unsealed` 0xf101 with `sha2-256-trunc254-padded` 0x1012,
`fil-commitment-sealed` 0xf102 with `poseidon-bls12_381-a2-fc1` 0xb401.
"""

import base64
import functools
import hashlib

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
        if raw.startswith(prefix) and len(raw) == len(prefix) + 32:
            return codec.Bytes32(raw[len(prefix) :])
    msg = f"{cid!r} is not the CID of a sealed or unsealed commitment"
    raise ValueError(msg)


@functools.cache
def zero_comm_d(size_bytes: int) -> codec.Bytes32:
    """Return CommD of zeros: of a sector without deals, or of a filler piece of `size_bytes` padded bytes (a power of 2).

    Every node is the SHA-256 of its two children with the two highest bits cleared, so that it is an element of the
    field.
    """
    node = bytes(32)
    for _ in range((size_bytes // 32).bit_length() - 1):
        digest = hashlib.sha256(node + node).digest()
        node = digest[:31] + bytes([digest[31] & 0x3F])
    return codec.Bytes32(node)
