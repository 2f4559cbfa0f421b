"""`damocles-manager db`: copy and back up the manager's database, and list its managers and leases."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

from cyclopts import App, Parameter
from sqlalchemy import Connection, inspect
from sqlalchemy import exc as sql_errors

from damocles.cli.of_manager import starting
from damocles.cli.terminal import exits, progress, tables
from damocles.cli.threads import options
from damocles.manager import errors
from damocles.manager.config import load
from damocles.manager.daemon import DATABASE_NAME
from damocles.manager.db import backup as backups
from damocles.manager.db import copying, engine, managers
from damocles.manager.db import leases as leasing
from damocles.manager.db.errands import Errand
from damocles.rpc.errors import DiskFails
from damocles.text import units

T = TypeVar("T")

app = App(name="db", help="Copy and back up the manager's database; list its managers and leases.", version_flags=[])

_PLACE = "a home, the database's file, or postgresql://USER@HOST/NAME"
Source = Annotated[str, Parameter(name="SOURCE", help=f"The database to read: {_PLACE}.")]
Target = Annotated[str, Parameter(name="TARGET", help=f"An empty database, or a new one: {_PLACE}.")]
File = Annotated[Path, Parameter(name="FILE", help="The file to write; it must not exist.")]


@app.command(
    help_epilogue=options.examples(
        "damocles-manager db copy ~/.damocles-manager postgresql://db.lan/damocles",
        "damocles-manager db copy postgresql://damocles@db.lan/damocles new-home",
    )
)
def copy(source: Source, target: Target, /, *, json: options.AsJson = False) -> int:
    """Copy the whole database to an empty one: from SQLite to PostgreSQL, or back, or to another of its kind.

    No manager may be running on either. All rows are copied or none, and each one is read back and compared. The source
    stays as it is; a home whose configuration names a database on PostgreSQL stands for that one.
    """
    read, written = _source(source), _target(target)
    try:
        with progress.Counter("rows copied") as counter:
            copied = copying.copy(read, written, counter.show)
    except (copying.CopyError, errors.StartError, DiskFails) as error:
        raise exits.Failed(str(error)) from error
    names = {"source": engine.shown(str(read)), "target": engine.shown(str(written))}
    if json:
        exits.print_json({**names, "rows": copied})
        return exits.OK
    tables.show(_TABLE, [(table, rows) for table, rows in copied.items() if rows])
    exits.print_line(f"{sum(copied.values())} rows copied and checked: {names['source']} -> {names['target']}")
    return exits.OK


@app.command(
    help_epilogue=options.examples(
        "damocles-manager db backup ~/.damocles-manager manager-backup.db",
        "damocles-manager db backup postgresql://damocles@db.lan/damocles damocles.dump",
    )
)
def backup(source: Source, file: File, /, *, json: options.AsJson = False) -> int:
    """Write the database's present state into a new file; the manager may be running.

    Of a SQLite database, the file is such a database: put it in the place of the old one to restore it. Of one on
    PostgreSQL it is what `pg_dump` writes: restore it with `pg_restore`.
    """
    read = _source(source)
    try:
        size_bytes = backups.write(read, file)
    except backups.BackupError as error:
        raise exits.Failed(str(error)) from error
    value = {"source": engine.shown(str(read)), "file": str(file), "bytes": size_bytes}
    exits.print_result(f"{file}: {size_bytes} bytes", value, as_json=json)
    return exits.OK


@app.command(
    name="managers",
    help_epilogue=options.examples("damocles-manager db managers postgresql://damocles@db.lan/damocles"),
)
def list_managers(source: Source, /, *, json: options.AsJson = False) -> int:
    """List the managers on a database: where each listens, since when it runs, and which leases it has.

    One that says nothing was killed, is frozen, or is cut off from the database. A SQLite database has one manager, and no list.
    """
    known, (now, found) = _read(source, lambda tx: (managers.select_all(tx), leasing.load(tx)))
    rows = [
        (one, [lease.name for lease in found.values() if lease.holder == one.holder and lease.ends > now])
        for one in known
    ]
    if json:
        exits.print_json(
            [
                {
                    "name": one.name,
                    "address": one.address,
                    "since": one.since,
                    "silent": one.is_silent,
                    "silent_seconds": round(one.silent_seconds, 3),
                    "leases": held,
                    "troubles": {**({"disk": one.told.disk} if one.told.disk else {}), **one.told.chain},
                }
                for one, held in rows
            ]
        )
    else:
        tables.show(_MANAGERS, rows, nothing="no managers")
    return exits.OK


_MANAGERS = tables.Table[tuple[managers.Manager, list[str]]](
    columns=("Name", "Address", "Since", "Ping", "Holds"),
    cells=lambda row: (
        row[0].name,
        row[0].address,
        units.moment(row[0].since),
        f"{'silent for' if row[0].is_silent else ''} {units.brief_duration(row[0].silent_seconds)}".strip(),
        ", ".join(row[1]) or "-",
    ),
)


def _read(source: str, query: Callable[[Connection], T]) -> T:
    """Read a database of several managers.

    Raises:
        exits.Failed: It is none, or cannot be read.
    """
    place = _source(source)
    if isinstance(place, Path):
        raise exits.Failed(f"{place} serves one manager alone, and has neither leases nor a list of managers")
    try:
        with contextlib.closing(engine.backend(place, claim=False)) as backend, backend.view(Errand()) as tx:
            if not inspect(tx).has_table(managers.TABLE_NAME):
                raise exits.Failed(
                    f"{engine.shown(place)} is no database of several managers: none has been started on it"
                )
            return query(tx)
    except errors.StartError as error:
        raise exits.Failed(str(error)) from error
    except sql_errors.DBAPIError as error:
        raise exits.Failed(f"{engine.shown(place)} cannot be read: {' '.join(str(error.orig).split())}") from error


@app.command(help_epilogue=options.examples("damocles-manager db leases postgresql://damocles@db.lan/damocles"))
def leases(source: Source, /, *, json: options.AsJson = False) -> int:
    """List what one manager alone may do: nonces of senders, deadlines and blocks of miners, and which one has each.

    A lease that is over may be taken by any manager. A SQLite database has one manager, and no leases.
    """
    now, found = _read(source, leasing.load)
    rows = [(one, max(0.0, one.ends - now)) for one in found.values()]
    if json:
        exits.print_json(
            [
                {"name": one.name, "holder": one.holder, "token": one.token, "seconds_left": round(left, 3)}
                for one, left in rows
            ]
        )
    else:
        tables.show(_LEASES, rows, nothing="no leases")
    return exits.OK


_LEASES = tables.Table[tuple[leasing.Lease, float]](
    columns=("Name", "Who", "Token", "Ends"),
    cells=lambda one: (
        one[0].name,
        one[0].holder,
        str(one[0].token),
        f"in {units.brief_duration(one[1])}" if one[1] else "over",
    ),
)
_TABLE = tables.Table[tuple[str, int]](columns=("What", "Count"), cells=lambda one: (one[0], str(one[1])))


def _source(text: str) -> Path | str:
    """Return the database that a manager of a home uses, or what is named itself."""
    place = _target(text)
    if not isinstance(place, Path) or not Path(text).expanduser().is_dir():
        return place
    file = place.with_name(load.FILE_NAME)
    if not file.exists():
        return place
    try:
        named = starting.database(load.load(file).daemon.database)
    except (load.ConfigError, ValueError) as error:
        raise exits.Failed(str(error)) from error
    return named or place


def _target(text: str) -> Path | str:
    if "://" in text:
        try:
            return starting.database(text) or text
        except ValueError as error:
            raise exits.WrongUsage(str(error)) from error
    path = Path(text).expanduser().absolute()
    is_file = path.is_file() or (path.suffix != "" and not path.is_dir())
    return path if is_file else path / DATABASE_NAME
