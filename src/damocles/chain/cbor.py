"""Canonical CBOR, as actors read and write it: whole numbers, bytes, text, booleans, null, arrays and links (tag 42).

Actors and go-state-types know no other kinds, and each value has one spelling. What is spelled otherwise (a number in
more bytes than it needs, an array without a length, bytes after the end) is refused, since a message with it would be
refused on the chain or have another CID than we think.
"""

from collections.abc import Callable
from typing import Any

import cbor2

LINK = 42  # a CID: a zero byte and the binary CID, as bytes

_DEPTH_LIMIT = 16  # parameters nest five deep
_UNSIGNED_LIMIT = 1 << 64
# Of the Go library's encoder and decoder.
_BYTES_LIMIT = 2 << 20
_ITEMS_LIMIT = 8192


class Malformed(ValueError):
    """These bytes are not canonical CBOR, or not of the shape that was asked for."""


def _refuse(*_: object) -> Any:
    raise Malformed("a tag that is no link")


class _OnlyLinks(dict[int, Callable[..., Any]]):
    """Decoders by tag. The library's own would make dates, sets, and lists that contain themselves."""

    def __missing__(self, tag: int) -> Callable[..., Any]:
        if tag == LINK:
            raise KeyError(tag)
        return _refuse


_DECODERS = _OnlyLinks()


def encode(tree: Any) -> bytes:
    """Write lists or tuples of numbers, bytes, text, booleans, null and links (`cbor2.CBORTag(LINK, …)`).

    Raises:
        Malformed: Something else is in it, or a number does not fit into 64 bits.
    """
    _check(tree)
    data: bytes = cbor2.dumps(tree)
    return data


def decode(data: bytes) -> Any:
    """Return what `encode` writes as `data`, with lists.

    Raises:
        Malformed: It is not CBOR, has bytes after its end, or is not the only spelling of its content.
    """
    try:
        tree = cbor2.loads(data, semantic_decoders=_DECODERS, max_depth=_DEPTH_LIMIT, allow_indefinite=False)
    except (cbor2.CBORDecodeError, ValueError, OverflowError) as exc:
        raise Malformed(f"not CBOR of an actor: {exc.__cause__ or exc}") from exc
    _check(tree)
    if cbor2.dumps(tree) != data:
        raise Malformed("not canonical CBOR: bytes after its end, or more bytes than its content needs")
    return tree


def _check(tree: Any) -> None:
    """Refuse what actors do not know."""
    match tree:
        case None | bool() | str():
            pass
        case bytes():
            if len(tree) > _BYTES_LIMIT:
                raise Malformed(f"{len(tree)} bytes in one piece: actors take {_BYTES_LIMIT}")
        case int():
            if not -_UNSIGNED_LIMIT <= tree < _UNSIGNED_LIMIT:
                raise Malformed(f"{tree} does not fit into 64 bits")
        case list() | tuple():
            if len(tree) > _ITEMS_LIMIT:
                raise Malformed(f"{len(tree)} items in one list: actors take {_ITEMS_LIMIT}")
            for item in tree:
                _check(item)
        case cbor2.CBORTag(tag=42, value=bytes()):
            pass
        case _:
            raise Malformed(f"actors know no {type(tree).__name__}")
