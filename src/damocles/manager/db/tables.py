"""Tables of the manager. What is written is the present schema; how older ones become it is in `schema`.

Times are unix seconds.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


class _Number(TypeDecorator[int]):
    """An actor id or a sector number: unsigned 64-bit on the wire, signed in SQL. From 2^63 on there are none."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Any) -> int | None:
        """Let those that SQL cannot hold be found nowhere."""
        return value if value is None or 0 <= value < 2**63 else -1


# SQLite counts up by itself only in a column of the exact type INTEGER.
_Serial = BigInteger().with_variant(Integer, "sqlite")

schema_version = Table("schema_version", metadata, Column("version", Integer, primary_key=True, autoincrement=False))

# `record` is the whole sector as `records.SectorState` JSON; the columns beside it are what lists select by, and are
# only ever written together with it. `attempt` counts how often the sector was handed out; `worker` and `location` are
# null until the first report.
sectors = Table(
    "sectors",
    metadata,
    Column("miner", _Number, nullable=False),
    Column("number", _Number, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("online", Boolean, nullable=False),
    Column("aborted", Boolean, nullable=False),
    Column("worker", Text, nullable=True),
    Column("location", Text, nullable=True),
    # Worker and location that have claimed the present attempt; reports do not touch it.
    Column("holder", Text, nullable=True),
    Column("holder_location", Text, nullable=True),
    # While its holder has only claimed (restarted) since, the last attempt that something may have been done under; null
    # if that is the present one.
    Column("last_used", Integer, nullable=True),
    Column("allocated_to", Text, nullable=False),  # address of whoever asked, or the digest of their store's identity
    Column("allocated_by", Text, nullable=True),  # who asked: the token's name, or the address that was let in
    Column("allocated_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("record", Text, nullable=False),
    PrimaryKeyConstraint("miner", "number"),
    Index(None, "online", "miner", "number"),
)

numbers = Table(
    "numbers",
    metadata,
    Column("miner", _Number, primary_key=True, autoincrement=False),
    Column("last_number", BigInteger, nullable=False),
)

# Append-only: every ReportState, also those about sectors that are finished already.
sector_events = Table(
    "sector_events",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("miner", _Number, nullable=False),
    Column("number", _Number, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("at", Double, nullable=False),
    Column("worker", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("prev", Text, nullable=False),
    Column("next", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("failure_level", Text, nullable=True),
    Column("failure_text", Text, nullable=True),
    Column("caller", Text, nullable=True),  # the token's name and the address; null in rows of earlier releases
    Index(None, "miner", "number", "id"),
)

# Append-only: what else was called about a sector by workers, under `what` the method. The same by the same caller
# again has no row of its own.
sector_calls = Table(
    "sector_calls",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("miner", _Number, nullable=False),
    Column("number", _Number, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("at", Double, nullable=False),
    Column("what", Text, nullable=False),
    Column("caller", Text, nullable=False),
    Index(None, "miner", "number", "id"),
)

# Where a sector's files lie: `kind` is `normal` or `upgrade`, as in the original's sector index.
sector_files = Table(
    "sector_files",
    metadata,
    Column("miner", _Number, nullable=False),
    Column("number", _Number, nullable=False),
    Column("kind", Text, nullable=False),
    Column("sealed_store", Text, nullable=False),
    Column("cache_store", Text, nullable=False),
    PrimaryKeyConstraint("miner", "number", "kind"),
)

# Lines of imports that are not complete yet; `kept` is `exports.Kept` JSON.
sector_imports = Table(
    "sector_imports",
    metadata,
    Column("import_id", Text, nullable=False),
    Column("miner", _Number, nullable=False),
    Column("number", _Number, nullable=False),
    Column("line", Integer, nullable=False),
    Column("at", Double, nullable=False),
    Column("kept", Text, nullable=False),
    PrimaryKeyConstraint("import_id", "miner", "number"),
)

reservations = Table(
    "reservations",
    metadata,
    Column("miner", _Number, nullable=False),
    Column("number", _Number, nullable=False),
    Column("store", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("at", Double, nullable=False),
    PrimaryKeyConstraint("miner", "number"),
    Index(None, "store"),
)

# `token` is what the worker handed over with this ping, to be called back with; it is good while that process lives.
workers = Table(
    "workers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("info", Text, nullable=False),
    Column("last_ping", Double, nullable=False),
    Column("token", Text, nullable=True),
)

# Tokens of people, tools and workers; of the text, only the SHA-256 is kept.
tokens = Table(
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires", Double, nullable=True),
    Column("revoked", Double, nullable=True),
    Column("used", Double, nullable=True),
    Column("worker", Text, nullable=True),  # the one that it is for, if it is for one
)

# Append-only, see `protections`. `entry` is the whole as `control.AuditEntry` JSON; the columns beside it are what
# lists select by. `sectors` holds names with a blank before and behind each.
audit = Table(
    "audit",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("at", Double, nullable=False),
    Column("who", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("sectors", Text, nullable=False),
    Column("entry", Text, nullable=False),
)

# Append-only likewise: what became of an entry, by its id, as `control.AuditEnd`.
audit_ends = Table(
    "audit_ends",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("sectors", Text, nullable=False),
    Column("entry_end", Text, nullable=False),
)

# The simulated chain of tests, and the mock chain of earlier versions: one row of what it is, and its messages. Epochs follow
# from the time and this anchor.
chain = Table(
    "chain",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("secret", LargeBinary, nullable=False),
    Column("anchor_epoch", BigInteger, nullable=False),
    Column("anchor_at", Double, nullable=False),
    Column("block_seconds", Double, nullable=False),
)

messages = Table(
    "messages",
    metadata,
    Column("cid", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("miner", _Number, nullable=False),
    Column("number", _Number, nullable=False),
    Column("proof_type", Integer, nullable=False),
    Column("content", Text, nullable=False),
    Column("sent_epoch", BigInteger, nullable=False),
    Column("landing_epoch", BigInteger, nullable=False),
    Column("failed", Boolean, nullable=False),  # it lands, but as a failure
    Index(None, "miner", "number", "kind"),
)

# Which sector has which deal of the market; `kind` is `deal` or `allocation`, `id` the number there.
deals = Table(
    "deals",
    metadata,
    Column("kind", Text, nullable=False),
    Column("id", _Number, nullable=False),
    Column("miner", _Number, nullable=False),
    Column("number", _Number, nullable=False),
    Column("at", Double, nullable=False),
    PrimaryKeyConstraint("kind", "id"),
    Index(None, "miner", "number"),
)

# Window PoSt jobs. `record` is the whole as `wdpost.Job` JSON; the columns beside it are what jobs are found by, and
# are only ever written together with it. A round follows when sectors turned out faulty: it goes without them.
wdpost_jobs = Table(
    "wdpost_jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("miner", _Number, nullable=False),
    Column("deadline", Integer, nullable=False),
    Column("partitions", Text, nullable=False),
    Column("challenge_epoch", BigInteger, nullable=False),
    Column("round", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("record", Text, nullable=False),
    UniqueConstraint("miner", "deadline", "partitions", "challenge_epoch", "round"),
)

_asker = (Column("worker", Text, primary_key=True), Column("spec", Text, nullable=False))
wdpost_askers = Table("wdpost_askers", metadata, *_asker, Column("at", Double, nullable=False))

# Deadlines of miners on a real chain, each day's, by the epoch at which it opens; see `manager.proving`.
proving_windows = Table(
    "proving_windows",
    metadata,
    Column("miner", _Number, nullable=False),
    Column("opens", BigInteger, nullable=False),
    Column("deadline", Integer, nullable=False),
    Column("record", Text, nullable=False),
    PrimaryKeyConstraint("miner", "opens"),
)

# Proofs of partitions of such a deadline, from the decision to make one until the deadline closes.
proving_posts = Table(
    "proving_posts",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("miner", _Number, nullable=False),
    Column("opens", BigInteger, nullable=False),
    Column("stage", Text, nullable=False),
    Column("order_id", BigInteger, nullable=True),
    Column("record", Text, nullable=False),
    Index(None, "miner", "opens"),
)

# Sectors of committed capacity that may be upgraded, by the deadline that they are proven in.
snapup_candidates = Table(
    "snapup_candidates",
    metadata,
    Column("miner", _Number, nullable=False),
    Column("number", _Number, nullable=False),
    Column("deadline", Integer, nullable=False),
    PrimaryKeyConstraint("miner", "number"),
)

# Pieces, or parts of them in unpadded bytes, that are wanted out of sectors; `dest` is a JSON list of URLs, `state` is
# a `seal.UnsealState`, which began at `at`.
unseal_tasks = Table(
    "unseal_tasks",
    metadata,
    Column("miner", _Number, nullable=False),
    Column("number", _Number, nullable=False),
    Column("piece", Text, nullable=False),
    Column("offset_bytes", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("dest", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("at", Double, nullable=False),
    PrimaryKeyConstraint("miner", "number", "piece"),
    Index(None, "state", "at"),
)

# Alerts; `record` is the whole as `alerts.Alert` JSON, `resolved_at` is null while an alert is pending or fires.
alerts = Table(
    "alerts",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("resolved_at", Double, nullable=True),
    Column("record", Text, nullable=False),
    Index(None, "resolved_at"),
)

# `record` is `alerts.Mute` JSON; an empty subject stands for all of the rule.
alert_mutes = Table(
    "alert_mutes",
    metadata,
    Column("rule", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("until", Double, nullable=False),
    Column("record", Text, nullable=False),
    PrimaryKeyConstraint("rule", "subject"),
)

# What the manager has decided to send to the chain; see `manager.outbox`. Amounts are decimal text, in attoFIL.
outbox = Table(
    "outbox",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("at", Double, nullable=False),
    Column("miner", _Number, nullable=False),
    Column("kind", Text, nullable=False),
    Column("receiver", LargeBinary, nullable=False),
    Column("method", BigInteger, nullable=False),
    Column("params", LargeBinary, nullable=False),
    Column("value", Text, nullable=False),
    Column("urgent_epoch", BigInteger, nullable=True),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("sender", LargeBinary, nullable=True),
    Column("nonce", BigInteger, nullable=True),
    Column("landed_epoch", BigInteger, nullable=True),
    Column("exit_code", BigInteger, nullable=True),
    Column("returned", LargeBinary, nullable=True),
    Column("gas_used", BigInteger, nullable=True),
    Column("account", LargeBinary, nullable=True),  # who has to send it, if not one of those configured
    UniqueConstraint("sender", "nonce"),
    Index(None, "state"),
)

# What is handed in for the chain, of one sector each; see `manager.chain.submissions`. `cid` is what workers ask by,
# `content` and `pieces` are JSON, `order_id` is the order of the message that it shares with others.
submissions = Table(
    "submissions",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("cid", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("miner", _Number, nullable=False),
    Column("number", _Number, nullable=False),
    Column("proof_type", Integer, nullable=False),
    Column("content", Text, nullable=False),
    Column("pieces", Text, nullable=False),
    Column("since_epoch", BigInteger, nullable=False),
    Column("last_epoch", BigInteger, nullable=True),  # by which it has to be executed, once that is known
    Column("state", Text, nullable=False),
    Column("order_id", BigInteger, nullable=True),
    Column("reason", Text, nullable=False),
    Column("landed_epoch", BigInteger, nullable=True),
    Index(None, "miner", "number", "kind"),
    Index(None, "state"),
)

# The messages that have been signed for an order: the first, and what has replaced it, all with the order's nonce.
outbox_signed = Table(
    "outbox_signed",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("order_id", BigInteger, nullable=False),
    Column("cid", Text, nullable=False, unique=True),
    Column("message", LargeBinary, nullable=False),
    Column("fills", Boolean, nullable=False),  # uses the nonce up and does nothing else
    Column("epoch", BigInteger, nullable=False),  # of the head when it was signed
    Index(None, "order_id"),
)
