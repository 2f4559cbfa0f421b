"""What the audit keeps of foreign values, and how a row is read again, whatever it holds.

Nothing that comes in is kept as it came: secrets are hidden, and what is too large, too deep or otherwise odd becomes text,
cut. A row is made ready to be written before the change that it is about, so that no value can keep it from being written
afterwards. Rows of older releases pass through the same functions when they are read.
"""

import msgspec

from damocles.rpc import messages
from damocles.text import redaction
from damocles.wire import codec, control

FIELD_BYTES = 256 << 10
LEVELS = 64
UNREADABLE = "(unreadable)"  # what a row is about that cannot be read

_URL_OR_TOKEN = ("://", ":\\/", "dmc_")


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    """A `control.AuditEntry` whose values are not decoded yet."""

    at: float
    who: str
    address: str
    what: str
    names: list[str] = []
    params: msgspec.Raw = messages.NULL
    reason: str = ""
    sectors: list[str] = []
    before: msgspec.Raw = messages.NULL
    after: msgspec.Raw = messages.NULL
    ok: bool
    outcome: msgspec.Raw = messages.NULL
    ended: bool = True


def kept(raw: bytes | msgspec.Raw) -> object:
    """Return a value of JSON as rows keep it: JSON can hold it, and anybody who may look may read it."""
    raw = bytes(raw)
    if len(raw) <= FIELD_BYTES and codec.levels(raw) <= LEVELS:
        try:
            value = redaction.value(msgspec.json.decode(raw or b"null"))
            codec.encode(value)  # what was decoded at this depth of the stack might not be encoded at another
        except messages.UNREADABLE:
            return _cut(raw)
        return value
    return _cut(raw)


def read(raw: bytes | str, number: int, ended: bytes | str | None = None, *, at: float = 0.0) -> control.AuditEntry:
    """Return the row with this number; `ended` is what was written of it when its change had ended.

    Of one that cannot be read there is its text, and `at` is the time that it is listed with.
    """
    try:
        row = codec.decode(raw, _Row)
        entry = control.AuditEntry(
            id=number,
            at=row.at,
            who=row.who,
            address=row.address,
            what=row.what,
            names=row.names,
            params=kept(row.params),
            reason=redaction.text(row.reason),
            sectors=row.sectors,
            before=kept(row.before),
            after=kept(row.after),
            ok=row.ok,
            outcome=kept(row.outcome),
            ended=row.ended,
        )
        return entry if ended is None else finished(entry, codec.decode(ended, control.AuditEnd))
    except messages.UNREADABLE:
        text = raw.encode() if isinstance(raw, str) else raw
        return control.AuditEntry(id=number, at=at, who="", address="", what=UNREADABLE, params=_cut(text), ok=False)


def finished(entry: control.AuditEntry, end: control.AuditEnd) -> control.AuditEntry:
    """Return an entry with what is known of it since its change has ended."""
    sectors = list(dict.fromkeys([*entry.sectors, *end.sectors]))
    return msgspec.structs.replace(
        entry,
        ok=end.ok,
        outcome=end.outcome,
        before=entry.before if end.before is None else end.before,
        after=end.after,
        sectors=sectors,
        ended=True,
    )


def _cut(raw: bytes) -> str:
    text = raw[:FIELD_BYTES].decode(errors="replace")
    if len(raw) <= FIELD_BYTES:
        return redaction.json_text(text)
    whole, quote, last = text.rpartition('"')
    # What is cut in the middle may be half a URL, whose secrets nobody would know as such.
    return redaction.json_text(whole + quote if any(mark in last for mark in _URL_OR_TOKEN) else text) + "…"
