"""The managers of one database on PostgreSQL: a row for each, which it writes every few seconds while it lives.

A manager is known by its machine and home. It deletes its row when it ends; one that was killed is replaced when it starts again,
and forgotten after a day. Functions are steps in a transaction; times are the database's, since clocks of machines differ.
"""

import platform
from collections.abc import Mapping
from pathlib import Path

import msgspec
from sqlalchemy import Column, Connection, Double, Table, Text, delete, func, insert, select, update

from damocles.manager.db import tables
from damocles.wire import codec

SILENT_SECONDS = 15.0  # without a word, after which a manager is told of
_KEPT_SECONDS = 86400.0

TABLE_NAME = "managers"
_ROWS = Table(
    TABLE_NAME,
    tables.metadata,
    Column("name", Text, primary_key=True),
    Column("address", Text, nullable=False),
    Column("holder", Text, nullable=False),  # of leases
    Column("since", Double, nullable=False),
    Column("seen", Double, nullable=False),
    Column("told", Text, nullable=False),  # `Told` JSON
)


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong where a manager runs: with its disk or its database's, and what keeps its messages, by what it is about."""

    disk: str = ""
    chain: Mapping[str, str] = {}


class Manager(msgspec.Struct, frozen=True, kw_only=True):
    """A manager; `silent_seconds` since it has been heard of last."""

    name: str
    address: str
    holder: str
    since: float
    silent_seconds: float
    told: Told

    @property
    def is_silent(self) -> bool:
        """Whether it has died, is frozen, or has no database."""
        return self.silent_seconds > SILENT_SECONDS


def name_of(home: Path) -> str:
    """Return by what the manager of a home on this machine is known."""
    return f"{platform.node()}:{home.resolve()}"


def here(tx: Connection, name: str, address: str, holder: str, told: Told) -> None:
    """Say that a manager lives, and what it has to tell."""
    now = _now(tx)
    values = {"address": address, "seen": now, "told": codec.encode(told).decode()}
    if tx.execute(update(_ROWS).where(_ROWS.c.name == name, _ROWS.c.holder == holder).values(values)).rowcount == 0:
        tx.execute(delete(_ROWS).where((_ROWS.c.name == name) | (_ROWS.c.seen < now - _KEPT_SECONDS)))
        tx.execute(insert(_ROWS).values(name=name, holder=holder, since=now, **values))


def gone(tx: Connection, name: str, holder: str) -> None:
    """Say that a manager ends, in good order."""
    tx.execute(delete(_ROWS).where(_ROWS.c.name == name, _ROWS.c.holder == holder))


def select_all(tx: Connection) -> list[Manager]:
    """Return all of them, by name."""
    rows, now = tx.execute(select(_ROWS).order_by(_ROWS.c.name)).all(), _now(tx)
    return [
        Manager(
            name=row.name,
            address=row.address,
            holder=row.holder,
            since=row.since,
            silent_seconds=max(0.0, now - row.seen),
            told=codec.decode(row.told, Told),
        )
        for row in rows
    ]


def _now(tx: Connection) -> float:
    return float(tx.execute(select(func.date_part("epoch", func.clock_timestamp()))).scalar_one())
