"""Whole databases, from SQLite to PostgreSQL and back."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Boolean, Connection, Double, Integer, LargeBinary, Table, Text, func, insert, select, text

from damocles.manager import errors, home
from damocles.manager.db import copying, engine, identity, schema, tables
from damocles.manager.db.errands import Errand
from damocles.testing import postgres

TEXTS = ("", "plain", "ä, ß and 漢字 — 'quoted'\n\\x00", "Z")
FLOATS = (0.0, 0.1, 1.7e9 + 1 / 3, -2.5)


def value(table: Table, column: Any, row: int) -> Any:
    """Return what a column may hold; keys differ from row to row."""
    if column.nullable and row % 2:
        return None
    kind = column.type
    if isinstance(kind, Text):
        return f"{TEXTS[row % 4]} {row}"
    if isinstance(kind, Boolean):
        return bool(row % 2)
    if isinstance(kind, Double):
        return FLOATS[row % 4]
    if isinstance(kind, LargeBinary):
        return bytes(range(256)) * row
    is_small = type(kind) is Integer or column is table.autoincrement_column
    return row * 7 if is_small or row != 3 else 2**63 - 1


def fill(tx: Connection, rows: int = 5) -> None:
    """Put rows into every table."""
    for table in tables.metadata.sorted_tables:
        if table not in {tables.schema_version, identity.TABLE}:
            tx.execute(insert(table), [{c.name: value(table, c, row) for c in table.columns} for row in range(rows)])


def content(place: Path | str) -> dict[str, list[Any]]:
    """Return all that a database holds."""
    with contextlib.closing(engine.backend(place, claim=False)) as backend, backend.view(Errand()) as tx:
        return {
            name: sorted((tuple(row) for row in tx.execute(select(table))), key=repr)
            for name, table in tables.metadata.tables.items()
        }


def make(place: Path | str, *, rows: int = 5) -> Path | str:
    """Make a database with rows in every table."""
    with contextlib.closing(engine.backend(place, claim=False)) as backend:
        schema.upgrade(backend.migrate)
        if rows:
            with backend.migrate() as tx:
                fill(tx, rows)
                for table in tables.metadata.sorted_tables:
                    copying._count_on(table, tx)  # the ids were given, and not counted
    return place


@pytest.fixture
def url(postgres_server: postgres.Server) -> str:
    """Return the URL of an empty database on a server."""
    return postgres_server.url(postgres_server.new())


def test_there_and_back_every_row_is_the_same(tmp_path: Path, url: str) -> None:
    """From a file to a server and from there to another file, whatever the tables hold; the source stays as it is."""
    one, back = make(tmp_path / "one.db"), tmp_path / "back" / "manager.db"
    before = content(one)
    heard: list[int] = []
    counts = copying.copy(one, url, heard.append)
    assert 1 == counts["identity"]
    assert {5} == {rows for table, rows in counts.items() if table != "identity"}
    assert set(counts) | {"schema_version"} == set(tables.metadata.tables)
    assert sum(counts.values()) == heard[-1]
    assert counts == copying.copy(url, back, heard.append)
    assert before == content(one) == content(url) == content(back)


def test_ids_go_on_above_those_that_were_copied(tmp_path: Path, url: str) -> None:
    """What is added afterwards gets an id that none has had, in every table that counts its rows."""
    copying.copy(make(tmp_path / "one.db"), url, lambda _: None)
    with (
        contextlib.closing(engine.backend(url, claim=False)) as backend,
        backend.begin(Errand(), durable=True, alone=True) as tx,
    ):
        counting = [table for table in tables.metadata.sorted_tables if table.autoincrement_column is not None]
        for table in counting:
            key = table.autoincrement_column
            assert key is not None
            last = tx.execute(select(func.max(key))).scalar_one()
            row = {c.name: value(table, c, 11) for c in table.columns if c is not key}
            assert (last + 1,) == tx.execute(insert(table).values(row)).inserted_primary_key
    assert {"outbox", "audit", "sector_events"} <= {table.name for table in counting}


def test_a_target_with_a_row_is_refused(tmp_path: Path, url: str) -> None:
    """Into tables without rows one may copy, into any others not; nothing is changed there."""
    one = make(tmp_path / "one.db")
    make(url, rows=0)
    copying.copy(one, url, lambda _: None)
    before = content(url)
    with pytest.raises(copying.CopyError, match=r"is not empty, it has rows in \w+: name a new database"):
        copying.copy(one, url, lambda _: None)
    assert before == content(url)
    with pytest.raises(copying.CopyError, match="the same database"):
        copying.copy(one, one, lambda _: None)
    with pytest.raises(copying.CopyError, match="is not there"):
        copying.copy(tmp_path / "none.db", url, lambda _: None)


def test_what_reads_back_differently_is_not_kept(tmp_path: Path) -> None:
    """A target that changes a row while it is written fails the check, and is empty afterwards."""
    one, other = make(tmp_path / "one.db"), make(tmp_path / "other.db", rows=0)
    with contextlib.closing(sqlite3.connect(other)) as db:
        db.execute(
            "CREATE TRIGGER wrong AFTER INSERT ON workers WHEN NEW.last_ping < 0"
            " BEGIN UPDATE workers SET info = 'x' WHERE name = NEW.name; END"
        )
    with pytest.raises(
        copying.CopyError, match="5 rows of workers were copied, and 5 read back that are not all the same"
    ):
        copying.copy(one, other, lambda _: None)
    assert {"identity", "schema_version"} == {name for name, rows in content(other).items() if rows}


def test_what_a_server_does_not_take_is_told(tmp_path: Path, url: str) -> None:
    """A text with a zero byte cannot be kept there: nothing is copied, and the server's words say why."""
    one = make(tmp_path / "one.db", rows=0)
    with contextlib.closing(sqlite3.connect(one)) as db:
        db.execute("INSERT INTO workers (name, info, last_ping) VALUES ('a' || char(0) || 'b', '{}', 0)")
        db.commit()
    with pytest.raises(copying.CopyError, match="cannot be written: the database does not take a value"):
        copying.copy(one, url, lambda _: None)


