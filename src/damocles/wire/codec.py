"""Read and write the JSON of the wire.

Byte strings come in two encodings there: base64 (`bytes`, Go's `[]byte`) and arrays of numbers (`Bytes32`, Go's
`[32]byte` and Rust's `[u8; 32]`). CIDs are `{"/": "bagboea…"}` (`CID`).
"""

from typing import Any, Self, TypeVar

import msgspec

T = TypeVar("T")


def plain(text: str) -> str:
    """Return a text that can be written as UTF-8; in names of files there may be bytes that cannot."""
    return text.encode("utf-8", "backslashreplace").decode()


class Bytes32(bytes):
    """32 bytes that JSON writes as an array of 32 numbers: CommR, CommD, prover id, window PoSt seed."""

    __slots__ = ()

    def __new__(cls, value: bytes) -> Self:
        """Check the length; a shorter or longer value is a `ValueError`."""
        if len(value) != 32:
            msg = f"expected 32 bytes, got {len(value)}"
            raise ValueError(msg)
        return super().__new__(cls, value)

    def __repr__(self) -> str:
        return f"Bytes32({self.hex()})"


class NumberList(bytes):
    """Bytes of any length that JSON writes as an array of numbers: proofs in the line protocol."""

    __slots__ = ()


class CID(str):
    """A content identifier in its string form, on the wire `{"/": "…"}`."""

    __slots__ = ()


def _encode_special(value: Any) -> Any:
    if isinstance(value, CID):
        return {"/": str(value)}
    if isinstance(value, (Bytes32, NumberList)):
        return list(value)
    msg = f"{type(value).__name__} has no JSON form"
    raise NotImplementedError(msg)


def _decode_special(kind: type, value: Any) -> Any:
    if kind is CID:
        if isinstance(value, dict) and isinstance(value.get("/"), str):
            return CID(value["/"])
        msg = 'expected {"/": "<cid>"}'
        raise ValueError(msg)
    if issubclass(kind, (Bytes32, NumberList)):
        # `bytes(5)` would be five zeros: a peer's number must not become that many bytes.
        if not isinstance(value, list):
            msg = "expected an array of numbers"
            raise ValueError(msg)  # noqa: TRY004, msgspec turns it into a ValidationError with the path
        return kind(bytes(value))
    msg = f"{kind.__name__} has no JSON form"
    raise NotImplementedError(msg)


_encoder = msgspec.json.Encoder(enc_hook=_encode_special)
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def encode(value: Any) -> bytes:
    """Write `value` as compact UTF-8 JSON."""
    return _encoder.encode(value)


def decode(data: bytes | str | msgspec.Raw, kind: type[T]) -> T:
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


def to_builtins(value: Any) -> Any:
    """Turn `value` into dicts, lists, strings and numbers, as its JSON would read."""
    return msgspec.to_builtins(value, enc_hook=_encode_special)


def from_builtins(value: Any, kind: type[T]) -> T:
    """Check that dicts and lists have the shape of `kind` and make one (inverse of `to_builtins`)."""
    return msgspec.convert(value, kind, dec_hook=_decode_special)
