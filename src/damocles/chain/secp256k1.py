"""Signatures of secp256k1 from which the key of the signer follows: r, s and how to tell the key from its mirror images.

The chain verifies a signature by recovering the key and comparing its address, so that is what is done here. Signing is
the work of `cryptography`, with nonces after RFC 6979, so that one message has one signature; who only verifies never
imports it, for it takes eight megabytes. The arithmetic here is only about public values and need not hide how long it
takes.
"""

import hashlib
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

KEY_BYTES = 32
SIGNATURE_BYTES = 65
_DIGEST_BYTES = 32

# The curve y² = x³ + 7 over the field of _P elements; its generator has the order _N.
_P = 2**256 - 2**32 - 977
_N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)

_Point: TypeAlias = tuple[int, int] | None  # None: at infinity


def public_key(secret: bytes) -> bytes:
    """Return the public key of a private one, 65 bytes.

    Raises:
        ValueError: It is none.
    """
    numbers = _private(secret).public_key().public_numbers()
    return _encoded((numbers.x, numbers.y))


def address_payload(public: bytes) -> bytes:
    """Return what an f1 address has of a public key."""
    return hashlib.blake2b(public, digest_size=20).digest()


def sign(secret: bytes, digest: bytes) -> bytes:
    """Sign a digest of 32 bytes; return r, s (the smaller of the two that do) and the number of the key, 65 bytes."""
    if len(digest) != _DIGEST_BYTES:
        raise ValueError(f"a digest has {_DIGEST_BYTES} bytes, not {len(digest)}")
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec, utils  # noqa: PLC0415

    key = _private(secret)
    algorithm = ec.ECDSA(utils.Prehashed(hashes.SHA256()), deterministic_signing=True)
    r, s = utils.decode_dss_signature(key.sign(digest, algorithm))
    s = min(s, _N - s)
    public = public_key(secret)
    for number in range(4):
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([number])
        if recover(digest, signature) == public:
            return signature
    raise AssertionError("one of four keys is that of the signer")


def recover(digest: bytes, signature: bytes) -> bytes | None:
    """Return the public key whose owner has signed a digest, `None` if there is none."""
    if len(signature) != SIGNATURE_BYTES or len(digest) != _DIGEST_BYTES:
        return None
    r, s = (int.from_bytes(signature[at : at + 32], "big") for at in (0, 32))
    number = signature[64]
    x = r + _N if number & 2 else r
    if not (0 < r < _N and 0 < s < _N and number < 4 and x < _P):
        return None
    square = (pow(x, 3, _P) + 7) % _P
    y = pow(square, (_P + 1) // 4, _P)
    if y * y % _P != square:
        return None
    if y % 2 != number % 2:
        y = _P - y
    inverse = pow(r, -1, _N)
    key = _sum_of_products(-int.from_bytes(digest, "big") * inverse % _N, _G, s * inverse % _N, (x, y))
    return None if key is None else _encoded(key)


def _private(secret: bytes) -> "ec.EllipticCurvePrivateKey":
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    number = int.from_bytes(secret, "big")
    if len(secret) != KEY_BYTES or not 0 < number < _N:
        raise ValueError("no private key of secp256k1: expected 32 bytes below the order of the curve")
    return ec.derive_private_key(number, ec.SECP256K1())


def _encoded(point: tuple[int, int]) -> bytes:
    return b"\4" + point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big")


def _sum_of_products(one: int, first: _Point, two: int, second: _Point) -> _Point:
    """Return one * first + two * second, both in one go over their bits."""
    both = _plus(first, second)
    total: _Point = None
    for bit in range(255, -1, -1):
        total = _plus(total, total)
        chosen = (one >> bit & 1, two >> bit & 1)
        if chosen != (0, 0):
            total = _plus(total, {(1, 0): first, (0, 1): second, (1, 1): both}[chosen])
    return total


def _plus(left: _Point, right: _Point) -> _Point:
    if left is None or right is None:
        return left or right
    (x1, y1), (x2, y2) = left, right
    if x1 == x2:
        if (y1 + y2) % _P == 0:
            return None
        slope = 3 * x1 * x1 * pow(2 * y1, -1, _P) % _P
    else:
        slope = (y2 - y1) * pow(x2 - x1, -1, _P) % _P
    x = (slope * slope - x1 - x2) % _P
    return x, (slope * (x1 - x) - y1) % _P
