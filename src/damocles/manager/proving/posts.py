"""Records of windows and posts. Functions are steps inside a transaction.

A window has a row as soon as its sectors are read, or are to be proved; a post one from the decision to make it. Both are kept for some days,
for people.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from damocles.chain.bitfields import Bitfield
from damocles.manager.db import tables
from damocles.manager.outbox import orders
from damocles.manager.proving import mind
from damocles.manager.proving.mind import Fate, Stage
from damocles.wire import codec
from damocles.wire.codec import Blob, Bytes32

_POSTS, _WINDOWS = tables.proving_posts, tables.proving_windows
with_ = msgspec.structs.replace


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A partition as it was seen last: how many sectors are to be proved, are faulty, recover; whether it is proved."""

    members: int
    faulty: int = 0
    recovering: int = 0
    is_posted: bool = False


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of the sectors of a deadline before it takes no more declarations, and what was declared.

    `bad` are sectors with the reason, `unread` those of which nothing is known, `back` faulty ones that can be proved. Orders are
    those of the declarations.
    """

    epoch: int
    count: int
    bad: dict[int, str] = {}
    unread: dict[int, str] = {}
    back: list[int] = []
    faults_orders: list[int] = []
    recoveries_orders: list[int] = []


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A deadline on one of its days; `epoch` is the head at which its partitions were seen last."""

    miner: int
    deadline: int
    challenge: int
    opens: int
    close: int
    epoch: int
    partitions: list[Seen] = []
    review: Review | None = None


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """A proof for partitions of a window; `id` and `order_id` are columns of their own.

    `digest` names seed, numbers and commitments of what was to be proved. `skipped` are sectors that it leaves out, each with the
    reason. Epochs are those of the head at that time, times are unix seconds.
    """

    id: int = 0
    miner: int
    opens: int
    partitions: list[int]
    seed: Bytes32
    members: Bitfield
    digest: str
    made_epoch: int
    made_at: float
    stage: Stage = Stage.PROVING
    order_id: int | None = None
    skipped: dict[int, str] = {}
    proof: Blob = Blob()
    prover: str = ""
    proved_epoch: int | None = None
    proved_at: float | None = None
    gave_up_epoch: int | None = None
    sent_epoch: int | None = None
    sends: int = 0
    failures: int = 0
    why: str = ""  # it was dropped, is sent again, or is not proved


def new_window(window: mind.Window) -> Window:
    """Return a window of which nothing is known yet."""
    return Window(
        miner=window.miner,
        deadline=window.deadline,
        challenge=window.challenge,
        opens=window.opens,
        close=window.close,
        epoch=window.challenge,
    )


def find_window(tx: Connection, miner: int, opens: int) -> Window | None:
    """Return a window."""
    text = tx.execute(select(_WINDOWS.c.record).where(_WINDOWS.c.miner == miner, _WINDOWS.c.opens == opens)).scalar()
    return None if text is None else codec.decode(text, Window)


def windows(tx: Connection, miner: int) -> list[Window]:
    """Return the windows of a miner that are kept, the oldest first."""
    query = select(_WINDOWS.c.record).where(_WINDOWS.c.miner == miner).order_by(_WINDOWS.c.opens)
    return [codec.decode(text, Window) for text in tx.execute(query).scalars()]


def save_window(tx: Connection, window: Window) -> None:
    """Put a window in the place of what was known of it."""
    tx.execute(delete(_WINDOWS).where(_WINDOWS.c.miner == window.miner, _WINDOWS.c.opens == window.opens))
    values = {"miner": window.miner, "opens": window.opens, "deadline": window.deadline}
    tx.execute(insert(_WINDOWS).values(**values, record=codec.encode(window).decode()))


def of_window(tx: Connection, miner: int, opens: int) -> list[Post]:
    """Return the posts of a window, the oldest first."""
    return _read(tx, (_POSTS.c.miner == miner) & (_POSTS.c.opens == opens))


def since(tx: Connection, miner: int, opens: int) -> list[Post]:
    """Return the posts of a miner in the windows that opened at an epoch or later, the oldest first."""
    return _read(tx, (_POSTS.c.miner == miner) & (_POSTS.c.opens >= opens))


def alive(tx: Connection, miner: int) -> list[Post]:
    """Return the posts of a miner that may still be sent, or are under way."""
    return _read(tx, (_POSTS.c.miner == miner) & _POSTS.c.stage.in_(mind.ALIVE))


def _read(tx: Connection, which: Any) -> list[Post]:
    rows = tx.execute(select(_POSTS).where(which).order_by(_POSTS.c.id)).all()
    return [
        with_(codec.decode(row.record, Post), id=row.id, stage=Stage(row.stage), order_id=row.order_id) for row in rows
    ]


def add(tx: Connection, post: Post) -> int:
    """Record a new post; return its id."""
    key = tx.execute(insert(_POSTS).values(miner=post.miner, opens=post.opens, **_values(post))).inserted_primary_key
    assert key is not None
    return int(key[0])


def save(tx: Connection, before: Post, after: Post) -> bool:
    """Put a post in the place of what was known of it; false if that has changed meanwhile, and nothing is written."""
    if _read(tx, _POSTS.c.id == before.id) != [before]:
        return False
    tx.execute(update(_POSTS).where(_POSTS.c.id == before.id).values(**_values(after)))
    return True


def _values(post: Post) -> dict[str, Any]:
    return {"stage": post.stage.value, "order_id": post.order_id, "record": codec.encode(post).decode()}


def has_before(tx: Connection, miner: int, opens_before: int) -> bool:
    """Return whether there is something to forget."""
    query = select(_WINDOWS.c.opens).where(_WINDOWS.c.miner == miner, _WINDOWS.c.opens < opens_before)
    return tx.execute(query.limit(1)).first() is not None


def forget(tx: Connection, miner: int, opens_before: int) -> None:
    """Forget the windows of a miner that opened before an epoch, and their posts."""
    tx.execute(delete(_WINDOWS).where(_WINDOWS.c.miner == miner, _WINDOWS.c.opens < opens_before))
    tx.execute(delete(_POSTS).where(_POSTS.c.miner == miner, _POSTS.c.opens < opens_before))


def fate(order: orders.Order | None, executed: Mapping[int, int]) -> Fate:
    """Return what has become of a message; `executed` are exit codes of messages that are not deep enough yet, by order."""
    if order is None:
        return Fate.NONE
    match order.state:
        case orders.State.LANDED if order.receipt is not None:
            return Fate.FAILED if order.receipt.exit_code else Fate.LANDED
        case orders.State.REFUSED:
            return Fate.REFUSED
        case _:
            return Fate.FAILED if executed.get(order.id) else Fate.UNDER_WAY


def orders_of(tx: Connection, some: Sequence[Post]) -> dict[int, orders.Order]:
    """Return the orders of posts by their ids."""
    ids = [post.order_id for post in some if post.order_id is not None]
    return {order.id: order for order in orders.find(tx, ids)} if ids else {}


def minds(post: Post, order: orders.Order | None, executed: Mapping[int, int]) -> mind.Post:
    """Return a post as the mind takes it."""
    found = fate(order, executed)
    return mind.Post(
        id=post.id,
        partitions=tuple(post.partitions),
        seed=bytes(post.seed),
        members=post.members,
        stage=post.stage,
        fate=found,
        failures=post.failures + (found is Fate.FAILED),
        gave_up_epoch=post.gave_up_epoch,
        landed_epoch=order.receipt.epoch if order is not None and order.receipt is not None else None,
    )
