"""`damocles-manager audit` and `damocles-worker audit`: who changed what, when and why."""

import json as json_format
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Annotated, Any

from cyclopts import App
from msgspec import structs

from damocles.cli.connecting import manager_at, worker_at
from damocles.cli.terminal import exits, tables
from damocles.cli.threads import options
from damocles.text import terminal, units
from damocles.wire import codec, control

manager_app = App(name="audit", version_flags=[])
worker_app = App(name="audit", version_flags=[])

PAGE = 1000
_CELL_CHARACTERS = 200
_ACTS = {"Damocles.FleetAct", "Damocles.ActOn"}
_DRAINS = {"Damocles.WorkerDrain", "Damocles.Drain"}
_COMMANDS = {
    **dict.fromkeys(_DRAINS, "drain"),
    "Damocles.AlertAck": "alerts ack",
    "Damocles.AlertMute": "alerts mute",
    "Damocles.AuthCreate": "auth create",
    "Damocles.AuthRevoke": "auth revoke",
    "Damocles.MockWdPoSt": "wdpost make",
    "Damocles.SectorAbort": "sectors abort",
    "Damocles.SectorsImport": "import",
    "Venus.SectorSetForRebuild": "sectors rebuild",
    "Venus.SnapUpPreFetch": "snap fetch",
    "Venus.UnsealPiece": "sectors unseal",
    "Venus.WdPoStRemoveJob": "wdpost remove",
    "Venus.WdPoStResetJob": "wdpost reset",
    "Venus.WorkerPingInfoRemove": "worker remove",
    "VenusWorker.WorkerPause": "pause",
    "VenusWorker.WorkerResume": "resume",
}
_UNTOLD = {"reason", "asked_by", "timeout_seconds"}

Since = Annotated[str | None, options.Flag(name="--since", help="Only of the last time, like 1d or 2h.")]
Who = Annotated[str | None, options.Flag(name="--who", help="Only by the holder of this token.")]
What = Annotated[
    str | None, options.Flag(name="--what", help="Only commands or methods with this in their name, like resume.")
]
Failed = Annotated[bool, options.Flag(name="--failed", help="Only what failed or was refused, wholly or in part.")]
Newest = Annotated[bool, options.Flag(name="--newest-first", help="Begin with the newest.")]
Sector = Annotated[str | None, options.Flag(name="--sector", help="Only what concerns this sector.")]


