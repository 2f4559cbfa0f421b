"""Structs of actors: in CBOR an array of their fields in order, in Lotus' JSON an object with Go's names.

    class Declaration(Tuple, frozen=True):
        deadline: Uint = field(name="Deadline")
        sectors: Bitfield = field(name="Sectors")

    data = tuples.encode(declaration)
    declaration = tuples.decode(data, Declaration)

What a field is in CBOR follows from its type: `Uint` and `Int` (64 bits), `Byte`, `Blob`, `bool`, `Rows[X]` an array,
`X | None` null or X, a `Tuple` its array, `CID` a link, and a class with `to_cbor` and `from_cbor` what these say.
"""

import functools
from collections.abc import Callable
from types import UnionType
from typing import Annotated, Any, NamedTuple, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import cbor2
import msgspec

from damocles.chain import cbor, cids
from damocles.wire.codec import CID, Blob, Rows

T = TypeVar("T")


_SIGNED = "signed"  # marks numbers that may be negative
Uint: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
Int: TypeAlias = Annotated[int, _SIGNED]
Byte: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=255)]

_UINT_LIMIT = 1 << 64
_INT_LIMIT = 1 << 63
_BYTE_LIMIT = 1 << 8


class Tuple(msgspec.Struct, frozen=True):
    """A struct that CBOR has as an array of its fields."""


class _Form(NamedTuple):
    """How a type is written as CBOR's lists and numbers, and read from them."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def encode(value: Any, kind: Any = None) -> bytes:
    """Write a struct, or another value of a type that a field may have.

    Raises:
        cbor.Malformed: A value does not fit its field; the message names it.
    """
    kind = type(value) if kind is None else kind
    return cbor.encode(_guarded(_form(kind).write, value, kind))


def decode(data: bytes, kind: type[T]) -> T:
    """Read a struct, or another type that a field may have.

    Raises:
        cbor.Malformed: It is not canonical CBOR, or has another shape; the message names the field.
    """
    form: _Form = _form(kind)  # type: ignore[arg-type]  # classes can be hashed
    return _guarded(form.read, cbor.decode(data), kind)  # type: ignore[no-any-return]


def _guarded(convert: Callable[[Any], Any], value: Any, kind: Any) -> Any:
    try:
        return convert(value)
    except cbor.Malformed as exc:
        raise cbor.Malformed(f"{getattr(kind, '__name__', kind)}{exc}") from exc


@functools.cache
def _form(kind: Any) -> _Form:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        low, limit = (-_INT_LIMIT, _INT_LIMIT) if kind == Int else (0, _BYTE_LIMIT if kind == Byte else _UINT_LIMIT)
        number = functools.partial(_number, low, limit)
        return _Form(number, number)
    if origin is Rows:
        return _rows(_form(args[0]))
    if origin in {Union, UnionType}:
        (inner,) = (arg for arg in args if arg is not type(None))
        return _optional(_form(inner))
    if origin is None and issubclass(kind, Tuple):
        return _struct(kind)
    if kind is CID:
        return _Form(_write_link, _read_link)
    if hasattr(kind, "to_cbor"):
        return _Form(lambda value: _named(_to_cbor, kind, value), lambda value: _named(kind.from_cbor, value))
    if kind in {Blob, bool}:
        plain = functools.partial(_plain, kind)
        return _Form(plain, plain)
    raise TypeError(f"{kind} has no CBOR form here")


def _rows(item: _Form) -> _Form:
    def each(convert: Callable[[Any], Any], values: Any) -> list[Any]:
        if not isinstance(values, (list, tuple)):
            raise cbor.Malformed(f": expected an array, got {type(values).__name__}")
        return [_at(f"[{index}]", convert, value) for index, value in enumerate(values)]

    return _Form(lambda values: each(item.write, values), lambda values: Rows(each(item.read, values)))


def _optional(inner: _Form) -> _Form:
    return _Form(
        lambda value: None if value is None else inner.write(value),
        lambda value: None if value is None else inner.read(value),
    )


def _struct(kind: type[Tuple]) -> _Form:
    hints = get_type_hints(kind, include_extras=True)
    fields = [(field.name, f".{field.encode_name}", _form(hints[field.name])) for field in msgspec.structs.fields(kind)]

    def write(value: Any) -> list[Any]:
        if not isinstance(value, kind):
            raise cbor.Malformed(f": expected {kind.__name__}, got {type(value).__name__}")
        return [_at(where, form.write, getattr(value, name)) for name, where, form in fields]

    def read(values: Any) -> Tuple:
        if not isinstance(values, list) or len(values) != len(fields):
            got = f"{len(values)} of them" if isinstance(values, list) else type(values).__name__
            raise cbor.Malformed(f": expected an array of {len(fields)} fields, got {got}")
        return kind(
            **{name: _at(where, form.read, value) for (name, where, form), value in zip(fields, values, strict=True)}
        )

    return _Form(write, read)


def _at(where: str, convert: Callable[[Any], Any], value: Any) -> Any:
    """Convert a part, with its place in front of what is wrong with it."""
    try:
        return convert(value)
    except cbor.Malformed as exc:
        raise cbor.Malformed(f"{where}{exc}") from exc


def _named(convert: Callable[..., Any], *values: Any) -> Any:
    try:
        return convert(*values)
    except ValueError as exc:
        raise cbor.Malformed(f": {exc}") from exc


def _to_cbor(kind: Any, value: Any) -> Any:
    """Write with the class of the field: a plain number may stand for an amount."""
    return (value if isinstance(value, kind) else kind(value)).to_cbor()


def _number(low: int, limit: int, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value < limit:
        raise cbor.Malformed(f": expected a number from {low} to {limit - 1}, got {value!r:.40}")
    return int(value)


def _plain(kind: type, value: Any) -> Any:
    base = bytes if kind is Blob else kind
    if not isinstance(value, base):
        raise cbor.Malformed(f": expected {base.__name__}, got {type(value).__name__}")
    return kind(value)


def _write_link(value: Any) -> Any:
    return cbor2.CBORTag(cbor.LINK, b"\0" + _named(cids.to_bytes, value))


def _read_link(value: Any) -> CID:
    if not isinstance(value, cbor2.CBORTag) or value.value[:1] != b"\0":
        raise cbor.Malformed(": expected a link")
    return _named(cids.from_bytes, value.value[1:])  # type: ignore[no-any-return]
