"""Types of the wire in words, and the structs among them with their fields."""

import enum
import typing
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import structs as fields_of

from damocles.kit.reference import tables

_PLAIN = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "text",
    bytes: "bytes in base64",
    type(None): "null",
    None: "null",
    Any: "anything",
    msgspec.Raw: "anything",
    object: "anything",
    dict: "object",
    datetime: "time",
}


def words(kind: Any) -> str:
    """Return a type in words; a struct, or another class of the wire, as a link to what is said about it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return words(arguments[0])
    if origin in {Union, UnionType}:
        return " or ".join(words(one) for one in arguments)
    if origin in {list, tuple, frozenset, set, Sequence}:
        inner = [words(one) for one in arguments if one is not Ellipsis]
        return f"list of {inner[0]}" if len(set(inner)) == 1 else f"list ({', '.join(inner)})"
    if origin is dict:
        return f"object of {words(arguments[1])}"
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in arguments)
    if isinstance(kind, TypeVar):
        return "anything"
    if origin is not None and isinstance(origin, type):
        return words(origin)
    if kind in _PLAIN:
        return _PLAIN[kind]
    return f"[`{kind.__name__}`](#{_title(kind).lower().replace('.', '')})"


def structs(kinds: Iterable[Any]) -> str:
    """Return a section for each class of the wire that types are made of, directly or through others."""
    found = sorted(set(_classes(kinds, set())), key=_title)
    return "\n\n".join(_section(kind) for kind in found)


def _title(kind: type) -> str:
    """Return the name of a class with that of its module: some names are there twice."""
    return f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}"


def _section(kind: Any) -> str:
    about = f"### {_title(kind)}\n\n{tables.first_paragraph(kind)}"
    if issubclass(kind, enum.Enum):
        return f"{about}\n\n" + ", ".join(f"`{one.value}` {one.name}" for one in kind)
    if not issubclass(kind, msgspec.Struct):
        return about
    tag = kind.__struct_config__.tag
    rows = [(f"`{kind.__struct_config__.tag_field}`", f"`{tag}`", "")] if tag is not None else []
    for field in fields_of.fields(kind):
        needed = field.required
        rows.append((f"`{field.encode_name}`", words(field.type), "" if needed else "optional"))
    return f"{about}\n\n{tables.table(('field', 'type', ''), rows)}" if rows else about


def _classes(kinds: Iterable[Any], seen: set[Any]) -> Iterator[Any]:
    for kind in kinds:
        if isinstance(kind, type) and get_origin(kind) is None:
            if kind in _PLAIN or kind in seen:
                continue
            seen.add(kind)
            yield kind
            if issubclass(kind, msgspec.Struct):
                yield from _classes(typing.get_type_hints(kind).values(), seen)
        elif get_origin(kind) is not Literal:
            origin = get_origin(kind)
            own = [origin] if isinstance(origin, type) and origin.__module__.startswith("damocles") else []
            yield from _classes((*own, *get_args(kind)), seen)