def test_no_manager_may_run_on_either(tmp_path: Path, url: str) -> None:
    """What somebody writes meanwhile would be lost: a home or a database in use is refused, and named."""
    folder = tmp_path / "home"
    with home.claimed(folder):
        one = make(folder / "manager.db")
        with pytest.raises(errors.StartError, match="in use by another manager"):
            copying.copy(one, url, lambda _: None)
    with (
        contextlib.closing(engine.backend(url, joins=True)),
        pytest.raises(errors.StartError, match="a manager uses"),
    ):
        copying.copy(one, url, lambda _: None)
    copying.copy(one, url, lambda _: None)


@pytest.mark.parametrize(
    ("version", "told"),
    [(99, "install the release that wrote it"), (3, "let a manager of this release start on it once")],
)
def test_another_schema_is_refused(tmp_path: Path, url: str, version: int, told: str) -> None:
    """A copy changes nothing in its source, so it must have the tables of this release."""
    one = make(tmp_path / "one.db", rows=0)
    with contextlib.closing(sqlite3.connect(one)) as db:
        db.execute(f"UPDATE schema_version SET version = {version}")
        db.commit()
    with pytest.raises(copying.CopyError, match=told):
        copying.copy(one, url, lambda _: None)


def test_what_is_no_database_of_a_manager_is_refused(tmp_path: Path, url: str) -> None:
    """Neither another program's file nor one that is no database, in words."""
    (tmp_path / "empty.db").touch()
    with pytest.raises(copying.CopyError, match="is no database of a manager"):
        copying.copy(tmp_path / "empty.db", url, lambda _: None)
    (tmp_path / "text.db").write_text("no database at all, but long enough for a header of one\n" * 100)
    with pytest.raises(Exception, match="not a database"):
        copying.copy(tmp_path / "text.db", url, lambda _: None)


def test_more_rows_than_are_held_in_memory(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table goes in several batches, and none of its rows is lost or comes twice."""
    monkeypatch.setattr(copying, "_ROWS", 7)
    one = make(tmp_path / "one.db", rows=0)
    with contextlib.closing(sqlite3.connect(one)) as db:
        db.executemany("INSERT INTO numbers VALUES (?, ?)", [(n, n * n) for n in range(100)])
        db.commit()
    assert 100 == copying.copy(one, url, lambda _: None)["numbers"]
    assert content(one) == content(url)
    with contextlib.closing(engine.backend(url, claim=False)) as backend, backend.view(Errand()) as tx:
        assert "10s" == tx.execute(text("SHOW statement_timeout")).scalar_one()