@manager_app.command(
    name="list",
    help_epilogue=options.examples(
        "damocles-manager audit list --since 1d", "damocles-manager audit list --what resume --failed"
    ),
)
def list_of_manager(
    *,
    since: Since = None,
    who: Who = None,
    what: What = None,
    sector: Sector = None,
    failed: Failed = False,
    newest: Newest = False,
    full: options.Full = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """List what was changed through the manager, the oldest first."""
    found = (entry for entry in _fetch(at, _query(since, who, sector)) if _is_called(entry, what))
    return _show(found, failed=failed, newest=newest, full=full, as_json=json)


@manager_app.command
def export(*, since: Since = None, at: manager_at.At = manager_at.USUAL) -> int:
    """Print the whole audit, one JSON object a line."""
    return _export(_fetch(at, _query(since, None, None)))


@worker_app.command(name="export")
def export_of_worker(*, since: Since = None, at: worker_at.At = worker_at.USUAL) -> int:
    """Print the whole audit, one JSON object a line. Reads its file: the worker need not run."""
    return _export(_read(at, _query(since, None, None)))


@worker_app.command(
    name="list",
    help_epilogue=options.examples(
        "damocles-worker audit list --since 1d", "damocles-worker audit list -c worker.toml --who alice"
    ),
)
def list_of_worker(
    *,
    since: Since = None,
    who: Who = None,
    what: What = None,
    sector: Sector = None,
    failed: Failed = False,
    newest: Newest = False,
    full: options.Full = False,
    json: options.AsJson = False,
    at: worker_at.At = worker_at.USUAL,
) -> int:
    """List what was changed through the worker, the oldest first. Reads its file: the worker need not run."""
    found = (entry for entry in _read(at, _query(since, who, sector)) if _is_called(entry, what))
    return _show(found, failed=failed, newest=newest, full=full, as_json=json)


def _query(since: str | None, who: str | None, sector: str | None) -> control.AuditQuery:
    begin = None if since is None else time.time() - options.seconds(since, "--since")
    return control.AuditQuery(since=begin, who=who, sector=sector, limit=PAGE)


def _fetch(at: manager_at.At, query: control.AuditQuery) -> Iterator[control.AuditEntry]:
    with at.call() as manager:
        while True:
            page = manager.call("Damocles.AuditList", [query], returns=list[control.AuditEntry])
            fresh = [entry for entry in page if entry.id > query.after_id]
            if not fresh:
                return
            yield from fresh
            query = structs.replace(query, after_id=fresh[-1].id)


def _read(at: worker_at.At, query: control.AuditQuery) -> Iterator[control.AuditEntry]:
    from damocles.worker.serving import audit

    home = at.place().home.expanduser()
    try:
        yield from (entry for entry in audit.read(home) if _fits(query, entry))
    except OSError as error:
        raise exits.Failed(f"{home / audit.FILE_NAME} cannot be read: {error.strerror}") from error


def _export(entries: Iterable[control.AuditEntry]) -> int:
    for entry in entries:
        print(terminal.shown_json(codec.encode(entry).decode()))
    return exits.OK


def _fits(query: control.AuditQuery, entry: control.AuditEntry) -> bool:
    return (
        (query.since is None or entry.at >= query.since)
        and query.who in {None, entry.who, entry.who.partition(" via ")[0]}
        and (query.sector is None or query.sector in entry.sectors)
    )


def _is_called(entry: control.AuditEntry, what: str | None) -> bool:
    """Return whether an entry is about a command or method with these letters in its name."""
    return what is None or any(what.lower() in name.lower() for name in (entry.what, _called(entry)))


def _show(entries: Iterable[control.AuditEntry], *, failed: bool, newest: bool, full: bool, as_json: bool) -> int:
    entries = [entry for entry in entries if not failed or _has_failed(entry)]
    if newest:
        entries.reverse()
    if as_json:
        exits.print_json([codec.to_builtins(entry) for entry in entries])
    else:
        tables.show(_TABLE, entries, full=full)
    return exits.OK


def _cells(entry: control.AuditEntry) -> list[str]:
    return [
        units.moment(entry.at),
        entry.who,
        entry.address,
        entry.what.partition(".")[2] or entry.what,
        _asked(entry),
        entry.reason or "-",
        _outcome(entry),
    ]


def _spoken(value: Any) -> Any:
    """Return JSON with its lists of words and numbers as people write them: `w1,w2`."""
    if isinstance(value, dict):
        return {name: _spoken(item) for name, item in value.items()}
    if isinstance(value, list):
        are_plain = all(isinstance(item, str | int) for item in value)
        return ",".join(map(str, value)) if value and are_plain else [_spoken(item) for item in value]
    return value


def _called(entry: control.AuditEntry) -> str:
    """Return the command by which people know what was done; without one the method's name."""
    params = entry.params if isinstance(entry.params, list) else []
    if entry.what in _ACTS:
        act = next((one for one in params if isinstance(one, dict) and "verb" in one), {"verb": "act"})
        return str(act["verb"])
    if entry.what in _DRAINS and any(one is False for one in params[:2]):
        return "undrain"
    return _COMMANDS.get(entry.what) or entry.what.partition(".")[2] or entry.what


def _brief_cells(entry: control.AuditEntry) -> list[str]:
    """Return a row for people: an act on threads is called by its verb."""
    _, who, address, _, asked, reason, outcome = _cells(entry)
    if entry.what in _ACTS:
        asked = _asked(structs.replace(entry, params=_spoken(entry.params)), untold={*_UNTOLD, "verb"})
    return [units.brief_moment(entry.at, time.time()), who, address, _called(entry), asked or "-", reason, outcome]


_TABLE = tables.Table(
    columns=("Time", "Who", "From", "What", "With", "Reason", "Outcome"),
    cells=_brief_cells,
    plain_columns=("At", "Who", "From", "What", "With", "Why", "Outcome"),
    plain_cells=_cells,
)


def _outcome(entry: control.AuditEntry) -> str:
    """Say what came of it; acts on many threads are counted."""
    if not entry.ended:
        return "not known: it goes on, or its daemon was stopped meanwhile"
    if not entry.ok:
        return f"failed: {_brief(entry.outcome)}"
    match entry.outcome:
        case False:
            return "nothing was done"
        case {"ok": bool(ok), "text": str(text)}:
            return text if ok else f"refused: {text}"
        case [{"ok": _}, *_]:
            counts = Counter(
                "done" if one.get("ok") else "without answer" if one.get("silent") else "refused"
                for one in entry.outcome
            )
            return ", ".join(f"{count} {how}" for how, count in counts.items())
        case [] if entry.what in _ACTS:
            return "no thread fitted, nothing was done"
    return "done"


def _has_failed(entry: control.AuditEntry) -> bool:
    outcomes = entry.outcome if isinstance(entry.outcome, list) else [entry.outcome]
    return not entry.ok or any(one is False or (isinstance(one, dict) and one.get("ok") is False) for one in outcomes)


def _asked(entry: control.AuditEntry, untold: Collection[str] = _UNTOLD) -> str:
    """Say what was asked for, by the parameters' names; what has a column of its own is left out, and what is empty."""
    if not isinstance(entry.params, list) or len(entry.names) != len(entry.params):
        params = entry.params if isinstance(entry.params, list) else [entry.params]
        return ", ".join(_brief(one, untold) for one in params)
    named = [(name, value) for name, value in zip(entry.names, entry.params, strict=True) if name not in untold]
    texts = (
        _brief(value, untold) if isinstance(value, dict) else f"{name}={_brief(value, untold)}"
        for name, value in named
        if value not in (None, "", [])
    )
    return ", ".join(text for text in texts if text)


def _brief(value: Any, untold: Collection[str] = _UNTOLD) -> str:
    if isinstance(value, dict):
        told = ((name, item) for name, item in value.items() if name not in untold)
        inner = (f"{name}={_brief(item, untold)}" for name, item in told if item not in (None, [], "", False))
        text = " ".join(inner)
    elif isinstance(value, str):
        text = value
    else:
        text = json_format.dumps(value, ensure_ascii=False)
    return text if len(text) <= _CELL_CHARACTERS else text[: _CELL_CHARACTERS - 1] + "…"
