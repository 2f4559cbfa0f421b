"""What people are shown of a deadline, from what is recorded of it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from damocles.chain.addresses import Address
from damocles.chain.bitfields import Bitfield
from damocles.manager.outbox import node, orders
from damocles.manager.proving import day, posts
from damocles.manager.proving.day import Kept
from damocles.manager.proving.mind import Stage
from damocles.wire.codec import Bytes32
from damocles.wire.proving import Standing

OPENS, CLOSE = 100, 160
WISH = orders.Wish(miner=1000, kind="window-post", to=Address.of_id(1000), method=5, params=b"")
SENT = orders.Order(id=7, wish=WISH, state=orders.State.SIGNED)
LANDED = replace(
    SENT, state=orders.State.LANDED, receipt=node.Receipt(epoch=110, exit_code=0, returned=b"", gas_used=1)
)


def window(*seen: posts.Seen) -> posts.Window:
    """Return a window with partitions."""
    return posts.Window(
        miner=1000, deadline=3, challenge=80, opens=OPENS, close=CLOSE, epoch=120, partitions=list(seen)
    )


def post(stage: Stage, order_id: int | None = None) -> posts.Post:
    """Return a post of partition 0."""
    return posts.Post(
        miner=1000,
        opens=OPENS,
        partitions=[0],
        seed=Bytes32(bytes(32)),
        members=Bitfield([1]),
        digest="",
        made_epoch=90,
        made_at=0.0,
        stage=stage,
        order_id=order_id,
        why="no store is mounted" if stage is Stage.PROVING else "",
    )


def kept(some: Sequence[posts.Post], *seen: posts.Seen, order: orders.Order = SENT) -> Kept:
    """Return a window with posts."""
    return Kept(window(*seen), some, {order.id: order})


WANTED, PROVED, EMPTY = posts.Seen(members=1), posts.Seen(members=1, is_posted=True), posts.Seen(members=0, faulty=1)


@pytest.mark.parametrize(
    ("of", "epoch", "expected"),
    [
        (kept([], WANTED), 95, Standing.AHEAD),
        (kept([post(Stage.PROVING)], WANTED), 95, Standing.PROVING),
        (kept([post(Stage.PROVED)], WANTED), 101, Standing.WAITING),
        (kept([post(Stage.SENT, 7)], WANTED), 105, Standing.SENT),
        (kept([post(Stage.SENT, 7)], WANTED), 130, Standing.LATE),
        (kept([post(Stage.SENT, 7)], WANTED), 145, Standing.AT_RISK),
        (kept([post(Stage.OVER, 7)], WANTED), 160, Standing.MISSED),
        (kept([post(Stage.SENT, 7)], PROVED, WANTED), 145, Standing.AT_RISK),
        (kept([post(Stage.SENT, 7)], PROVED, EMPTY), 145, Standing.PROVED),
        (kept([post(Stage.OVER, 7)], WANTED, order=LANDED), 160, Standing.PROVED),
        (kept([], EMPTY), 145, Standing.NOTHING),
    ],
)
def test_how_a_deadline_stands(of: Kept, epoch: int, expected: Standing) -> None:
    """By the time that is left, by what the chain had last, and by what has landed since."""
    assert expected == day.standing(of, epoch)


def test_what_is_late_says_why_and_what_to_do() -> None:
    """The partitions that are not proved, what they wait for, and since when; a proved deadline is no trouble."""
    late = {3: kept([post(Stage.PROVING)], WANTED, PROVED), 4: kept([], PROVED)}
    (one,) = day.troubles(late, 130, now=10_000.0, block_seconds=30.0)
    assert ("late", "t01000 deadline 3", 10_000.0 - 30 * 30) == (one.standing, one.subject, one.since)
    assert one.text.startswith(
        "partitions 0 are not proved, and the deadline closes at epoch 160: no proof yet, the last try: no store is mounted"
    )
    (sent,) = day.troubles({3: kept([post(Stage.SENT, 7)], WANTED)}, 150, now=0.0, block_seconds=30.0)
    assert ("at risk", True) == (sent.standing, "message 7 is signed" in sent.text)
