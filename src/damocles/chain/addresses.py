"""Addresses: of actors by number (f0), of keys (f1 secp256k1, f3 BLS), of actors by hash (f2), and delegated ones (f4).

Text has a letter for the network, `f` on the main network and `t` on all others, and a checksum but for f0. CBOR has
the protocol and its payload, so that an address is the same on every network. Lotus reads both letters everywhere.
"""

import base64
import hashlib
from enum import IntEnum
from typing import Any, Self

MAINNET, TESTNET = "f", "t"

_CHECKSUM_BYTES = 4
_PAYLOAD_BYTES = {1: 20, 2: 20, 3: 48}
_SUBADDRESS_LIMIT_BYTES = 54
_TEXT_LIMIT = 150
# Numbers are what Go's int64 takes, though they are written as unsigned.
_LIMIT = 1 << 63
_NONE = "<empty>"


class Protocol(IntEnum):
    """Kinds of addresses."""

    ID = 0
    SECP256K1 = 1
    ACTOR = 2
    BLS = 3
    DELEGATED = 4


class Address(bytes):
    """An address; its bytes are those of CBOR: protocol and payload."""

    __slots__ = ()

    def __new__(cls, raw: bytes) -> Self:
        """Check protocol and length; anything else is a `ValueError`."""
        _check(raw)
        return super().__new__(cls, raw)

    @classmethod
    def of_id(cls, number: int) -> Self:
        """Return the address of an actor by its number, such as that of a miner."""
        return cls(bytes([Protocol.ID]) + _leb128(number))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `f01000`, `t1…`, `f410f…`, whichever the network.

        Raises:
            ValueError: It is no address, or its checksum does not fit: a character is wrong.
        """
        try:
            address = cls(_raw(text))
            if address.protocol is not Protocol.ID and address.text(text[0]) != text:
                raise ValueError("it has capitals, or a last character that says nothing")  # noqa: TRY301, one message
        except ValueError as exc:
            raise ValueError(f"{text[:_TEXT_LIMIT]!r} is no address: {exc}") from exc
        return address

    @property
    def protocol(self) -> Protocol:
        """Which kind it is."""
        return Protocol(self[0])

    @property
    def id(self) -> int:
        """The number of an actor.

        Raises:
            ValueError: The address is of another kind; ask the chain for its number.
        """
        if self.protocol is not Protocol.ID:
            raise ValueError(f"{self} does not name an actor by its number")
        return _from_leb128(self[1:])[0]

    def text(self, network: str = MAINNET) -> str:
        """Return the text with the letter of a network, `MAINNET` or `TESTNET`."""
        head = f"{network}{self[0]:d}"
        if self.protocol is Protocol.ID:
            return f"{head}{self.id}"
        body = bytes(self[1:])
        if self.protocol is Protocol.DELEGATED:
            namespace, body = _from_leb128(body)
            head += f"{namespace}f"
        return head + base64.b32encode(body + _checksum(self)).decode().lower().rstrip("=")

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"Address({self.text()})"

    def to_json(self) -> str:
        """Return the text."""
        return self.text()

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read the text."""
        if not isinstance(value, str):
            raise ValueError("expected an address")  # noqa: TRY004, msgspec turns it into an error with the path
        return cls.parse(value)

    def to_cbor(self) -> bytes:
        """Return protocol and payload."""
        return bytes(self)

    @classmethod
    def from_cbor(cls, value: Any) -> Self:
        """Read protocol and payload."""
        if not isinstance(value, bytes):
            raise ValueError("expected an address as bytes")  # noqa: TRY004, as every refusal of what was read
        return cls(value)


class MaybeAddress(Address):
    """An address, or none: no bytes, which is false. Lotus writes `<empty>` then, in some places an empty text."""

    __slots__ = ()

    def __new__(cls, raw: bytes) -> Self:
        """Check what is there."""
        return super().__new__(cls, raw) if raw else bytes.__new__(cls, raw)

    def text(self, network: str = MAINNET) -> str:
        """Return the text, `<empty>` for none."""
        return super().text(network) if self else _NONE

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read the text."""
        return cls(b"") if value in (_NONE, "") else super().from_json(value)


def _check(raw: bytes) -> None:
    if not raw or raw[0] > Protocol.DELEGATED:
        raise ValueError(f"{raw[:1].hex() or 'nothing'} is no kind of address")
    kind, payload = Protocol(raw[0]), bytes(raw[1:])
    if kind is Protocol.ID:
        number, rest = _from_leb128(payload)
        if rest or payload != _leb128(number):
            raise ValueError("not the only spelling of a number")
    elif kind is Protocol.DELEGATED:
        namespace, rest = _from_leb128(payload)
        if not payload.startswith(_leb128(namespace)) or len(rest) > _SUBADDRESS_LIMIT_BYTES:
            raise ValueError(f"a namespace and up to {_SUBADDRESS_LIMIT_BYTES} bytes are expected")
    elif len(payload) != _PAYLOAD_BYTES[kind]:
        raise ValueError(f"f{kind:d} has {_PAYLOAD_BYTES[kind]} bytes, not {len(payload)}")


def _raw(text: str) -> bytes:
    if len(text) < 3 or len(text) > _TEXT_LIMIT or text[0] not in {MAINNET, TESTNET} or text[1] not in "01234":
        raise ValueError("expected f or t, a digit from 0 to 4, and the rest, like f01000")
    kind, body = bytes([int(text[1])]), text[2:]
    if not kind[0]:
        return kind + _leb128(_decimal(body))
    if kind[0] == Protocol.DELEGATED:
        namespace, _, body = body.partition("f")
        kind += _leb128(_decimal(namespace))
    payload = base64.b32decode(body.upper() + "=" * (-len(body) % 8))
    raw, checksum = kind + payload[:-_CHECKSUM_BYTES], payload[-_CHECKSUM_BYTES:]
    if len(payload) < _CHECKSUM_BYTES or _checksum(raw) != checksum:
        raise ValueError("its checksum does not fit; a character is wrong or missing")
    return raw


def _checksum(raw: bytes) -> bytes:
    return hashlib.blake2b(raw, digest_size=_CHECKSUM_BYTES).digest()


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 25):
        raise ValueError(f"{text!r} is no number")
    return int(text)


def _leb128(number: int) -> bytes:
    if not 0 <= number < _LIMIT:
        raise ValueError(f"{number} is beyond the numbers of actors")
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)


def _from_leb128(data: bytes) -> tuple[int, bytes]:
    number = 0
    for index, byte in enumerate(data[:10]):
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number, data[index + 1 :]
    raise ValueError("the number does not end")
