"""JSON texts of parameters, from their types: mostly what fits, with something odd in it here and there."""

import base64
import json
from typing import Any

import msgspec
from hypothesis import strategies as st

from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.bitfields import Bitfield
from damocles.wire import codec

Texts = st.SearchStrategy[str]

PIECE = "baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq"
SECRET = "S3CRETMARKER"
URL = f"http://user:{SECRET}@127.0.0.1:1/up?sig={SECRET}"
WORDS = [
    URL,
    "w1",
    "pause",
    "resume",
    "abort",
    "C1Done",
    "s-t010000-1",
    "alice",
    "read",
    "none",
    "",
    "\x1b[2J",
]


def _wrapped(opens: str, core: str, closes: str) -> Texts:
    return st.integers(1, 100).map(lambda depth: opens * depth + core + closes * depth)


_plain: Texts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=10,
).map(json.dumps)
ODD: Texts = st.one_of(
    _plain,
    _wrapped("[", "", "]"),
    _wrapped('{"x":', "0", "}"),
    _wrapped('[{"\\u0000":', '"\x7f"', "}]"),
    st.sampled_from(
        [
            "9" * 5000,
            "-1e999",
            "1e-999",
            "18446744073709551616",
            '"' + "x" * 300_000 + '"',
            "[" + "1," * 100_000 + "1]",
            '"\\ud83d\\ude00\\u202e\\u0007"',
            '{"dry_run":true}',
            f'{{"verb":"pause","dry_run":false,"password":"{SECRET}","reason":"http:\\/\\/u:{SECRET}@h"}}',
        ]
    ),
)


def params(kinds: tuple[Any, ...], least: int) -> Texts:
    """Return arrays of parameters with these types, the last ones left out at times."""

    def listed(count: int) -> Texts:
        return st.tuples(*(of(kind) for kind in kinds[:count])).map(lambda texts: f"[{','.join(texts)}]")

    return st.integers(least, len(kinds)).flatmap(listed)


def of(kind: Any) -> Texts:
    """Return what a parameter of this type may be on the wire."""
    return st.integers(0, 9).flatmap(lambda chance: ODD if chance == 0 else _of(msgspec.inspect.type_info(kind)))


def _of(info: Any) -> Texts:
    match info:
        case msgspec.inspect.NoneType():
            return st.just("null")
        case msgspec.inspect.BoolType():
            return st.sampled_from(["true", "false"])
        case msgspec.inspect.IntType():
            return st.sampled_from(["0", "1", "5", "10000", "-1", str(2**63)])
        case msgspec.inspect.FloatType():
            return st.sampled_from(["0", "0.5", "3.5", "-1.0"])
        case msgspec.inspect.StrType():
            return st.sampled_from(WORDS).map(json.dumps) | st.text(max_size=20).map(json.dumps)
        case msgspec.inspect.BytesType():
            return st.binary(max_size=40).map(lambda data: json.dumps(base64.b64encode(data).decode()))
        case msgspec.inspect.EnumType() | msgspec.inspect.LiteralType():
            values = [one.value for one in info.cls] if hasattr(info, "cls") else list(info.values)
            return st.sampled_from([json.dumps(value) for value in values])
        case msgspec.inspect.ListType() | msgspec.inspect.VarTupleType() | msgspec.inspect.CollectionType():
            return st.lists(_of(info.item_type), max_size=3).map(lambda texts: f"[{','.join(texts)}]")
        case msgspec.inspect.TupleType():
            return st.tuples(*map(_of, info.item_types)).map(lambda texts: f"[{','.join(texts)}]")
        case msgspec.inspect.DictType():
            return _of(info.value_type).map(lambda text: f'{{"w1":{text}}}')
        case msgspec.inspect.UnionType():
            return st.one_of(*map(_of, info.types))
        case msgspec.inspect.StructType():
            return _struct(info)
        case msgspec.inspect.CustomType() if info.cls is codec.CID:
            return st.just(json.dumps({"/": PIECE}))
        case msgspec.inspect.CustomType() if issubclass(info.cls, codec.Bytes32):
            return st.just(json.dumps([7] * 32))
        case msgspec.inspect.CustomType() if info.cls in _OF_THE_CHAIN:
            return st.just(_OF_THE_CHAIN[info.cls])
        case _:
            return ODD


def _struct(info: msgspec.inspect.StructType) -> Texts:
    def written(members: tuple[str | None, ...]) -> str:
        names = [*(field.encode_name for field in info.fields), "unknown"]
        if info.array_like:
            return f"[{','.join(member or 'null' for member in members[:-1])}]"
        tag = [f"{json.dumps(info.tag_field)}:{json.dumps(info.tag)}"] if info.tag_field is not None else []
        there = (f"{json.dumps(name)}:{text}" for name, text in zip(names, members, strict=True) if text is not None)
        return f"{{{','.join([*tag, *there])}}}"

    members = [_of(field.type) if field.required else st.none() | _of(field.type) for field in info.fields]
    return st.tuples(*members, st.none() | st.none() | ODD).map(written)


_OF_THE_CHAIN = {Address: '"f01000"', Amount: '"5"', Bitfield: "[1,2]"}


def fitting(kind: Any) -> str:
    """Return one text that a parameter of this type takes."""
    return _fitting(msgspec.inspect.type_info(kind))


def _fitting(info: Any) -> str:
    match info:
        case msgspec.inspect.StructType():
            needed = [(field.encode_name, _fitting(field.type)) for field in info.fields if field.required]
            needed += [(info.tag_field, json.dumps(info.tag))] if info.tag_field is not None else []
            if info.array_like:
                return f"[{','.join(text for _, text in needed)}]"
            return f"{{{','.join(f'{json.dumps(name)}:{text}' for name, text in needed)}}}"
        case msgspec.inspect.UnionType():
            return "null" if info.includes_none else _fitting(info.types[0])
        case msgspec.inspect.ListType() | msgspec.inspect.VarTupleType() | msgspec.inspect.CollectionType():
            return "[]"
        case msgspec.inspect.DictType():
            return "{}"
        case msgspec.inspect.TupleType():
            return f"[{','.join(map(_fitting, info.item_types))}]"
        case msgspec.inspect.CustomType() if info.cls is codec.CID:
            return json.dumps({"/": PIECE})
        case msgspec.inspect.CustomType() if issubclass(info.cls, codec.Bytes32):
            return json.dumps([7] * 32)
        case msgspec.inspect.CustomType() if info.cls in _OF_THE_CHAIN:
            return _OF_THE_CHAIN[info.cls]
        case msgspec.inspect.EnumType():
            return json.dumps(next(iter(info.cls)).value)
        case msgspec.inspect.LiteralType():
            return json.dumps(info.values[0])
        case msgspec.inspect.BoolType():
            return "true"
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            return "1"
        case msgspec.inspect.StrType() | msgspec.inspect.BytesType():
            return '"alic"'
        case _:
            return "null"
