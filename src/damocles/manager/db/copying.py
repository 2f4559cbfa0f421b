"""Copy a whole database to an empty one, from either kind to either kind, while no manager uses any of the two."""

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, inspect, select, text
from sqlalchemy import exc as sql_errors

from damocles.manager import errors, home
from damocles.manager.db import engine, identity, schema, tables
from damocles.manager.db.errands import Errand

_ROWS = 1000  # in memory at a time


class CopyError(Exception):
    """A database cannot be copied; the message says why and what to do, and the target is as it was."""


def copy(source: Path | str, target: Path | str, told: Callable[[int], None]) -> dict[str, int]:
    """Copy every row, all or none, and check what has arrived; return how many rows each table has.

    Both are files or URLs, as for `engine.open_at`. The source stays as it is, and has to have the present schema. `told`
    hears again and again how many rows have been copied.

    Raises:
        CopyError: There is no such source, the target is not empty, a row reads back differently.
        errors.StartError: A manager uses one of them, or a URL is none.
        rpc.errors.DatabaseAway: A server does not answer.
    """
    if source == target:
        raise CopyError("source and target are the same database")
    if isinstance(source, Path) and not source.is_file():
        raise CopyError(f"{source} is not there: name the database's file, or the folder that it is in")
    folders = {place.parent for place in (source, target) if isinstance(place, Path)}
    with contextlib.ExitStack() as stack:
        for folder in sorted(folders):
            stack.enter_context(home.claimed(folder))
        here, there = (stack.enter_context(_opened(place)) for place in (source, target))
        with _told_of(here, "read"):
            reading = stack.enter_context(here.view(Errand()))
            _check_schema(reading, here.where)
        # The last one to be opened is the first to end: what is there is committed before the view ends.
        with _told_of(there, "written"), there.migrate() as writing:
            _empty_tables(writing, there.where)
            for connection in (reading, writing):
                _unhurried(connection)
            copied: dict[str, int] = {}
            for table in _all_tables():
                before = sum(copied.values())
                copied[table.name] = _copied(table, reading, writing, there.where, lambda rows: told(before + rows))  # noqa: B023
            return copied


def _all_tables() -> list[Table]:
    return [table for table in tables.metadata.sorted_tables if table is not tables.schema_version]


@contextlib.contextmanager
def _opened(place: Path | str) -> Iterator[engine.Backend]:
    backend = engine.backend(place, claim=True)
    try:
        yield backend
    finally:
        backend.close()


@contextlib.contextmanager
def _told_of(backend: engine.Backend, done: str) -> Iterator[None]:
    """Word what a database says."""
    try:
        yield
    except schema.SchemaError as error:
        raise CopyError(f"{backend.where}: {error}") from error
    except sql_errors.DBAPIError as error:
        refusal = backend.refusal(error, writing=True)
        if refusal is not None and not isinstance(refusal, errors.ManagerError):
            raise refusal from error
        raise CopyError(f"{backend.where} cannot be {done}: {refusal or error.orig}") from error


def _check_schema(reading: Connection, where: str) -> None:
    newest = max(schema.STEPS)
    if not inspect(reading).has_table(tables.schema_version.name):
        raise CopyError(f"{where} is no database of a manager: it has no table {tables.schema_version.name}")
    found: int = reading.execute(select(tables.schema_version.c.version)).scalar_one()
    if (problem := schema.too_new(found)) is not None:
        raise schema.SchemaError(problem)
    if found < newest:
        raise schema.SchemaError(
            f"the database has schema {found}, this program copies {newest}: let a manager of this release start on it once"
        )


def _empty_tables(writing: Connection, where: str) -> None:
    """Make the tables, if they are not there."""
    schema.upgrade(lambda: contextlib.nullcontext(writing))
    writing.execute(delete(identity.TABLE))  # that of the source comes with its rows
    for table in _all_tables():
        if writing.execute(select(table).limit(1)).first() is not None:
            raise CopyError(
                f"{where} is not empty, it has rows in {table.name}: name a new database, or move that one away"
            )


def _unhurried(connection: Connection) -> None:
    """Let a statement take its time, and the pause while the other database is at work."""
    if connection.dialect.name == "postgresql":
        for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(text(f"SET LOCAL {limit} = 0"))


def _copied(table: Table, reading: Connection, writing: Connection, where: str, told: Callable[[int], None]) -> int:
    """Copy a table and read it back; return how many rows it has."""
    sent = _Sum()
    for rows in _batches(table, reading):
        sent.add(rows)
        writing.execute(insert(table), [row._asdict() for row in rows])
        told(sent.rows)
    _count_on(table, writing)
    arrived = _Sum()
    for rows in _batches(table, writing):
        arrived.add(rows)
    if (sent.rows, sent.digests) != (arrived.rows, arrived.digests):
        raise CopyError(
            f"{where}: {sent.rows} rows of {table.name} were copied, and {arrived.rows} read back that are not all the same;"
            " nothing was kept"
        )
    return sent.rows


def _batches(table: Table, connection: Connection) -> Iterator[list[Any]]:
    result = connection.execute(select(table), execution_options={"stream_results": True, "yield_per": _ROWS})
    for rows in result.partitions():
        yield list(rows)


def _count_on(table: Table, writing: Connection) -> None:
    """Let new rows get ids above those that were copied; SQLite does so by itself."""
    column = table.autoincrement_column
    if column is None or writing.dialect.name != "postgresql":
        return
    last = writing.execute(select(func.max(column))).scalar()
    if last is not None:
        sequence = func.pg_get_serial_sequence(table.name, column.name)
        writing.execute(select(func.setval(sequence, last)))


class _Sum:
    """What rows have in common with the same rows in another order: collations differ between databases."""

    def __init__(self) -> None:
        self.rows = 0
        self.digests = 0

    def add(self, rows: Iterable[Any]) -> None:
        """Take some more rows in."""
        for row in rows:
            self.rows += 1
            self.digests += int.from_bytes(hashlib.sha256(repr(tuple(row)).encode()).digest())
