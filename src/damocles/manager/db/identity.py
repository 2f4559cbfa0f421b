"""What tells a database from every other one: a random name that it keeps for life, also where it is copied to.

Managers that use one database give one name, whatever their addresses; so a worker that goes to another manager knows
whether its sectors are known there.
"""

import uuid

from sqlalchemy import Column, Connection, Table, Text, insert, inspect, select

from damocles.manager.db import tables

TABLE = Table("identity", tables.metadata, Column("id", Text, primary_key=True))


def ensure(tx: Connection) -> None:
    """Give the database a name, if its schema has a place for one and it has none."""
    if inspect(tx).has_table(TABLE.name) and tx.execute(select(TABLE)).first() is None:
        tx.execute(insert(TABLE).values(id=uuid.uuid4().hex))


def load(tx: Connection) -> str:
    """Return the name."""
    found: str = tx.execute(select(TABLE.c.id)).scalar_one()
    return found
