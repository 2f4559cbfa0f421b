"""Every key of a configuration file, from its models: where it stands, kind, default, example, meaning.

The meaning is the text under the key in its class. `Ours:` before it marks a key that the original does not have, and
an example stands at its end (``Like `"2min"`.``) where that of the kind would say little.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

import pydantic
from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from damocles.text.tables import Kind

Model: TypeAlias = type[pydantic.BaseModel]

_LIKE = re.compile(r"\s*Like `([^`]+)`\.$")
_OURS = "Ours: "
_PLAIN = {
    bool: Kind("flag", "true", lambda value: str(value).lower()),
    int: Kind("number", "16"),
    float: Kind("number", "1.5", lambda value: f"{value:g}"),
    pydantic.SecretStr: Kind("text", ""),
    str: Kind("text", "", lambda value: f'"{value}"'),
    Path: Kind("path", "", lambda value: f'"{value}"'),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key of a table; values are in the file's notation, and what is empty is not there."""

    name: str
    kind: str
    default: str
    required: bool
    example: str
    meaning: str
    ours: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A table of a file, with the headings under which it may stand (`[[attached]]`); the file itself has an empty one."""

    headings: Sequence[str]
    model: Model
    keys: Sequence[Key]

    @property
    def path(self) -> str:
        """The heading without brackets; `…` stands for what differs between several of the same depth."""
        parts = [heading.strip("[]").split(".") for heading in self.headings]
        if len({len(words) for words in parts}) > 1:
            return ".".join(parts[0])
        return ".".join(words[0] if len(set(words)) == 1 else "…" for words in zip(*parts, strict=True))


def sections(whole: Model) -> Iterator[Section]:
    """Yield the tables of a file, each once.

    A table that is a section is no key of the one above, unless it is one of many alike, which may be missing.
    """
    for model, headings in tables_of(whole).items():
        keys = [
            _key(model, name)
            for name, field in model.model_fields.items()
            if field.default is None or not list(_inner(field.annotation, ""))
        ]
        yield Section(headings=headings, model=model, keys=keys)


def key_of(name: str, field: FieldInfo) -> str:
    """Return a key as it stands in the file."""
    return field.alias or name


def meanings(model: Model) -> dict[str, str]:
    """Return the text under each field of a model and of its bases."""
    bases = [kind for kind in model.__mro__ if issubclass(kind, pydantic.BaseModel) and kind is not pydantic.BaseModel]
    return {name: text for kind in reversed(bases) for name, text in texts_under(kind).items()}


def tables_of(whole: Model) -> dict[Model, list[str]]:
    """Return the tables of a file, each model once, with the headings under which it may stand."""
    found: dict[Model, list[str]] = {whole: [""]}

    def look(model: Model, path: str) -> None:
        for name, field in model.model_fields.items():
            for inner, heading in _inner(field.annotation, f"{path}{key_of(name, field)}"):
                found.setdefault(inner, []).append(heading)
                look(inner, f"{heading.strip('[]')}.")

    look(whole, "")
    return found


def _inner(annotation: Any, path: str, *, is_list: bool = False) -> Iterator[tuple[Model, str]]:
    """Yield the model of a field that is a table, with its heading."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        yield annotation, f"[[{path}]]" if is_list else f"[{path}]"
    elif origin in {Union, UnionType}:
        for one in arguments:
            yield from _inner(one, path, is_list=is_list)
    elif origin is tuple:
        yield from _inner(arguments[0], path, is_list=True)
    elif origin is dict:
        yield from _inner(arguments[1], f"{path}.<{_kind(arguments[0]).words}>")


def _key(model: Model, name: str) -> Key:
    field = model.model_fields[name]
    meaning = meanings(model).get(name, "")
    kind = _kind(field.annotation, field.metadata)
    like = _LIKE.search(meaning)
    meaning = _LIKE.sub("", meaning)
    if isinstance(field.validation_alias, AliasChoices):
        others = (f"`{alias}`" for alias in field.validation_alias.choices if alias != name)
        meaning += f" Also {', '.join(others)}."
    ours = meaning.startswith(_OURS)
    return Key(
        name=key_of(name, field),
        kind=kind.words,
        default="" if kind.words.startswith("table") else _default(field, kind),
        required=field.is_required(),
        example=like[1] if like else kind.example,
        meaning=meaning.removeprefix(_OURS),
        ours=ours,
    )


def _default(field: FieldInfo, kind: Kind) -> str:
    if field.is_required():
        return ""
    value = field.default
    if value is None or value in ({}, ""):
        return ""
    if value == ():
        return "[]"
    return kind.written(value) if kind.written else f'"{value}"' if isinstance(value, str) else str(value)


def _kind(annotation: Any, metadata: Sequence[Any] = ()) -> Kind:
    """Return how a value of a type is written."""
    own = next((one for one in metadata if isinstance(one, Kind)), None)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if own is not None:
        return own
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return Kind("table", "")
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if origin is Annotated:
        return _kind(arguments[0], arguments[1:])
    if origin is Literal:
        quoted = [f'"{one}"' for one in arguments]
        return Kind(", ".join(f"`{one}`" for one in quoted), quoted[-1], lambda value: f'"{value}"')
    if origin in {Union, UnionType}:
        return _kind(next(one for one in arguments if one is not type(None)))
    if origin is tuple:
        inner = _kind(arguments[0])
        return Kind(f"list of {inner.words}s", f"[{inner.example}]" if inner.example else "")
    if origin is dict:
        key, value = _kind(arguments[0]), _kind(arguments[1])
        return Kind(f"{value.words}, by {key.words if key.words != 'text' else 'name'}", "")
    raise TypeError(f"{annotation} has no words")


def texts_under(kind: type) -> dict[str, str]:
    """Return the text that stands under each field, or member, of a class, in one line."""
    (found,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(found, ast.ClassDef)
    texts: dict[str, str] = {}
    for field, text in zip(found.body, found.body[1:], strict=False):
        if not (isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)):
            continue
        if isinstance(field, ast.Assign | ast.AnnAssign):
            target = field.targets[0] if isinstance(field, ast.Assign) else field.target
            texts[ast.unparse(target)] = " ".join(str(text.value.value).split())
    return texts
