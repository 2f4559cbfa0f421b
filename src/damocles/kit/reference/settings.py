"""The tables of a configuration file, for the pages of the reference."""

from collections.abc import Callable, Sequence

from damocles.kit.reference import tables
from damocles.text import keys

Note = Callable[[str], str]  # what is to be said of a key beside its meaning, by its path

HEAD = ("key", "value", "default", "example", "meaning")

_MOST_HEADINGS = 3  # of one table; more are written as one


def settings(whole: keys.Model, note: Note = lambda _: "", *, heading: str = "##") -> str:
    """Return a section for each table of a file; `note` is asked with paths like `Miners.Sector.Verbose`."""
    parts = []
    for section in keys.sections(whole):
        path = section.headings[0].strip("[]")
        rows = [_row(key, note(f"{path}.{key.name}".lstrip("."))) for key in section.keys]
        body = f"\n\n{tables.table(HEAD, rows)}" if rows else ""
        if body or len(section.headings) > _MOST_HEADINGS:
            parts.append(f"{heading} {_title(section)}\n\n{tables.first_paragraph(section.model)}{body}")
    return "\n\n".join(parts)


def _title(section: keys.Section) -> str:
    """Return the title of a section."""
    headings: Sequence[str] = section.headings
    if headings == [""]:
        return "Before all tables"
    if len(headings) <= _MOST_HEADINGS:
        return ", ".join(f"`{heading}`" for heading in headings)
    return f"`{headings[0].replace(headings[0].strip('[]'), section.path)}`"


def _row(key: keys.Key, note: str) -> tuple[str, ...]:
    default = "required" if key.required else f"`{key.default}`" if key.default else ""
    example = f"`{key.example}`" if key.example and key.example != key.default else ""
    meaning = f"*ours:* {key.meaning}" if key.ours else key.meaning
    return f"`{key.name}`", key.kind, default, example, f"{meaning} {note}".strip()
