"""Read the manager's configuration, and say everything that is wrong with it at once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic

from damocles.manager.config.model import Config
from damocles.text import spelling, tables, toml

FILE_NAME = "manager.toml"

_EXPECTED = {
    "bool_type": "expected true or false, without quotes",
    "float_type": "expected a number, without quotes",
    "int_type": "expected a whole number, without quotes",
    "missing": "is missing",
    "model_type": "expected a table",
    "string_type": "expected a text in quotes",
    "tuple_type": "expected an array, or tables in double brackets",
}


class ConfigError(Exception):
    """The file cannot be used; each line of the message names a key and what is wrong with it."""


def load(file: Path) -> Config:
    """Read and check a file.

    Raises:
        ConfigError: With everything that is wrong.
    """
    try:
        data = toml.parse(toml.read(file))
    except toml.Unusable as error:
        place = f"{file}:{error.line}" if error.line else str(file)
        raise ConfigError(f"{place}: {error}") from error
    return check(data, str(file))


def check(data: Mapping[str, Any], where: str) -> Config:
    """Check what a file says; `where` stands before each problem (see `load`)."""
    try:
        return Config.model_validate(_spelt(data, Config))
    except pydantic.ValidationError as error:
        lines = [f"{where}: {_problem(problem)}" for problem in error.errors(include_url=False, include_context=False)]
        raise ConfigError("\n".join(lines)) from error


def _spelt(data: Any, model: type[pydantic.BaseModel]) -> Any:
    """Return tables with their keys as the model has them, whatever their case."""
    if isinstance(data, list):
        return [_spelt(entry, model) for entry in data]
    if not isinstance(data, Mapping):
        return data
    known = {(field.alias or name).lower(): (field.alias or name, field) for name, field in model.model_fields.items()}
    result: dict[str, Any] = {}
    for key, value in data.items():
        name, field = known.get(key.lower(), (key, None))
        inner = tables.table_in(field.annotation) if field is not None else None
        # A key in two spellings: one of them is left as it is, and refused.
        result[key if name in result else name] = value if inner is None else _spelt(value, inner)
    return result


def _problem(problem: Any) -> str:
    path = problem["loc"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    if problem["type"] == "extra_forbidden":
        return f"{key}: there is no such key{spelling.did_you_mean(str(path[-1]), tables.keys_beside(Config, path))}"
    said = _EXPECTED.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
    return f"{key}: {said}" if key else said
