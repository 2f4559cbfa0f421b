"""Read and write the JSON of the wire.

Byte strings come in two encodings there: base64 (`bytes`, Go's `[]byte`) and arrays of numbers (`Bytes32`, Go's
`[32]byte` and Rust's `[u8; 32]`). CIDs are `{"/": "bagboea…"}` (`CID`).

A class with a JSON of its own, here or elsewhere, has a method `to_json`, which returns dicts, lists, strings and
numbers, and a class method `from_json`, which reads them; its `ValueError` becomes msgspec's, with the path.
"""

import base64
import itertools
from typing import TYPE_CHECKING, Any, Self, TypeVar, get_args, get_origin

import msgspec

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")


def plain(text: str) -> str:
    """Return a text that can be written as UTF-8; in names of files there may be bytes that cannot."""
    return text.encode("utf-8", "backslashreplace").decode()


class NumberList(bytes):
    """Bytes of any length that JSON writes as an array of numbers: proofs in the line protocol."""

    __slots__ = ()

    def to_json(self) -> list[int]:
        """Return the numbers."""
        return list(self)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read the numbers."""
        # `bytes(5)` would be five zeros: a peer's number must not become that many bytes.
        if not isinstance(value, list):
            raise ValueError("expected an array of numbers")  # noqa: TRY004, msgspec turns it into a ValidationError with the path
        return cls(bytes(value))


class Bytes32(NumberList):
    """32 bytes that JSON writes as an array of 32 numbers: CommR, CommD, prover id, window PoSt seed."""

    __slots__ = ()

    def __new__(cls, value: bytes) -> Self:
        """Check the length; a shorter or longer value is a `ValueError`."""
        if len(value) != 32:
            raise ValueError(f"expected 32 bytes, got {len(value)}")
        return super().__new__(cls, value)

    def __repr__(self) -> str:
        return f"Bytes32({self.hex()})"


class CID(str):
    """A content identifier in its string form, on the wire `{"/": "…"}`."""

    __slots__ = ()

    def to_json(self) -> dict[str, str]:
        """Return the link."""
        return {"/": str(self)}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read the link."""
        if isinstance(value, dict) and isinstance(value.get("/"), str):
            return cls(value["/"])
        raise ValueError('expected {"/": "<cid>"}')


class Blob(bytes):
    """Bytes in base64, null for none at all, as Go's `[]byte` that was never set."""

    __slots__ = ()

    def to_json(self) -> str | None:
        """Return the base64."""
        return base64.b64encode(self).decode() if self else None

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read the base64."""
        return cls(b"" if value is None else msgspec.convert(value, bytes))


class Rows(tuple[T, ...]):
    """A list of Go's, which is null where nothing was ever put into it: `Rows[CID]`."""

    __slots__ = ()

    def to_json(self) -> list[T]:
        """Return the list."""
        return list(self)


def _encode_special(value: Any) -> Any:
    to_json = getattr(value, "to_json", None)
    if to_json is None:
        raise NotImplementedError(f"{type(value).__name__} has no JSON form")
    return to_json()


def _decode_special(kind: Any, value: Any) -> Any:
    from_json = getattr(kind, "from_json", None)
    if from_json is not None:
        return from_json(value)
    if get_origin(kind) is Rows:
        (of,) = get_args(kind)
        return Rows(msgspec.convert(() if value is None else value, tuple[of, ...], dec_hook=_decode_special))  # type: ignore[valid-type]
    raise NotImplementedError(f"{kind.__name__} has no JSON form")


_encoder = msgspec.json.Encoder(enc_hook=_encode_special)
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


_FEW_LEVELS = 16
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # up and down, as signed bytes
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[{]}")


def encode(value: Any) -> bytes:
    """Write `value` as compact UTF-8 JSON."""
    return _encoder.encode(value)


def decode(data: bytes | str | msgspec.Raw, kind: "TypeForm[T]") -> T:
    """Read JSON as `kind`; unknown fields are ignored, as Go and serde do.

    Raises:
        msgspec.ValidationError: The JSON has another shape; the message holds the path.
        msgspec.DecodeError: It is not JSON, or nested too deeply for the stack.
    """
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind, dec_hook=_decode_special)
    try:
        return decoder.decode(data)  # type: ignore[no-any-return]
    except RecursionError as error:
        raise msgspec.DecodeError("JSON is nested too deeply") from error


def levels(data: bytes) -> int:
    """Return how deeply arrays and objects of some JSON are nested, or a bound above it that is small all the same.

    It takes a few passes over the bytes and no stack, and is right for whatever a decoder takes.
    """
    most = data.count(b"[") + data.count(b"{")
    if most <= _FEW_LEVELS:
        return most
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"")  # so that each quote left begins or ends a text
    outside = b"".join(plain.split(b'"')[::2])
    return max(itertools.accumulate(memoryview(outside.translate(_STEPS, _NO_BRACKETS)).cast("b")), default=0)


def to_builtins(value: Any) -> Any:
    """Turn `value` into dicts, lists, strings and numbers, as its JSON would read."""
    return msgspec.to_builtins(value, enc_hook=_encode_special)


def from_builtins(value: Any, kind: type[T]) -> T:
    """Check that dicts and lists have the shape of `kind` and make one (inverse of `to_builtins`)."""
    return msgspec.convert(value, kind, dec_hook=_decode_special)
