"""What is due on a real chain: messages on their way there, and deadlines."""

import math
from collections import Counter
from collections.abc import Mapping

from sqlalchemy import Connection, func, select

from damocles.manager.db import tables
from damocles.manager.db.engine import Database
from damocles.manager.outbox import orders
from damocles.manager.proving import day
from damocles.manager.serving.due import Miner, OnChain
from damocles.wire.proving import Standing


async def look(database: Database, days: day.Days) -> OnChain:
    """Look."""
    counts, oldest = await database.read(messages)
    miners = {
        str(miner): of_miner(windows, days.epoch, days.block_seconds) for miner, windows in (await days.kept()).items()
    }
    return OnChain(messages=counts, oldest_message=oldest, miners=miners)


def of_miner(windows: Mapping[int, day.Kept], epoch: int, block_seconds: float) -> Miner:
    """Return how the deadlines of a miner stand at an epoch."""
    hows = {deadline: day.standing(one, epoch) for deadline, one in windows.items()}
    closes = [
        one.window.close - epoch
        for deadline, one in windows.items()
        if one.window.close > epoch and hows[deadline] not in {Standing.PROVED, Standing.NOTHING}
    ]
    seen = [partition for one in windows.values() for partition in one.window.partitions]
    return Miner(
        standings=Counter(hows.values()),
        faulty=sum(partition.faulty for partition in seen),
        recovering=sum(partition.recovering for partition in seen),
        closes_seconds=min(closes) * block_seconds if closes else None,
    )


def messages(tx: Connection) -> tuple[dict[tuple[str, str], int], dict[tuple[str], float]]:
    """Return how many messages are on their way, by miner and state, and since when the oldest of each miner is wanted."""
    box = tables.outbox
    query = select(box.c.miner, box.c.state, func.count(), func.min(box.c.at)).where(box.c.state.in_(orders.OPEN))
    counts: dict[tuple[str, str], int] = {}
    oldest: dict[tuple[str], float] = {}
    for miner, state, count, at in tx.execute(query.group_by(box.c.miner, box.c.state)):
        counts[str(miner), state] = count
        oldest[str(miner),] = min(at, oldest.get((str(miner),), math.inf))
    return counts, oldest
