"""`damocles-manager audit` and `damocles-worker audit`: who changed what, when and why."""

import time
from collections.abc import Iterable, Iterator
from typing import Annotated

from cyclopts import App
from msgspec import structs

from damocles import methods
from damocles.cli.connecting import manager_at, worker_at
from damocles.cli.terminal import exits, tables, watching
from damocles.cli.threads import options
from damocles.operating import changes
from damocles.text import terminal, units
from damocles.wire import codec, control

manager_app = App(name="audit", version_flags=[])
worker_app = App(name="audit", version_flags=[])

PAGE = 1000
_PATIENCE_SECONDS = 60.0  # more than `--timeout`, with each page of the whole audit

Since = Annotated[str | None, options.Flag(name="--since", help="Only entries no older than this, like 1d or 2h.")]
Who = Annotated[str | None, options.Flag(name="--who", help="Only changes by the holder of this token.")]
What = Annotated[
    str | None, options.Flag(name="--what", help="Only commands or methods with this in their name, like resume.")
]
Failed = Annotated[bool, options.Flag(name="--failed", help="Only what failed or was refused, wholly or in part.")]
Newest = Annotated[bool, options.Flag(name="--newest-first", help="Newest first.")]
AsArray = Annotated[bool, options.Flag(name="--json", help="As one JSON array, not a line for each entry.")]
Sector = Annotated[str | None, options.Flag(name="--sector", help="Only changes to this sector.")]


@manager_app.command(
    name="list",
    help_epilogue=options.examples(
        "damocles-manager audit list --since 1d", "damocles-manager audit list --what resume --failed"
    ),
)
@watching.watchable
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
    """List the changes made through the manager, oldest first."""
    found = (entry for entry in _fetch(at, _query(since, who, sector)) if changes.is_called(entry, what))
    return _show(found, failed=failed, newest=newest, full=full, as_json=json)


@manager_app.command
def export(*, since: Since = None, json: AsArray = False, at: manager_at.At = manager_at.USUAL) -> int:
    """Export the whole audit, one JSON object per line."""
    return _export(_fetch(at, _query(since, None, None), _PATIENCE_SECONDS), as_array=json)


@worker_app.command(name="export")
def export_of_worker(*, since: Since = None, json: AsArray = False, at: worker_at.At = worker_at.USUAL) -> int:
    """Export the whole audit, one JSON object per line. The worker need not run: this reads its file."""
    return _export(_read(at, _query(since, None, None)), as_array=json)


@worker_app.command(
    name="list",
    help_epilogue=options.examples(
        "damocles-worker audit list --since 1d", "damocles-worker audit list -c worker.toml --who alice"
    ),
)
@watching.watchable
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
    """List the changes made through the worker, oldest first. The worker need not run: this reads its file."""
    found = (entry for entry in _read(at, _query(since, who, sector)) if changes.is_called(entry, what))
    return _show(found, failed=failed, newest=newest, full=full, as_json=json)


def _query(since: str | None, who: str | None, sector: str | None) -> control.AuditQuery:
    begin = None if since is None else time.time() - options.seconds(since, "--since")
    return control.AuditQuery(since=begin, who=who, sector=sector, limit=PAGE)


def _fetch(at: manager_at.At, query: control.AuditQuery, more_seconds: float = 0.0) -> Iterator[control.AuditEntry]:
    with at.call(more_seconds) as manager:
        while True:
            page = manager.call(methods.access.list_audit(query))
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


def _export(entries: Iterable[control.AuditEntry], *, as_array: bool) -> int:
    if as_array:
        exits.print_json([codec.to_builtins(entry) for entry in entries])
        return exits.OK
    for entry in entries:
        print(terminal.shown_json(codec.encode(entry).decode()))
    return exits.OK


def _fits(query: control.AuditQuery, entry: control.AuditEntry) -> bool:
    return (
        (query.since is None or entry.at >= query.since)
        and query.who in {None, entry.who, entry.who.partition(" via ")[0]}
        and (query.sector is None or query.sector in entry.sectors)
    )


def _show(entries: Iterable[control.AuditEntry], *, failed: bool, newest: bool, full: bool, as_json: bool) -> int:
    entries = [entry for entry in entries if not failed or changes.has_failed(entry)]
    if newest:
        entries.reverse()
    if as_json:
        exits.print_json([codec.to_builtins(entry) for entry in entries])
    else:
        tables.show(_TABLE, entries, full=full, nothing="nothing is recorded, or nothing that is asked for")
    return exits.OK


def _cells(entry: control.AuditEntry) -> list[str]:
    return [
        units.moment(entry.at),
        entry.who,
        entry.address,
        entry.what.partition(".")[2] or entry.what,
        changes.asked(entry),
        entry.reason or "-",
        changes.outcome(entry),
    ]


def _brief_cells(entry: control.AuditEntry) -> list[str]:
    """Return a row for people."""
    at = units.brief_moment(entry.at, time.time())
    asked = changes.brief(entry) or "-"
    what, outcome = changes.called(entry), changes.outcome(entry)
    return [at, entry.who, entry.address, what, asked, entry.reason or "-", outcome]


_TABLE = tables.Table(
    columns=("Time", "Who", "From", "What", "With", "Reason", "Outcome"),
    cells=_brief_cells,
    plain_columns=("At", "Who", "From", "What", "With", "Why", "Outcome"),
    plain_cells=_cells,
)
