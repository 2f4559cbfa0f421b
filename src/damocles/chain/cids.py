"""CIDs of what the chain stores, as text and as bytes. Those of commitments are in `damocles.wire.commitments`."""

import base64
import hashlib

from damocles.wire.codec import CID

# Version 1, dag-cbor, blake2b-256, 32 bytes, each as unsigned varint.
_OBJECT_PREFIX = bytes.fromhex("0171a0e40220")
_LIMIT_BYTES = 128


def of_object(data: bytes) -> CID:
    """Return the CID of an object that is stored as canonical CBOR, such as a message: `bafy2bza…`."""
    return from_bytes(_OBJECT_PREFIX + hashlib.blake2b(data, digest_size=32).digest())


def from_bytes(raw: bytes) -> CID:
    """Return a binary CID of version 1 as text.

    Raises:
        ValueError: It is none.
    """
    _check(raw, raw.hex())
    return CID("b" + base64.b32encode(raw).decode().lower().rstrip("="))


def to_bytes(cid: str) -> bytes:
    """Return a CID of version 1 in base32, as Filecoin's programs write all of theirs, in its binary form.

    Raises:
        ValueError: It is none.
    """
    letters = cid[1:].upper()
    try:
        raw = base64.b32decode(letters + "=" * (-len(letters) % 8)) if cid.startswith("b") else b""
    except ValueError:
        raw = b""
    _check(raw, cid)
    if from_bytes(raw) != cid:  # capitals, or bits after the last byte
        raise ValueError(f"{cid!r} is not a CID as the chain's programs write it")
    return raw


def _check(raw: bytes, shown: str) -> None:
    """Refuse what is not version, codec, and a multihash with as many bytes as it says."""
    rest, numbers = raw[:_LIMIT_BYTES], []
    try:
        for _ in range(4):
            number, rest = _varint(rest)
            numbers.append(number)
    except IndexError:
        numbers = []
    if not numbers or numbers[0] != 1 or numbers[3] != len(rest) or len(raw) > _LIMIT_BYTES:
        raise ValueError(f"{shown[: 2 * _LIMIT_BYTES]!r} is not a CID of version 1")


def _varint(data: bytes) -> tuple[int, bytes]:
    number = 0
    for index, byte in enumerate(data[:9]):
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number, data[index + 1 :]
    raise IndexError
