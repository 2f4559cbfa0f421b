"""Errors in a TOML file, in a form that helps to fix them: file, line, key, value, and what was expected.

Nothing here knows the worker's keys, and nothing heavy is imported: the short commands use it too.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from damocles.text import redaction, toml

KeyPath = tuple[str | int, ...]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_ASSIGNMENT = re.compile(rf"\s*({_DOTTED})\s*=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One error or warning about a file; `value` is the text in the file."""

    file: Path
    line: int | None = None
    key: str = ""
    value: str | None = None
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else str(self.file)
        what = f"{self.key} = {self.value}" if self.value is not None else self.key
        return ": ".join(part for part in (place, what, self.message) if part)

    def as_dict(self) -> dict[str, object]:
        """Return the fields for JSON."""
        return {**asdict(self), "file": str(self.file)}


class ConfigError(Exception):
    """A configuration file cannot be used; `errors` has all of its errors.

    `warnings` come along: a misspelt key is often why another one is missing.
    """

    def __init__(self, errors: Iterable[Problem], warnings: Iterable[Problem] = ()) -> None:
        self.errors = tuple(errors)
        self.warnings = tuple(warnings)
        super().__init__("\n".join(str(problem) for problem in self.errors))


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed TOML file that knows the line of each key."""

    file: Path
    data: dict[str, Any]
    lines: Mapping[KeyPath, int]

    def problem(self, path: KeyPath, message: str, *, value: object = None) -> Problem:
        """Describe what is wrong at `path`; a `value` of `None` is not shown."""
        return Problem(
            file=self.file,
            line=self.line_of(path),
            key=key_text(path),
            value=None if value is None else value_text(path, value),
            message=redaction.text(message),
        )

    def line_of(self, path: KeyPath) -> int | None:
        """Return the line of a key, or of the closest table around it."""
        return next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), None)


def read(file: Path) -> Document:
    """Read a TOML file.

    Raises:
        ConfigError: It cannot be read, or is not TOML.
    """
    try:
        text = toml.read(file)
    except toml.Unusable as error:
        raise ConfigError([Problem(file=file, message=error.message)]) from error
    return parse(text, file)


def parse(text: str, file: Path) -> Document:
    """Parse the text of a TOML file (see `read`)."""
    try:
        data = toml.parse(text)
    except toml.Unusable as error:
        raise ConfigError([Problem(file=file, line=error.line, message=error.message)]) from error
    return Document(file, data, _key_lines(text))


def key_text(path: KeyPath) -> str:
    """Write a key path as a person would: `sealing_thread[1].sealing.max_retries`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if _BARE_KEY.fullmatch(part) else f'"{part}"'
            text += f".{name}" if text else name
    return text


def value_text(path: KeyPath, value: object) -> str:
    """Write a value much as it stands in the file, cut to a line; secrets are masked."""
    if is_secret(path):
        return '"***"'
    text = redaction.text(toml_text(value))  # URLs may hold passwords, too
    return text if len(text) <= 60 else text[:59] + "…"


def is_secret(path: KeyPath) -> bool:
    """Return whether a key, by its name, holds a secret that no log may show: tokens, passwords, all HTTP headers."""
    return "headers" in path[:-1] or redaction.is_secret(str(path[-1]) if path else "")


def toml_text(value: object) -> str:
    """Write a value as TOML, in one line; secrets in tables are masked."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
        case Mapping():
            inner = (f"{key} = {value_text((str(key),), item)}" for key, item in value.items())
            return "{ " + ", ".join(inner) + " }"
        case Sequence():
            return "[" + ", ".join(toml_text(item) for item in value) + "]"
        case _:
            return str(value)


def toml_lines(table: Mapping[str, Any], path: KeyPath = ()) -> Iterator[str]:
    """Yield the lines of a table: its values, then the tables in it."""
    nested = []
    for key, value in table.items():
        if isinstance(value, Mapping) or (isinstance(value, list) and value and isinstance(value[0], Mapping)):
            nested.append((key, value))
        else:
            yield f"{key_text((key,))} = {toml_text(value)}"
    for key, value in nested:
        name = key_text((*path, key))
        for inner in value if isinstance(value, list) else [value]:
            body = list(toml_lines(inner, (*path, key)))
            has_values = bool(body) and body[0] != ""
            if isinstance(value, list):
                yield from ("", f"[[{name}]]")
            elif has_values:
                yield from ("", f"[{name}]")
            yield from body


def _key_lines(text: str) -> dict[KeyPath, int]:
    """Find the line of each key and table header.

    This reads lines, not TOML: a key inside a string of several lines may be taken for one. Nobody is harmed by that:
    at worst a message names a wrong line.
    """
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _within_arrays(_split(header[2]), counts)
            if header[1] == "[[":
                index = counts[table] = counts.get(table, -1) + 1
                table = (*table, index)
            lines.setdefault(table, number)
        elif assignment := _ASSIGNMENT.match(line):
            path = (*table, *_split(assignment[1]))
            # `a.b = 1` opens the table `a` too, if nothing has done so before.
            for end in range(len(table) + 1, len(path) + 1):
                lines.setdefault(path[:end], number)
    return lines


def _within_arrays(names: tuple[str, ...], counts: Mapping[KeyPath, int]) -> KeyPath:
    """Turn the names of a header into a path: below an array of tables, its last table is meant."""
    path: KeyPath = ()
    for depth, name in enumerate(names):
        path = (*path, name)
        if path in counts and depth < len(names) - 1:
            path = (*path, counts[path])
    return path


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_KEY, dotted))
