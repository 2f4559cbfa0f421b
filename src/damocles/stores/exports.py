"""What the journals of sealing stores hold, as lines of JSON.

```
{"format":1,"store":"/stores/1","identity":"…","sector":{…}}     begins a store; `sector` is its record, or null
{"output":"pc1out","body":{…}}                                   an output that is megabytes long
{"entry":{"at":1790000000.5,"plan":"sealer",…}}                  the history, oldest first, as `store show --json`
{"end":{"outputs":1,"entries":24}}                               ends it: a file that was cut off is found out
```
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from damocles.sealing import planner, sectors
from damocles.stores import journal
from damocles.wire import codec

FORMAT: Final = 1


class _Begin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal[1]
    store: str
    identity: str
    sector: msgspec.Raw


class _Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    output: str
    body: msgspec.Raw


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    entry: journal.Entry


class _Counts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    outputs: int
    entries: int


class _End(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    end: _Counts


_KINDS: dict[str, type[Any]] = {"format": _Begin, "output": _Output, "entry": _Entry, "end": _End}


class BadLine(ValueError):
    """A file cannot be imported; the message names the line and what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """One store of a file."""

    location: str
    head: journal.Head
    sector: sectors.Sector | None
    entries: tuple[journal.Entry, ...]


def lines(location: Path) -> Iterator[bytes]:
    """Yield the lines of a store, which a worker may be using.

    Raises:
        journal.JournalError: It cannot be read.
    """
    outputs = entries = 0
    for part in journal.contents(location):
        match part:
            case journal.Head():
                record = msgspec.Raw(part.record if part.record is not None else b"null")
                yield codec.encode(_Begin(FORMAT, str(location), part.identity, record)) + b"\n"
                for name, body in part.outputs:
                    outputs += 1
                    # JSON of foreign processors may have been written over several lines.
                    flat = msgspec.json.format(body, indent=-1) if b"\n" in body else body
                    yield codec.encode(_Output(name, msgspec.Raw(flat))) + b"\n"
            case journal.Entry():
                entries += 1
                yield codec.encode(_Entry(part)) + b"\n"
    yield codec.encode(_End(_Counts(outputs, entries))) + b"\n"


def read(given: Iterable[bytes]) -> Iterator[Store]:
    """Check lines and yield their stores, each when its end is reached.

    Raises:
        BadLine: One cannot be used, or the end is missing.
    """
    begin: _Begin | None = None
    outputs: list[tuple[str, bytes]] = []
    entries: list[journal.Entry] = []
    number = 0
    for number, text in enumerate(given, 1):
        if not text.strip():
            continue
        try:
            line = _line(text, inside=begin is not None)
            match line:
                case _Begin():
                    begin, outputs, entries = line, [], []
                case _Output():
                    outputs.append((line.output, bytes(line.body)))
                case _Entry():
                    entries.append(line.entry)
                case _End(counts):
                    assert begin is not None
                    yield _store(begin, outputs, entries, counts)
                    begin = None
        except (ValueError, msgspec.MsgspecError) as error:
            raise BadLine(f"line {number}: {error}") from error
    if begin is not None:
        raise BadLine(f"line {number}: the file is cut off, the end of {begin.store} is missing")


def _line(text: bytes, *, inside: bool) -> Any:
    keys = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    kind = next((kind for key, kind in _KINDS.items() if key in keys), None)
    if kind is None:
        raise ValueError("is no line of an export of stores")
    if (kind is _Begin) is inside:
        raise ValueError("the store before it has no end" if inside else "belongs to no store")
    return codec.decode(text, kind)


def _store(begin: _Begin, outputs: list[tuple[str, bytes]], entries: list[journal.Entry], counts: _Counts) -> Store:
    if counts != _Counts(len(outputs), len(entries)):
        raise ValueError(f"lines are missing: there were {counts.outputs} outputs and {counts.entries} entries")
    record = bytes(begin.sector)
    sector = codec.decode(record, sectors.Sector) if record != b"null" else None
    if sector is not None and sector.plan not in planner.PLANS:
        raise ValueError(f"{begin.store} has a sector of the plan {sector.plan}, which this release does not know")
    if unknown := [name for name, _ in outputs if name not in sectors.LARGE_FIELDS]:
        raise ValueError(f"{begin.store} has an output {unknown[0]}, which this release does not know")
    head = journal.Head(identity=begin.identity, record=record if sector is not None else None, outputs=tuple(outputs))
    return Store(location=begin.store, head=head, sector=sector, entries=tuple(entries))
