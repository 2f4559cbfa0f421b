"""The chain at a glance, as a manager tells it."""

import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from damocles.chain.addresses import Address
from damocles.chain.bitfields import Bitfield
from damocles.lotus import errors
from damocles.lotus.nodes import Nodes
from damocles.manager.proving.upcoming import Upcoming
from damocles.wire import proving as wire

SECTORS, EMPTY = SimpleNamespace(live=Bitfield([7])), SimpleNamespace(live=Bitfield())


class Sham:
    """A node of nobody's, with four deadlines of 60 epochs, in some of which miners have sectors."""

    def __init__(self, having: dict[int, set[int]]) -> None:
        self.having, self.epoch, self.asked, self.away = having, 70, 0, False
        self.node, self.tipset = SimpleNamespace(url="http://n1"), SimpleNamespace(timestamp=5)

    @contextlib.asynccontextmanager
    async def view(self) -> AsyncIterator[Any]:
        """Yield itself."""
        if self.away:
            raise errors.Away("n1 is away")
        yield self

    async def period(self, _: Address) -> Any:
        """Return a period that began at epoch 0."""
        return SimpleNamespace(
            period_start=0,
            period_epochs=240,
            window_epochs=60,
            deadlines=4,
            challenge_lookback=20,
            declaration_cutoff=70,
        )

    async def partitions(self, miner: Address, deadline: int) -> list[Any]:
        """Return an empty partition, or one with sectors."""
        self.asked += 1
        return [EMPTY, SECTORS] if deadline in self.having[miner.id] else [EMPTY]


@pytest.mark.parametrize(
    ("deadlines", "expected"),
    [
        ({1, 2}, wire.Window(deadline=1, opens=60, close=120)),
        ({3}, wire.Window(deadline=3, opens=180, close=240)),
        ({0}, wire.Window(deadline=0, opens=240, close=300)),
        (set(), None),
    ],
)
async def test_the_next_deadline_with_sectors_is_told(deadlines: set[int], expected: wire.Window | None) -> None:
    """The open one counts; one that is over today opens tomorrow; a miner without sectors has none."""
    node = Sham({1000: deadlines})
    seen = await Upcoming(cast("Nodes", node), [1000], 30.0).seen()
    assert wire.ChainSeen(
        node="http://n1", epoch=70, at=5, block_seconds=30.0, miners=[wire.MinerSeen(miner=1000, window=expected)]
    ) == (seen)


async def test_partitions_are_not_read_for_everybody_who_looks() -> None:
    """What was found stands for some epochs, and no longer than until the deadline closes."""
    node = Sham({1000: {1}})
    upcoming = Upcoming(cast("Nodes", node), [1000], 30.0)
    await upcoming.seen()
    node.having, node.asked, node.epoch = {1000: {1, 2}}, 0, 79
    assert (79, 0) == ((await upcoming.seen()).epoch, node.asked)
    for epoch, deadline in ((118, 1), (120, 2)):
        node.epoch = epoch
        (miner,) = (await upcoming.seen()).miners
        assert miner.window is not None
        assert deadline == miner.window.deadline


async def test_a_node_that_is_away_is_told() -> None:
    """It is no error of the manager, which has more to show."""
    node = Sham({})
    node.away = True
    seen = await Upcoming(cast("Nodes", node), [1000], 30.0).seen()
    assert ("n1 is away", "", []) == (seen.problem, seen.node, seen.miners)
