"""Amounts of FIL in atto (10^-18), and other numbers that the chain keeps without bounds: power, weights.

CBOR has them as bytes: a sign (0 or 1) and the number, most significant byte first; zero is no bytes at all. JSON has
them as decimal text.
"""

import re
from decimal import Context, Decimal
from typing import Any, Self

ATTO = 10**18

_EXACT = Context(prec=400)

_FIL = re.compile(r"\s*(-?[0-9]{1,60}(?:\.[0-9]{1,60})?)\s*([a-z]*)\s*", re.IGNORECASE)
_UNITS = {"": ATTO, "fil": ATTO, "millifil": 10**15, "microfil": 10**12, "nanofil": 10**9, "picofil": 10**6,
          "femtofil": 10**3, "attofil": 1, "nfil": 10**9, "afil": 1}  # fmt: skip
# go-state-types' limit, with which actors read.
_LIMIT_BYTES = 128
_LIMIT_DIGITS = 306


class Amount(int):
    """A number of attoFIL, or of anything else that the chain counts without bounds."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what people write: `1.5`, `1.5 FIL`, `100 nanoFIL`, `5 attoFIL`; without a unit it is FIL.

        Raises:
            ValueError: It is no amount, or no whole number of attoFIL.
        """
        match = _FIL.fullmatch(text)
        unit = _UNITS.get(match[2].lower()) if match else None
        if match is None or unit is None:
            raise ValueError(
                f"{text!r} is no amount: write FIL, like 1.5 or 1.5 FIL, or another unit, like 100 nanoFIL"
            )
        whole, _, fraction = match[1].partition(".")
        atto, rest = divmod(int(whole + fraction) * unit, 10 ** len(fraction))
        if rest:
            raise ValueError(f"{text!r} is less than a whole attoFIL (10^-18 FIL) exact")
        return cls(atto)

    def __str__(self) -> str:
        """The amount in FIL for people, exactly: `1.5 FIL`, `0.000000000000000001 FIL`."""
        text = f"{Decimal(int(self)).scaleb(-18, _EXACT):f}"
        return f"{text.rstrip('0').rstrip('.') if '.' in text else text} FIL"

    def to_json(self) -> str:
        """Return the decimal text."""
        return int.__repr__(self)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read the decimal text. `<nil>` is how Go writes one that was never set, which CBOR has as zero."""
        digits = value.removeprefix("-") if isinstance(value, str) else ""
        if (
            digits.isdigit() and digits.isascii() and len(digits) <= _LIMIT_DIGITS
        ):  # a regular expression takes twice as long
            return cls(value)
        if value == "<nil>":
            return cls(0)
        raise ValueError("expected a whole number as text")

    def to_cbor(self) -> bytes:
        """Return sign and number."""
        if not self:
            return b""
        size = (abs(self).bit_length() + 7) // 8
        if size >= _LIMIT_BYTES:
            raise ValueError("the number is too large for the chain")
        return bytes([self < 0]) + abs(self).to_bytes(size, "big")

    @classmethod
    def from_cbor(cls, value: Any) -> Self:
        """Read sign and number; a zero in front, or a zero with a sign, is refused."""
        if not isinstance(value, bytes):
            raise ValueError("expected a number as bytes")  # noqa: TRY004, as every refusal of what was read
        if not value:
            return cls(0)
        if len(value) > _LIMIT_BYTES or value[0] > 1 or len(value) == 1 or not value[1]:
            raise ValueError(
                f"{value[:40].hex()} is not the only spelling of a number: sign, and bytes without zeros in front"
            )
        number = int.from_bytes(value[1:], "big")
        return cls(-number if value[0] else number)
