"""The table of blocks that were won; `schema` makes it with those of `tables`."""

from sqlalchemy import BigInteger, Column, Index, PrimaryKeyConstraint, Table, Text, UniqueConstraint

from damocles.manager.db.tables import metadata

# Rounds that miners on a real chain have won; see `manager.mining`. `parents` and `cid` are null until they are known; no
# two blocks of a miner may have the same parents, or the same epoch.
mined_blocks = Table(
    "mined_blocks",
    metadata,
    Column("miner", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("stage", Text, nullable=False),
    Column("parents", Text, nullable=True),
    Column("cid", Text, nullable=True),
    Column("record", Text, nullable=False),
    PrimaryKeyConstraint("miner", "epoch"),
    UniqueConstraint("miner", "parents"),
    Index(None, "stage"),
)
