"""Bring a database to the present schema.

A new database gets today's tables at once. An older one goes through `STEPS`, each once and in its own transaction
with the version it leads to, so that a kill in between is repaired by the next start.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

from sqlalchemy import Connection, delete, insert, inspect, select, text

from damocles.manager.db import (  # noqa: F401, they make their tables some of the metadata's
    identity,
    leases,
    managers,
    mined,
    own_chain,
    tables,
)

_FIRST = 1

# Version reached -> statements that lead there from the one before. Plain SQL that SQLite and PostgreSQL both take:
# a step must do the same for ever, whatever `tables` says later.
STEPS: Mapping[int, Sequence[str]] = {
    2: (
        "ALTER TABLE workers ADD COLUMN token TEXT",
        """
        CREATE TABLE tokens (
            id TEXT NOT NULL, digest TEXT NOT NULL, name TEXT NOT NULL, scope TEXT NOT NULL,
            created DOUBLE PRECISION NOT NULL, created_by TEXT NOT NULL, expires DOUBLE PRECISION,
            revoked DOUBLE PRECISION, used DOUBLE PRECISION, CONSTRAINT pk_tokens PRIMARY KEY (id)
        )
        """,
        # The id counts up by SQLite's rules; no database of the first schema is anywhere else.
        """
        CREATE TABLE audit (
            id INTEGER NOT NULL, at DOUBLE PRECISION NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL,
            sectors TEXT NOT NULL, entry TEXT NOT NULL, CONSTRAINT pk_audit PRIMARY KEY (id)
        )
        """,
    ),
    3: (
        "ALTER TABLE messages ADD COLUMN failed BOOLEAN NOT NULL DEFAULT FALSE",
        """
        CREATE TABLE deals (
            kind TEXT NOT NULL, id BIGINT NOT NULL, miner BIGINT NOT NULL, number BIGINT NOT NULL,
            at DOUBLE PRECISION NOT NULL, CONSTRAINT pk_deals PRIMARY KEY (kind, id)
        )
        """,
        "CREATE INDEX ix_deals_miner_number ON deals (miner, number)",
        """
        CREATE TABLE wdpost_jobs (
            id TEXT NOT NULL, miner BIGINT NOT NULL, deadline INTEGER NOT NULL, partitions TEXT NOT NULL,
            challenge_epoch BIGINT NOT NULL, round INTEGER NOT NULL, state TEXT NOT NULL,
            created_at DOUBLE PRECISION NOT NULL, record TEXT NOT NULL,
            CONSTRAINT pk_wdpost_jobs PRIMARY KEY (id),
            CONSTRAINT uq_wdpost_jobs_miner_deadline_partitions_challenge_epoch_round
                UNIQUE (miner, deadline, partitions, challenge_epoch, round)
        )
        """,
    ),
    4: (
        """
        CREATE TABLE alerts (
            id BIGINT NOT NULL, resolved_at DOUBLE PRECISION, record TEXT NOT NULL,
            CONSTRAINT pk_alerts PRIMARY KEY (id)
        )
        """,
        "CREATE INDEX ix_alerts_resolved_at ON alerts (resolved_at)",
        """
        CREATE TABLE alert_mutes (
            rule TEXT NOT NULL, subject TEXT NOT NULL, until DOUBLE PRECISION NOT NULL, record TEXT NOT NULL,
            CONSTRAINT pk_alert_mutes PRIMARY KEY (rule, subject)
        )
        """,
    ),
    5: (
        """
        CREATE TABLE snapup_candidates (
            miner BIGINT NOT NULL, number BIGINT NOT NULL, deadline INTEGER NOT NULL,
            CONSTRAINT pk_snapup_candidates PRIMARY KEY (miner, number)
        )
        """,
        """
        CREATE TABLE unseal_tasks (
            miner BIGINT NOT NULL, number BIGINT NOT NULL, piece TEXT NOT NULL, offset_bytes BIGINT NOT NULL,
            size_bytes BIGINT NOT NULL, dest TEXT NOT NULL, state TEXT NOT NULL, error TEXT NOT NULL,
            at DOUBLE PRECISION NOT NULL, CONSTRAINT pk_unseal_tasks PRIMARY KEY (miner, number, piece)
        )
        """,
        "CREATE INDEX ix_unseal_tasks_state_at ON unseal_tasks (state, at)",
    ),
    6: (
        "ALTER TABLE sectors ADD COLUMN holder TEXT",
        "ALTER TABLE sectors ADD COLUMN holder_location TEXT",
    ),
    7: (
        """
        CREATE TABLE sector_imports (
            import_id TEXT NOT NULL, miner BIGINT NOT NULL, number BIGINT NOT NULL, line INTEGER NOT NULL,
            at DOUBLE PRECISION NOT NULL, kept TEXT NOT NULL,
            CONSTRAINT pk_sector_imports PRIMARY KEY (import_id, miner, number)
        )
        """,
    ),
    8: ("ALTER TABLE sectors ADD COLUMN last_used INTEGER",),
    9: (
        """
        CREATE TABLE audit_ends (
            id INTEGER NOT NULL, sectors TEXT NOT NULL, entry_end TEXT NOT NULL,
            CONSTRAINT pk_audit_ends PRIMARY KEY (id)
        )
        """,
    ),
    10: (
        """
        CREATE TABLE outbox (
            id INTEGER NOT NULL, at DOUBLE PRECISION NOT NULL, miner BIGINT NOT NULL, kind TEXT NOT NULL,
            receiver BLOB NOT NULL, method BIGINT NOT NULL, params BLOB NOT NULL, value TEXT NOT NULL,
            urgent_epoch BIGINT, state TEXT NOT NULL, reason TEXT NOT NULL, sender BLOB, nonce BIGINT,
            landed_epoch BIGINT, exit_code BIGINT, returned BLOB, gas_used BIGINT,
            CONSTRAINT pk_outbox PRIMARY KEY (id), CONSTRAINT uq_outbox_sender_nonce UNIQUE (sender, nonce)
        )
        """,
        "CREATE INDEX ix_outbox_state ON outbox (state)",
        """
        CREATE TABLE outbox_signed (
            id INTEGER NOT NULL, order_id BIGINT NOT NULL, cid TEXT NOT NULL, message BLOB NOT NULL,
            fills BOOLEAN NOT NULL, epoch BIGINT NOT NULL, CONSTRAINT pk_outbox_signed PRIMARY KEY (id),
            CONSTRAINT uq_outbox_signed_cid UNIQUE (cid)
        )
        """,
        "CREATE INDEX ix_outbox_signed_order_id ON outbox_signed (order_id)",
    ),
    11: (
        "ALTER TABLE tokens ADD COLUMN worker TEXT",
        "ALTER TABLE sectors ADD COLUMN allocated_by TEXT",
        "ALTER TABLE sector_events ADD COLUMN caller TEXT",
        # The id counts up by SQLite's rules, as that of the audit.
        """
        CREATE TABLE sector_calls (
            id INTEGER NOT NULL, miner BIGINT NOT NULL, number BIGINT NOT NULL, attempt INTEGER NOT NULL,
            at DOUBLE PRECISION NOT NULL, what TEXT NOT NULL, caller TEXT NOT NULL,
            CONSTRAINT pk_sector_calls PRIMARY KEY (id)
        )
        """,
        "CREATE INDEX ix_sector_calls_miner_number_id ON sector_calls (miner, number, id)",
    ),
    12: (
        """
        CREATE TABLE submissions (
            id INTEGER NOT NULL, cid TEXT NOT NULL, kind TEXT NOT NULL, miner BIGINT NOT NULL, number BIGINT NOT NULL,
            proof_type INTEGER NOT NULL, content TEXT NOT NULL, pieces TEXT NOT NULL, since_epoch BIGINT NOT NULL,
            last_epoch BIGINT, state TEXT NOT NULL, order_id BIGINT, reason TEXT NOT NULL, landed_epoch BIGINT,
            CONSTRAINT pk_submissions PRIMARY KEY (id), CONSTRAINT uq_submissions_cid UNIQUE (cid)
        )
        """,
        "CREATE INDEX ix_submissions_miner_number_kind ON submissions (miner, number, kind)",
        "CREATE INDEX ix_submissions_state ON submissions (state)",
    ),
    13: ("ALTER TABLE outbox ADD COLUMN account BLOB",),
    14: (
        """
        CREATE TABLE proving_windows (
            miner BIGINT NOT NULL, opens BIGINT NOT NULL, deadline INTEGER NOT NULL, record TEXT NOT NULL,
            CONSTRAINT pk_proving_windows PRIMARY KEY (miner, opens)
        )
        """,
        """
        CREATE TABLE proving_posts (
            id INTEGER NOT NULL, miner BIGINT NOT NULL, opens BIGINT NOT NULL, stage TEXT NOT NULL,
            order_id BIGINT, record TEXT NOT NULL, CONSTRAINT pk_proving_posts PRIMARY KEY (id)
        )
        """,
        "CREATE INDEX ix_proving_posts_miner_opens ON proving_posts (miner, opens)",
    ),
    15: (
        """
        CREATE TABLE mined_blocks (
            miner BIGINT NOT NULL, epoch BIGINT NOT NULL, stage TEXT NOT NULL, parents TEXT, cid TEXT,
            record TEXT NOT NULL, CONSTRAINT pk_mined_blocks PRIMARY KEY (miner, epoch),
            CONSTRAINT uq_mined_blocks_miner_parents UNIQUE (miner, parents)
        )
        """,
        "CREATE INDEX ix_mined_blocks_stage ON mined_blocks (stage)",
    ),
    16: (
        """
        CREATE TABLE leases (
            name TEXT NOT NULL, holder TEXT NOT NULL, token BIGINT NOT NULL, ends DOUBLE PRECISION NOT NULL,
            CONSTRAINT pk_leases PRIMARY KEY (name)
        )
        """,
    ),
    17: (
        """
        CREATE TABLE wdpost_askers (
            worker TEXT NOT NULL, spec TEXT NOT NULL, at DOUBLE PRECISION NOT NULL,
            CONSTRAINT pk_wdpost_askers PRIMARY KEY (worker)
        )
        """,
    ),
    18: ("CREATE TABLE identity (id TEXT NOT NULL, CONSTRAINT pk_identity PRIMARY KEY (id))",),
    19: (
        """
        CREATE TABLE managers (
            name TEXT NOT NULL, address TEXT NOT NULL, holder TEXT NOT NULL, since DOUBLE PRECISION NOT NULL,
            seen DOUBLE PRECISION NOT NULL, told TEXT NOT NULL, CONSTRAINT pk_managers PRIMARY KEY (name)
        )
        """,
    ),
    20: (
        """
        CREATE TABLE own_chain (
            id INTEGER NOT NULL, devnet TEXT NOT NULL, home TEXT NOT NULL, CONSTRAINT pk_own_chain PRIMARY KEY (id)
        )
        """,
    ),
}

# What keeps the audit append-only, whoever writes to the database by whatever means. By dialect; can be run again.
PROTECTIONS: Mapping[str, Sequence[str]] = {
    "sqlite": tuple(
        f"CREATE TRIGGER IF NOT EXISTS {table}_no_{name} BEFORE {event} ON {table} {when.format(table=table)}"
        " BEGIN SELECT RAISE(ABORT, 'the audit can only be added to'); END"
        for table in ("audit", "audit_ends")
        for name, event, when in (
            ("update", "UPDATE", ""),
            ("delete", "DELETE", ""),
            # What REPLACE deletes fires no trigger for deletions.
            ("replace", "INSERT", "WHEN NEW.id IN (SELECT id FROM {table})"),
        )
    ),
    "postgresql": (
        """
        CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'the audit can only be added to'; END $$
        """,
        *(
            f"CREATE OR REPLACE TRIGGER {table}_no_{event.lower()} BEFORE {event} ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
            for table in ("audit", "audit_ends")
            for event in ("UPDATE", "DELETE", "TRUNCATE")
        ),
    ),
}


class SchemaError(Exception):
    """The database belongs to a newer release; the message has its schema."""


def upgrade(begin: Callable[[], AbstractContextManager[Connection]], steps: Mapping[int, Sequence[str]] = STEPS) -> int:
    """Create or migrate the tables; return the version found before, 0 for a new database.

    Args:
        begin: Opens a writing transaction.
        steps: Statements by the version that they lead to, without gaps.

    Raises:
        SchemaError: A newer release has written this database.
    """
    newest = max(steps, default=_FIRST)
    with begin() as tx:
        if not inspect(tx).has_table(tables.schema_version.name):
            tables.metadata.create_all(tx)
            tx.execute(insert(tables.schema_version).values(version=newest))
            _finish(tx)
            return 0
        found: int = tx.execute(select(tables.schema_version.c.version)).scalar_one()
    if (problem := too_new(found, newest)) is not None:
        raise SchemaError(problem)
    for version in range(found + 1, newest + 1):
        with begin() as tx:
            for statement in steps[version]:
                tx.execute(text(statement))
            tx.execute(delete(tables.schema_version))
            tx.execute(insert(tables.schema_version).values(version=version))
    with begin() as tx:
        _finish(tx)
    return found


def too_new(found: int, newest: int = max(STEPS)) -> str | None:
    """Return the error about a database whose schema is `found`, if a newer release has written it."""
    if found <= newest:
        return None
    return f"the database has schema {found}, this program knows {newest}: install the release that wrote it"


def _finish(tx: Connection) -> None:
    """Do what statements alone cannot, if it has not been done."""
    identity.ensure(tx)
    for statement in PROTECTIONS.get(tx.dialect.name, ()):
        tx.execute(text(statement))
