"""The tables of a configuration file as pydantic models have them: which keys may stand where."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pydantic


@dataclass(frozen=True, slots=True)
class Kind:
    """How people write a value, for the pages about a file: in words, with an example, and how a default is written.

    Stands in the `Annotated` of a type; examples are in the file's notation.
    """

    words: str
    example: str
    written: Callable[[Any], str] | None = None


def table_in(annotation: Any) -> type[pydantic.BaseModel] | None:
    """Return the model of a field that is a table, or a list of tables."""
    for kind in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
            return kind
    return None


def keys_beside(whole: type[pydantic.BaseModel], path: Sequence[str | int]) -> list[str]:
    """Return the keys that may stand where the last part of `path` does; numbers in it are places in lists."""
    model = whole
    for part in path[:-1]:
        if isinstance(part, int):
            continue
        field = next(field for name, field in model.model_fields.items() if part in {name, field.alias})
        model = table_in(field.annotation) or model
    return [field.alias or name for name, field in model.model_fields.items()]
