"""What keeps a miner from being removed.

A miner whose sectors are kept here stays: workers hand in what they seal, messages have to land, deadlines have to be proved.
A table that is missing by a slip must cost none of it.
"""

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, func, select

from damocles.chain.addresses import Address
from damocles.manager.chain.terms import Miner
from damocles.manager.db import tables
from damocles.manager.mining import blocks
from damocles.manager.mining import mind as mining
from damocles.manager.outbox import orders
from damocles.manager.proving import posts

_NAMED = 3
_FAR_EPOCH = 2**62


def to_removal(tx: Connection, miner: Miner) -> list[str]:
    """Return what is in the way of removing a miner that this manager has, a line for each thing."""
    return list(_found(tx, miner))


def _found(tx: Connection, miner: Miner) -> Iterator[str]:
    rows = tables.sectors
    query = select(rows.c.online, func.count()).where(rows.c.miner == miner.id).group_by(rows.c.online)
    kept = {bool(online): count for online, count in tx.execute(query)}
    if count := kept.get(True, 0):
        yield f"{_some(count, 'sector')} in progress"
    if count := kept.get(False, 0):
        yield f"{_some(count, 'finished or aborted sector')} of which it keeps the records"
    if under_way := [order for order in orders.unfinished(tx) if order.wish.miner == miner.id]:
        named = ", ".join(f"{order.id} ({order.wish.kind})" for order in under_way[:_NAMED])
        more = ", …" if len(under_way) > _NAMED else ""
        yield f"{_some(len(under_way), 'message')} not yet on chain: {named}{more}"
    if alive := {post.opens for post in posts.alive(tx, miner.id)}:
        yield f"window PoSts under way, of the deadlines that open at epoch {', '.join(map(str, sorted(alive)))}"
    elif miner.config.po_st.enabled and any(
        part.members for window in posts.windows(tx, miner.id) for part in window.partitions
    ):
        yield "sectors on the chain whose deadlines it proves (PoSt.Enabled = false says that something else does)"
    if open_ones := [one for one in blocks.undecided(tx, miner.id, _FAR_EPOCH) if one.stage in mining.OPEN]:
        yield f"a block under way, of epoch {open_ones[0].epoch}"


def _some(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def refusal(miner: int, found: Sequence[str]) -> str:
    """Return the line that says why a miner is not removed, and what to do."""
    return (
        f"{Address.of_id(miner)} cannot be removed: the manager has {'; '.join(found)}. Put its table back: with"
        " Sector.Enabled = false it gets no new sectors"
    )
