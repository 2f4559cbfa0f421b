"""`damocles-manager audit` and `damocles-worker audit`: who changed what, when and why."""

import json as json_format
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from cyclopts import App
from msgspec import structs

from damocles.cli import common, fleet_options, manager_at, worker_at
from damocles.wire import codec, control, units

manager_app = App(name="audit", version_flags=[])
worker_app = App(name="audit", version_flags=[])

PAGE = 1000
_CELL_CHARACTERS = 200
_ACTS = {"Damocles.FleetAct", "Damocles.ActOn"}
_UNTOLD = {"reason", "asked_by", "timeout_seconds"}
_HEADER = ("At", "Who", "From", "What", "With", "Why", "Outcome")

Since = Annotated[str | None, fleet_options.Flag(name="--since", help="Only of the last time, like 1d or 2h.")]
Who = Annotated[str | None, fleet_options.Flag(name="--who", help="Only by the holder of this token.")]
What = Annotated[str | None, fleet_options.Flag(name="--what", help="Only methods with this in their name.")]
Failed = Annotated[
    bool, fleet_options.Flag(name="--failed", help="Only what failed or was refused, wholly or in part.")
]
Newest = Annotated[bool, fleet_options.Flag(name="--newest-first", help="Begin with the newest.")]
Sector = Annotated[str | None, fleet_options.Flag(name="--sector", help="Only what concerns this sector.")]


@manager_app.command(name="list")
def list_of_manager(
    *,
    since: Since = None,
    who: Who = None,
    what: What = None,
    sector: Sector = None,
    failed: Failed = False,
    newest: Newest = False,
    json: fleet_options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """List what was changed through the manager, the oldest first."""
    return _show(_fetch(at, _query(since, who, what, sector)), failed=failed, newest=newest, as_json=json)


@manager_app.command
def export(*, since: Since = None, at: manager_at.At = manager_at.USUAL) -> int:
    """Print the whole audit, one JSON object a line."""
    return _export(_fetch(at, _query(since, None, None, None)))


@worker_app.command(name="export")
def export_of_worker(*, since: Since = None, at: worker_at.At = worker_at.USUAL) -> int:
    """Print the whole audit, one JSON object a line. Reads its file: the worker need not run."""
    return _export(_read(at, _query(since, None, None, None)))


@worker_app.command(name="list")
def list_of_worker(
    *,
    since: Since = None,
    who: Who = None,
    what: What = None,
    sector: Sector = None,
    failed: Failed = False,
    newest: Newest = False,
    json: fleet_options.AsJson = False,
    at: worker_at.At = worker_at.USUAL,
) -> int:
    """List what was changed through the worker, the oldest first. Reads its file: the worker need not run."""
    return _show(_read(at, _query(since, who, what, sector)), failed=failed, newest=newest, as_json=json)


def _query(since: str | None, who: str | None, what: str | None, sector: str | None) -> control.AuditQuery:
    begin = None if since is None else time.time() - fleet_options.seconds(since, "--since")
    return control.AuditQuery(since=begin, who=who, what=what, sector=sector, limit=PAGE)


def _fetch(at: manager_at.At, query: control.AuditQuery) -> Iterator[control.AuditEntry]:
    with at.call() as manager:
        while True:
            page = manager.call("Damocles.AuditList", [query], returns=list[control.AuditEntry])
            yield from page
            if len(page) < PAGE:
                return
            query = structs.replace(query, after_id=page[-1].id)


def _read(at: worker_at.At, query: control.AuditQuery) -> Iterator[control.AuditEntry]:
    from damocles.worker import audit

    home = at.place().home.expanduser()
    try:
        yield from (entry for entry in audit.read(home) if _fits(query, entry))
    except OSError as error:
        raise common.Failed(f"{home / audit.FILE_NAME} cannot be read: {error.strerror}") from error


def _export(entries: Iterable[control.AuditEntry]) -> int:
    for entry in entries:
        print(codec.encode(entry).decode())
    return common.OK


def _fits(query: control.AuditQuery, entry: control.AuditEntry) -> bool:
    return (
        (query.since is None or entry.at >= query.since)
        and query.who in {None, entry.who, entry.who.partition(" via ")[0]}
        and (query.what is None or query.what.lower() in entry.what.lower())
        and (query.sector is None or query.sector in entry.sectors)
    )


def _show(entries: Iterable[control.AuditEntry], *, failed: bool, newest: bool, as_json: bool) -> int:
    entries = [entry for entry in entries if not failed or _has_failed(entry)]
    if newest:
        entries.reverse()
    if as_json:
        common.print_json([codec.to_builtins(entry) for entry in entries])
    else:
        common.print_table(_HEADER, map(_cells, entries))
    return common.OK


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


def _outcome(entry: control.AuditEntry) -> str:
    """Say what came of it; acts on many threads are counted."""
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


def _asked(entry: control.AuditEntry) -> str:
    """Say what was asked for, by the parameters' names; what has a column of its own is left out, and what is empty."""
    if not isinstance(entry.params, list) or len(entry.names) != len(entry.params):
        return ", ".join(map(_brief, entry.params)) if isinstance(entry.params, list) else _brief(entry.params)
    named = [(name, value) for name, value in zip(entry.names, entry.params, strict=True) if name not in _UNTOLD]
    return ", ".join(
        _brief(value) if isinstance(value, dict) else f"{name}={_brief(value)}"
        for name, value in named
        if value not in (None, "", [])
    )


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        told = ((name, item) for name, item in value.items() if name not in _UNTOLD)
        inner = (f"{name}={_brief(item)}" for name, item in told if item not in (None, [], "", False))
        text = " ".join(inner)
    elif isinstance(value, str):
        text = value
    else:
        text = json_format.dumps(value, ensure_ascii=False)
    return text if len(text) <= _CELL_CHARACTERS else text[: _CELL_CHARACTERS - 1] + "…"
