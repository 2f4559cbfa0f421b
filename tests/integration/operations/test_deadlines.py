"""The deadlines that the dashboard shows: asked of the manager's own service, which reads them from a node that replays."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from tests.integration.lotus.replay import serve

from damocles.chain.addresses import Address
from damocles.lotus import nodes
from damocles.lotus.places import Place
from damocles.manager.chain import terms
from damocles.manager.config import model
from damocles.manager.dashboard import asking, deadlines
from damocles.manager.dashboard.views import proving
from damocles.manager.db import engine
from damocles.manager.proving.day import Days
from damocles.rpc import core, dialects
from damocles.wire import wdpost
from damocles.wire.sectors import SealProof

from .scene import EPOCH, Scene

MINER = 1002
Open = Callable[..., AbstractAsyncContextManager[deadlines.Deadlines]]


@pytest.fixture
def opened(scene: Scene, tmp_path: Path) -> Open:
    """Return what opens a manager's service with the days of a miner, and what the dashboard asks it by."""

    @asynccontextmanager
    async def run(*miners: int) -> AsyncIterator[deadlines.Deadlines]:
        config = model.Miner.model_validate({"Actor": MINER})
        async with (
            serve(scene.replay) as url,
            nodes.connect([Place(url=url)], pauses_seconds=()) as members,
            engine.open_sqlite(tmp_path / "manager.db") as database,
        ):
            rounds: Any = SimpleNamespace(nodes=members, epoch=EPOCH)  # of the rounds no more is asked
            service = core.Service(dialects.MANAGER)
            Days(
                database=database,
                rounds=rounds,
                miners=[terms.Miner(id=MINER, proof=SealProof(5), config=config)],
                block_seconds=30.0,
                clock=lambda: 0.0,
            ).register(service)
            yield deadlines.Deadlines(asking.Asking(service), miners)

    return run


async def test_a_day_is_asked_for_once_for_all_who_look(
    scene: Scene, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Partitions, faults and recoveries are the chain's, at one head, and are asked for again when they may have changed."""
    async with opened(MINER) as read:
        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(read.told, core.Call(principal=f"reader {number}"))
        (told,) = await read.told(core.Call())
        assert 48 == scene.replay.methods().count("StateMinerPartitions")
        (clock,) = proving.view(wdpost.Listed([], 2), "", 0.0, [told]).clocks
        assert ("f01002", EPOCH, "", 6, 2, 1) == (
            clock.miner, clock.epoch, clock.problem, clock.sectors, clock.faulty, clock.recovering,
        )  # fmt: skip
        assert {0: (2, 3, "ahead"), 7: (1, 3, "ahead")} == {
            slot.deadline: (slot.told.partitions, slot.told.sectors, slot.says) for slot in clock.shown if slot.told
        }
        assert [30] == [slot.deadline for slot in clock.slots if slot.is_open]
        monkeypatch.setattr(deadlines, "STALE_SECONDS", 0.0)
        scene.partitions = {}
        assert [] == proving.view(wdpost.Listed([], 2), "", 0.0, await read.told(core.Call())).clocks[0].shown


async def test_a_miner_that_is_new_is_asked_for_at_once(scene: Scene, opened: Open) -> None:
    """Though the days of the others are not stale yet; one that is gone is shown no more."""
    async with opened(MINER) as read:
        miners = read._miners = [MINER]
        assert [MINER] == [one.miner for one in await read.told(core.Call())]
        miners.append(1003)
        assert [MINER, 1003] == [one.miner for one in await read.told(core.Call())]
        miners.remove(MINER)
        assert [1003] == [one.miner for one in await read.told(core.Call())]


async def test_a_day_that_is_not_known_is_said(scene: Scene, opened: Open) -> None:
    """Of each miner the page is told why there are no deadlines; with no miners, as on a devnode of its own, nothing is asked."""
    async with opened(MINER, 1003) as read:
        scene.replay.refuse("StateMinerPartitions", "the state is gone")
        gone, strange = await read.told(core.Call())
        assert (None, None) == (gone.day, strange.day)
        assert "the state is gone" in gone.problem
        assert f"{Address.of_id(1003)} is none of this manager's miners" in strange.problem
    async with opened() as read:
        assert [] == await read.told(core.Call())


async def test_a_node_that_hangs_holds_up_no_page(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while the page is made without the deadlines, and says so."""
    monkeypatch.setattr(deadlines, "TIMEOUT_SECONDS", 0.0)
    async with opened(MINER) as read:
        (told,) = await read.told(core.Call())
    assert (None, "no answer about the deadlines within 0 s") == (told.day, told.problem)
