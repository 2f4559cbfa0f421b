"""What may stand in a configuration file: examples that work, and every key with its meaning, from the models."""

import importlib.resources
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from damocles.cli.terminal import exits, tables
from damocles.text import keys, spelling

Pattern = Annotated[str, Parameter(help="Part of a key, or of its meaning; default: all.", show_default=False)]

_EXAMPLES = (
    importlib.resources.files("damocles") / "kit" / "examples"
)  # `make install` puts the same files on a machine
_MOST_TABLES = 3  # that are named, of those in which a key may stand
_TABLE: tables.Table["Row"] = tables.Table(
    columns=("Setting", "Value", "Default", "Meaning"),
    cells=lambda row: [row.path, row.key.kind, row.default or "-", row.meaning],
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A key of a file, and the heading under which it stands."""

    headings: Sequence[str]
    path: str
    key: keys.Key
    meaning: str

    @property
    def default(self) -> str:
        """The default, or that there must be a value."""
        return "required" if self.key.required else self.key.default

    def as_dict(self) -> dict[str, object]:
        """Return what `--json` prints."""
        return {
            "key": self.path,
            "tables": [heading for heading in self.headings if heading],
            "value": self.key.kind,
            "default": self.key.default,
            "required": self.key.required,
            "example": self.key.example,
            "meaning": self.meaning,
            "ours": self.key.ours,
        }


def print_example(role: str, *, as_json: bool) -> int:
    """Print the example for a role."""
    text = (_EXAMPLES / f"{role}.toml").read_text()
    exits.print_result(text.rstrip("\n"), {"role": role, "text": text}, as_json=as_json)
    return exits.OK


def print_keys(
    model: keys.Model,
    pattern: str,
    *,
    full: bool,
    as_json: bool,
    note: Callable[[str], str] = lambda _: "",
) -> int:
    """Print the keys of a file whose path, or else whose meaning, has `pattern` in it; one alone with all about it."""
    known = list(_rows(model, note))
    wanted = pattern.strip("[]").casefold()
    found = [row for row in known if wanted in row.path.casefold()]
    found = found or [row for row in known if wanted in row.meaning.casefold()]
    if not found:
        near = spelling.did_you_mean(pattern, [row.path for row in known])
        raise exits.Failed(f"no key has {pattern!r} in its name or meaning{near}")
    if as_json:
        exits.print_json([row.as_dict() for row in found])
    elif len(found) == 1 and pattern:
        tables.print_facts(_facts(found[0]))
    else:
        tables.show(_TABLE, found, full=full)
    return exits.OK


def _rows(model: keys.Model, note: Callable[[str], str]) -> Iterator[Row]:
    for section in keys.sections(model):
        for key in section.keys:
            path = f"{section.path}.{key.name}".lstrip(".")
            meaning = f"{key.meaning[:1].upper()}{key.meaning[1:]} {note(path)}".strip()
            yield Row(headings=section.headings, path=path, key=key, meaning=meaning)


def _facts(row: Row) -> Iterator[tables.Fact]:
    yield "Key", row.path
    if any(row.headings):
        more = f" and {len(row.headings) - _MOST_TABLES} more" if len(row.headings) > _MOST_TABLES else ""
        yield "Table", ", ".join(row.headings[:_MOST_TABLES]) + more
    yield "Value", row.key.kind
    yield "Default", row.default or "-"
    if row.key.example:
        yield "Example", f"{row.key.name} = {row.key.example}"
    yield "Meaning", row.meaning
    if row.key.ours:
        yield "Original", "does not have it"
