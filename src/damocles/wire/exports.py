"""Sector states as lines of JSON, on their way from one manager to another; and the original's records on theirs to us.

    {"format":1,"state":"online","sector":{"ID":{"Miner":1000,"Number":7},…},"attempt":{"number":3,…},"files":{…}}

`sector` is the record as on the wire (`records.SectorState`). `attempt` and `files` are what our manager knows beside
it; they are left out if empty, and may be missing in lines from elsewhere. The original's
records are what its `util sealer sectors state export-json` prints: one per line, an array of them, or the answer to a
call of `Venus.FindSector` or `Venus.ListSectors`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, Final, Literal

import msgspec

from damocles.wire import codec, records
from damocles.wire.sectors import SealProof, SectorID

FORMAT: Final = 1
_NUMBERS_END = 2**63  # what a manager's database can hold

State = Literal["online", "offline"]

_NO_DEAL = {"DealID": 0, "AllocationID": 0, "PayloadSize": 0, "IsBuiltinMarket": False}


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Who works on a sector: how often it was handed out, to whom last, and which worker and store have claimed it."""

    number: Annotated[int, msgspec.Meta(ge=1)] = 1
    given_to: str = ""
    worker: str | None = None
    location: str | None = None


class Files(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Names of the persist stores that have the sector's files."""

    normal: str | None = None
    upgrade: str | None = None


class Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One line: everything that a manager keeps of a sector."""

    format: Literal[1]
    state: State
    sector: records.SectorState
    attempt: Attempt | None = None
    files: Files | None = None


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which sectors are wanted: at most `limit`, by miner and number, those behind `after`."""

    state: Literal["online", "offline", "all"] = "all"
    after: SectorID | None = None
    limit: Annotated[int, msgspec.Meta(ge=1)] = 200


class Numbered(msgspec.Struct, frozen=True):
    """A line with its number in the file."""

    line: int
    kept: Kept


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Some lines of the import with this id."""

    id: str
    lines: list[Numbered]


class Import(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Import the `count` lines that were sent under this id, all or none. A dry run only predicts the outcome."""

    id: str
    count: int
    overwrite: bool = False
    dry_run: bool = False
    reason: str = ""


class Replaced(msgspec.Struct, frozen=True, kw_only=True):
    """A sector that was there already: in a few words before and after, and the fields that differ."""

    sector: SectorID
    before: str
    after: str
    changed: list[str]


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What became, or would become, of each line."""

    added: list[SectorID]
    replaced: list[Replaced]
    unchanged: list[SectorID]


class BadLine(ValueError):
    """A file cannot be imported; the message names the line (or the element of an array) and what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A line that is right. `lost` names fields of an original's record that nobody here knows."""

    line: int
    kept: Kept
    lost: tuple[str, ...] = ()


def state_of(record: records.SectorState) -> State:
    """Return where a manager keeps a record."""
    return "offline" if record.finalized else "online"


def placed(read: Read, store: str | None) -> Read:
    """Put the files of a finished sector into a persist store, if the line does not name one."""
    kept, record = read.kept, read.kept.sector
    if store is None or kept.files is not None or kept.state == "online" or record.abort_reason or record.removed:
        return read
    upgraded = record.upgraded_info.access_instance if record.upgraded and record.upgraded_info else None
    files = Files(normal=store, upgrade=upgraded)
    return Read(line=read.line, kept=msgspec.structs.replace(kept, files=files), lost=read.lost)


def brief(kept: Kept) -> str:
    """Return a sector's state in a few words."""
    record = kept.sector
    latest = record.latest_state
    if record.abort_reason:
        where = f"aborted: {record.abort_reason}"
    elif record.finalized:
        where = "removed" if record.removed else "finalized"
    else:
        where = latest.state_change.next if latest else "not reported"
    return f"{kept.state}, {where}"


def read(lines: Iterable[bytes], *, from_original: bool = False) -> Iterator[Read]:
    """Check and yield the lines of a file, ours and the original's; with `from_original`, only the original's.

    Lines are taken one after the other; a file that is one document (an array, an answer, a record over several lines)
    is taken whole.

    Raises:
        BadLine: One cannot be used, or a sector is there twice.
    """
    seen: dict[SectorID, str] = {}
    for name, line, value, text in _values(lines):
        try:
            found = _one(value, text, line, from_original=from_original)
        except (ValueError, msgspec.MsgspecError) as error:
            raise BadLine(f"{name}: {error}") from error
        sector = found.kept.sector.id
        if sector in seen:
            raise BadLine(f"{name}: {sector} appears twice, first in {seen[sector]}")
        seen[sector] = name
        yield found


def _values(lines: Iterable[bytes]) -> Iterator[tuple[str, int, Any, bytes]]:
    """Yield what to call each value, its line (or place in the document), the value and its text."""
    rest = iter(lines)
    before = 0
    first = b""
    for first in rest:
        before += 1
        if first.strip():
            break
    if not first.strip():
        return
    try:
        whole = msgspec.json.decode(first)
        is_document = isinstance(whole, list) or _is_answer(whole)
    except msgspec.DecodeError:
        is_document = first.lstrip()[:1] == b"[" or first.strip() == b"{"
    if is_document:
        yield from _elements(first + b"".join(rest))
        return
    for number, text in enumerate(chain([first], rest), before):
        if not text.strip():
            continue
        try:
            yield f"line {number}", number, msgspec.json.decode(text), text
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadLine(f"line {number}: is not JSON: {error}") from error


def _elements(text: bytes) -> Iterator[tuple[str, int, Any, bytes]]:
    try:
        whole = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadLine(f"the file is not JSON: {error}") from error
    if _is_answer(whole):
        whole = whole["result"]
    for number, value in enumerate(whole if isinstance(whole, list) else [whole], 1):
        yield f"element {number}", number, value, msgspec.json.encode(value)


def _is_answer(value: Any) -> bool:
    return isinstance(value, dict) and "jsonrpc" in value and "result" in value


def _one(value: Any, text: bytes, line: int, *, from_original: bool) -> Read:
    if not isinstance(value, dict):
        raise ValueError("is no JSON object")  # noqa: TRY004, the caller adds the line
    lost: tuple[str, ...] = ()
    if "format" in value:
        if from_original:
            raise ValueError("is not a record of the original, it has a format: leave out --from-original")
        kept = codec.decode(text, Kept)
        if unknown := _unknown(value, codec.to_builtins(kept)):
            raise ValueError(f"unknown field(s) {', '.join(unknown)}: use the release that wrote it")
        if kept.state != (expected := state_of(kept.sector)):
            raise ValueError(f"the state is {kept.state}, but Finalized says {expected}")
    elif "SectorType" in value and "ID" in value:
        record = _of_original(value)
        lost = tuple(_unknown(value, codec.to_builtins(record)))
        kept = Kept(format=FORMAT, state=state_of(record), sector=record)
    else:
        raise ValueError(
            'is neither a line of an export (it has no "format") nor a SectorState (no "ID", "SectorType")'
        )
    SealProof(kept.sector.proof)
    if max(kept.sector.id.miner, kept.sector.id.number) >= _NUMBERS_END:
        raise ValueError("there are no such sector numbers")
    return Read(line=line, kept=kept, lost=lost)


def _of_original(value: dict[str, Any]) -> records.SectorState:
    pieces = value.get("Pieces")
    if isinstance(pieces, list):
        # A piece without a deal is a filler; workers want to read that in its fields.
        pieces = [
            {**piece, "DealInfo": _NO_DEAL} if isinstance(piece, dict) and piece.get("DealInfo") is None else piece
            for piece in pieces
        ]
        value = {**value, "Pieces": pieces}
    return codec.from_builtins(value, records.SectorState)


def _unknown(given: Any, understood: Any, path: str = "") -> list[str]:
    """Return the paths of keys with a value that were not understood."""
    if isinstance(given, dict) and isinstance(understood, dict):
        found = []
        for key, value in given.items():
            place = f"{path}.{key}" if path else key
            if key in understood:
                found += _unknown(value, understood[key], place)
            elif value is not None:
                found.append(place)
        return found
    if isinstance(given, list) and isinstance(understood, list):
        pairs = zip(given, understood, strict=False)
        return list(dict.fromkeys(name for one, other in pairs for name in _unknown(one, other, f"{path}[]")))
    return []
