"""Every key of a configuration, from its models: kind, default, example, meaning.

The meaning is the text under the key in its class. `Ours:` before it marks a key that the original does not have, and
an example stands at its end (``Like `"2min"`.``) where that of the kind would say little.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pydantic
from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from damocles.kit.reference import tables
from damocles.text.tables import Kind

Model = type[pydantic.BaseModel]
Note = Callable[[str], str]  # what is to be said of a key beside its meaning, by its path

HEAD = ("key", "value", "default", "example", "meaning")

_LIKE = re.compile(r"\s*Like `([^`]+)`\.$")
_PLAIN = {
    bool: Kind("flag", "true", lambda value: str(value).lower()),
    int: Kind("number", "16"),
    float: Kind("number", "1.5", lambda value: f"{value:g}"),
    pydantic.SecretStr: Kind("text", ""),
    str: Kind("text", "", lambda value: f'"{value}"'),
    Path: Kind("path", "", lambda value: f'"{value}"'),
}
_MOST_HEADINGS = 3  # of one table; more are written as one


def settings(whole: Model, note: Note = lambda _: "", *, heading: str = "##") -> str:
    """Return a section for each table of a file; `note` is asked with paths like `Miners.Sector.Verbose`.

    A table that is a section has no row in the one above, unless it is one of many alike, which may be missing.
    """
    parts = []
    for model, headings in tables_of(whole).items():
        path = headings[0].strip("[]")
        rows = [
            _row(model, name, note(f"{path}.{key_of(name, field)}".lstrip(".")))
            for name, field in model.model_fields.items()
            if field.default is None or not list(_inner(field.annotation, ""))
        ]
        body = f"\n\n{tables.table(HEAD, rows)}" if rows else ""
        if body or len(headings) > _MOST_HEADINGS:
            parts.append(f"{heading} {_title(headings)}\n\n{tables.first_paragraph(model)}{body}")
    return "\n\n".join(parts)


def key_of(name: str, field: FieldInfo) -> str:
    """Return a key as it stands in the file."""
    return field.alias or name


def meanings(model: Model) -> dict[str, str]:
    """Return the text under each field of a model and of its bases."""
    bases = [kind for kind in model.__mro__ if issubclass(kind, pydantic.BaseModel) and kind is not pydantic.BaseModel]
    return {name: text for kind in reversed(bases) for name, text in tables.texts_under(kind).items()}


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


def _title(headings: Sequence[str]) -> str:
    """Return the title of a section."""
    if headings == [""]:
        return "Before all tables"
    if len(headings) <= _MOST_HEADINGS:
        return ", ".join(f"`{heading}`" for heading in headings)
    parts = [heading.strip("[]").split(".") for heading in headings]
    joined = ".".join(words[0] if len(set(words)) == 1 else "…" for words in zip(*parts, strict=True))
    return f"`{headings[0].replace(headings[0].strip('[]'), joined)}`"


def _row(model: Model, name: str, note: str) -> tuple[str, ...]:
    field = model.model_fields[name]
    meaning = meanings(model).get(name, "")
    kind = _kind(field.annotation, field.metadata)
    like = _LIKE.search(meaning)
    example = like[1] if like else kind.example
    meaning = _LIKE.sub("", meaning)
    if isinstance(field.validation_alias, AliasChoices):
        others = (f"`{alias}`" for alias in field.validation_alias.choices if alias != name)
        meaning += f" Also {', '.join(others)}."
    ours, colon, rest = meaning.partition("Ours: ")
    meaning = f"*ours:* {rest}" if colon and not ours else meaning
    default = "" if kind.words.startswith("table") else _default(field, kind)
    shown = "" if default == f"`{example}`" or not example else f"`{example}`"
    return f"`{key_of(name, field)}`", kind.words, default, shown, f"{meaning} {note}".strip()


def _default(field: FieldInfo, kind: Kind) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is None or value in ({}, ""):
        return ""
    if value == ():
        return "`[]`"
    text = kind.written(value) if kind.written else f'"{value}"' if isinstance(value, str) else str(value)
    return f"`{text}`"


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
