"""The deadlines that the dashboard shows, read from a node that replays."""

import anyio
import pytest
from tests.integration.lotus.replay import serve

from damocles.lotus import nodes
from damocles.lotus.places import Place
from damocles.manager.dashboard import deadlines
from damocles.manager.dashboard.views import proving
from damocles.wire import wdpost

from .scene import EPOCH, Scene

MINER = 1002


async def test_a_day_is_read_once_for_all_who_look(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Partitions, faults and recoveries are the chain's, at one head, and are read again when they may have changed."""
    async with serve(scene.replay) as url, nodes.connect([Place(url=url)], pauses_seconds=()) as members:
        read = deadlines.Deadlines(members, [MINER])
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(read.told)
        told = await read.told()
        assert (48, "") == (scene.replay.methods().count("StateMinerPartitions"), told.problem)
        (clock,) = proving.view(wdpost.Listed([], 2), "", told.miners[0].at, told.miners).clocks
        assert ("f01002", EPOCH, 6, 2, 1) == (clock.miner, clock.epoch, clock.sectors, clock.faults, clock.recovering)
        assert {0: (2, 3, False), 7: (1, 3, False)} == {
            slot.deadline: (slot.partitions, slot.sectors, slot.is_open) for slot in clock.shown
        }
        assert [30] == [slot.deadline for slot in clock.slots if slot.is_open]
        monkeypatch.setattr(deadlines, "STALE_SECONDS", 0.0)
        scene.partitions = {}
        assert [] == proving.view(wdpost.Listed([], 2), "", 0.0, (await read.told()).miners).clocks[0].shown


async def test_a_node_that_is_away_is_said(scene: Scene) -> None:
    """The page is told why there are no deadlines, and has no others; a mock chain has none, and that is no problem."""
    async with serve(scene.replay) as url, nodes.connect([Place(url=url)], pauses_seconds=()) as members:
        scene.replay.refuse("StateMinerPartitions", "the state is gone")
        told = await deadlines.Deadlines(members, [MINER]).told()
    assert [] == list(told.miners)
    assert "does not show the deadlines" in told.problem
    assert "the state is gone" in told.problem
    assert deadlines.Told() == await deadlines.Deadlines(None, [MINER]).told()
