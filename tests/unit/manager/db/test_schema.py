"""Making and migrating the database."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from sqlalchemy import Connection, create_engine, inspect, select, text
from sqlalchemy.pool import StaticPool

from damocles.manager.db import identity, schema, tables

Begin = Callable[[], AbstractContextManager[Connection]]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Return a function that opens transactions on an empty database in memory."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    yield engine.begin
    engine.dispose()


def columns(begin: Begin, table: str) -> set[str]:
    """Return the columns of a table."""
    with begin() as tx:
        return {column["name"] for column in inspect(tx).get_columns(table)}


def version(begin: Begin) -> int:
    """Return the version that the database says it has."""
    with begin() as tx:
        found: int = tx.execute(select(tables.schema_version.c.version)).scalar_one()
    return found


def test_a_new_database_gets_every_table(begin: Begin) -> None:
    """A new database has today's tables and version."""
    assert 0 == schema.upgrade(begin)
    with begin() as tx:
        assert set(tables.metadata.tables) == set(inspect(tx).get_table_names())


def test_upgrading_again_changes_nothing(begin: Begin) -> None:
    """A database of today's version is left alone."""
    schema.upgrade(begin)
    assert version(begin) == schema.upgrade(begin)


def test_an_old_database_goes_through_each_step(begin: Begin) -> None:
    """Steps run in order, each once, from the version that is there."""
    schema.upgrade(begin, {})
    first = {2: ["ALTER TABLE workers ADD COLUMN a TEXT"]}
    second = {**first, 3: ["ALTER TABLE workers ADD COLUMN b TEXT", "UPDATE workers SET b = a"]}
    assert 1 == schema.upgrade(begin, first)
    assert 2 == schema.upgrade(begin, second)
    assert {"a", "b"} <= columns(begin, "workers")
    assert 3 == version(begin)


def test_a_failed_step_leaves_the_version_before(begin: Begin) -> None:
    """A step that fails is not counted, and the ones before it are."""
    schema.upgrade(begin, {})
    steps = {2: ["ALTER TABLE workers ADD COLUMN a TEXT"], 3: ["ALTER TABLE nothing ADD COLUMN b TEXT"]}
    with pytest.raises(Exception, match="nothing"):
        schema.upgrade(begin, steps)
    assert 2 == version(begin)


def test_a_later_database_is_refused(begin: Begin) -> None:
    """A database that a later release has written is refused with both versions."""
    schema.upgrade(begin)
    with begin() as tx:
        tx.execute(text("UPDATE schema_version SET version = 99"))
    with pytest.raises(schema.SchemaError, match=f"has schema 99, this program knows {max(schema.STEPS)}"):
        schema.upgrade(begin)


def test_a_migrated_database_is_like_a_new_one(begin: Begin) -> None:
    """The newest step leads to the tables, columns, indexes and constraints that a new database gets."""
    schema.upgrade(begin)
    new = shape(begin)
    with begin() as tx:
        for name in (
            "deals",
            "wdpost_jobs",
            "alerts",
            "alert_mutes",
            "snapup_candidates",
            "unseal_tasks",
            "sector_imports",
            "audit_ends",
            "outbox",
            "outbox_signed",
            "sector_calls",
            "submissions",
            "proving_windows",
            "proving_posts",
            "mined_blocks",
            "leases",
            "wdpost_askers",
            "identity",
            "managers",
            "own_chain",
        ):
            tx.execute(text(f"DROP TABLE {name}"))
        tx.execute(text("ALTER TABLE messages DROP COLUMN failed"))
        tx.execute(text("ALTER TABLE sectors DROP COLUMN holder"))
        tx.execute(text("ALTER TABLE sectors DROP COLUMN holder_location"))
        tx.execute(text("ALTER TABLE sectors DROP COLUMN last_used"))
        tx.execute(text("ALTER TABLE sectors DROP COLUMN allocated_by"))
        tx.execute(text("ALTER TABLE sector_events DROP COLUMN caller"))
        tx.execute(text("ALTER TABLE tokens DROP COLUMN worker"))
        tx.execute(text("UPDATE schema_version SET version = 2"))
    schema.upgrade(begin)
    assert new == shape(begin)


def shape(begin: Begin) -> dict[str, object]:
    """Return what the database itself knows of its tables."""
    with begin() as tx:
        found = inspect(tx)
        return {
            table: (
                # SQLite knows only one floating-point type, by several names.
                {
                    column["name"]: (column["type"].python_type, column["nullable"])
                    for column in found.get_columns(table)
                },
                found.get_pk_constraint(table),
                found.get_indexes(table),
                found.get_unique_constraints(table),
            )
            for table in found.get_table_names()
        }


def test_a_database_has_one_identity_for_life(begin: Begin) -> None:
    """Each database gets an identity of its own, which no later start changes."""
    schema.upgrade(begin)
    with begin() as tx:
        first = identity.load(tx)
    schema.upgrade(begin)
    with begin() as tx:
        assert first == identity.load(tx)
    other = create_engine("sqlite://", poolclass=StaticPool)
    schema.upgrade(other.begin)
    with other.begin() as tx:
        assert first != identity.load(tx)
    other.dispose()


def test_a_database_of_an_older_release_gets_an_identity(begin: Begin) -> None:
    """The migration gives one to a database that has none."""
    schema.upgrade(begin)
    with begin() as tx:
        for name in ("identity", "managers", "own_chain"):
            tx.execute(text(f"DROP TABLE {name}"))
        tx.execute(text("UPDATE schema_version SET version = 17"))
    schema.upgrade(begin)
    with begin() as tx:
        assert 32 == len(identity.load(tx))
