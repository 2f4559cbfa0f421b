"""Which devnet a database belongs to whose manager has a chain of its own (`mock`), so that no other devnet gets its sectors."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Column, Connection, Integer, Table, Text, delete, insert, select

from damocles.manager.db import managers, tables

_ROW = Table(
    "own_chain",
    tables.metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # 1: there is one at most
    Column("devnet", Text, nullable=False),
    Column("home", Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Owner:
    """A devnet by its name, and the machine and home that it is in."""

    devnet: str
    home: str


def owner(tx: Connection) -> Owner | None:
    """Return the devnet that the database belongs to, if it is one's."""
    row = tx.execute(select(_ROW.c.devnet, _ROW.c.home)).first()
    return None if row is None else Owner(row.devnet, row.home)


def give(tx: Connection, devnet: str, home: Path) -> None:
    """Let the database belong to a devnet, whichever it belonged to before."""
    tx.execute(delete(_ROW))
    tx.execute(insert(_ROW).values(id=1, devnet=devnet, home=managers.name_of(home)))
