"""Blocks are won, signed and handed in; whatever happens, there is never a second one at a height."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.integration.manager.chain.provider import MINER

from damocles.manager.mining import mind
from damocles.manager.mining.blocks import Record
from damocles.manager.mining.mind import Stage
from damocles.wire import blocks as wire
from damocles.wire import codec

from . import farm
from .farm import Farm

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
async def devnet(tmp_path: Path) -> AsyncIterator[Farm]:
    """Yield a mined devnet that takes every proof."""
    async with farm.devnet(tmp_path) as made:
        yield made


def included(records: list[Record], count: int = 1) -> bool:
    """Return whether so many blocks are known to be on the chain."""
    return sum(one.stage is Stage.INCLUDED for one in records) >= count


def included_beside(before: set[int], records: list[Record]) -> bool:
    """Return whether a block of another epoch is known to be on the chain."""
    return included([one for one in records if one.epoch not in before])


async def test_blocks_are_on_the_chain(devnet: Farm) -> None:
    """In time, one an epoch, and the list, which reaches a client as it is, has what each step took."""
    async with farm.manager(devnet) as made:
        records = await made.until(lambda some: included(some, 5))
        listed = await made.mining.listed()

    for one in (one for one in records if one.stage is Stage.INCLUDED):
        assert one.epoch in devnet.mined()
        assert set(one.seconds) == {"elect", "prove", "gather", "sign", "submit"}
        assert one.handed_in is not None
        assert 0 <= one.handed_in < mind.spread_seconds(farm.DELAY)
    assert {one.stage for one in records} <= {Stage.INCLUDED, Stage.SUBMITTED, Stage.WON, Stage.SIGNED, Stage.SIGNING}
    assert devnet.signed_twice() == []
    (standing,) = listed.miners
    assert (standing.miner, standing.lacking, standing.drawn > 5) == (MINER, [], True)
    assert standing.expected_a_day == 5 * 2880
    assert [one.epoch for one in listed.blocks] == sorted((one.epoch for one in listed.blocks), reverse=True)
    assert codec.decode(codec.encode(listed), wire.Listed) == listed


async def test_nothing_is_built_on_a_base_from_before_the_start(devnet: Farm) -> None:
    """Whatever an earlier process may have signed is older, though no record of it may be left."""
    began = devnet.devnode.rounds.epoch_now()
    async with farm.manager(devnet) as made:
        (first, *_) = await made.until(included)

    assert first.base_epoch is not None
    assert first.base_epoch >= began + 2


STEPS = [
    "database.before:record_won", "database.after:record_won", "database.after:record_signing",
    "node.before:MinerCreateBlock", "node.after:MinerCreateBlock", "database.before:record_signed",
    "database.after:record_signed", "node.before:SyncSubmitBlock", "node.after:SyncSubmitBlock",
    "database.before:record_submitted", "database.after:record_submitted",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("database", ["kept", "lost"])
async def test_a_process_that_ends_at_any_step_leaves_no_second_block(
    devnet: Farm, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    """The next one goes on, with the database or without what was written to it; after each end blocks are made again."""
    from damocles import failpoints

    waited_for = ""

    def reach(name: str, *_: Any) -> None:
        if name == waited_for:
            raise Ended(name)

    class Ended(BaseException):
        """Stands for a kill: nothing of the process goes on."""

    monkeypatch.setattr(failpoints, "reach", reach)
    for number, step in enumerate(STEPS):
        name = "manager.db" if database == "kept" else f"manager-{number}.db"
        waited_for = step
        with pytest.raises(BaseExceptionGroup) as caught:
            async with farm.manager(devnet, name) as made:
                await made.until(lambda _: False)
        assert caught.group_contains(Ended)
        waited_for = ""
        before = set(devnet.mined())
        async with farm.manager(devnet, name) as made:
            await made.until(partial(included_beside, before))
        assert devnet.signed_twice() == [], step


async def test_two_managers_on_one_database_make_one_block(devnet: Farm) -> None:
    """At each height, and both go on; the record of a round is taken from one stage to the next once."""
    async with farm.manager(devnet) as one, farm.manager(devnet) as other:
        await one.until(lambda some: included(some, 6))
        assert [one.epoch for one in await other.records()] == [one.epoch for one in await one.records()]

    assert devnet.signed_twice() == []


async def test_another_program_that_mines_is_noticed(devnet: Farm) -> None:
    """Two managers with databases of their own: one of them, or both, let it be and say so, before there is a fault."""
    async with farm.manager(devnet, "one.db") as one, farm.manager(devnet, "other.db") as other:
        with anyio.fail_after(600):
            while not any(
                "another program" in text for made in (one, other) for text in made.mining.troubles().values()
            ):
                await anyio.sleep(0.05)


async def test_a_block_that_the_chain_leaves_out_is_lost_and_told(devnet: Farm) -> None:
    """After a reorganisation; the next ones are made on the other chain, and none beside the miner's own."""
    async with farm.manager(devnet) as made:
        await made.until(lambda some: any(one.stage is Stage.SUBMITTED for one in some))
        await devnet.devnode.reorganise(1)
        records = await made.until(lambda some: any(one.stage is Stage.LOST for one in some) and included(some, 3))
        lost = await made.mining.lost()

    assert any("the chain went on without it" in text or "consensus fault" in text for text in lost.values())
    assert all(one.why for one in records if one.stage is Stage.LOST)
    assert devnet.signed_twice() == []


async def test_null_rounds_lie_between_a_block_and_its_base(devnet: Farm) -> None:
    """Where epochs have no block at all, the next one is made on what there is."""
    devnet.time.is_filled = False
    async with farm.manager(devnet) as made:
        while len(devnet.mined()) < 2:
            devnet.time.is_filled = True
            await made.until(lambda some: included(some, 1))
            devnet.time.is_filled = False
            records = await made.until(lambda some: len(some) >= 12)
            break

    gaps = {one.epoch - one.base_epoch for one in records if one.stage is Stage.INCLUDED and one.base_epoch is not None}
    assert max(gaps) >= 1
    assert devnet.signed_twice() == []


async def test_a_sector_that_cannot_be_read_loses_the_block_by_name(tmp_path: Path) -> None:
    """The warm-up says so before, and the daemon goes on."""
    async with farm.devnet(tmp_path, [1]) as devnet, farm.manager(devnet, is_real=True) as made:
        records = await made.until(lambda some: any(one.stage is Stage.LOST for one in some))
        told = dict(made.mining.troubles())

    assert "sector 1" in next(one.why for one in records if one.stage is Stage.LOST)
    assert "no winning PoSt on trial" in told[f"blocks of f0{MINER}"] or "parameters" in told[f"blocks of f0{MINER}"]


async def test_a_node_that_takes_no_block_is_told(devnet: Farm) -> None:
    """With its words, and the next round is another chance."""
    devnet.devnode.disturb("SyncSubmitBlock", "error", text="it is refused for a test", times=1)
    async with farm.manager(devnet) as made:
        records = await made.until(lambda some: included(some, 1))

    assert "it is refused for a test" in next(one.why for one in records if one.stage is Stage.LOST)


async def test_an_answer_that_is_lost_does_no_harm(devnet: Farm) -> None:
    """Where the node did what it was told and the answer never came, the same block is made, and handed in, again."""
    for method in ("MinerCreateBlock", "SyncSubmitBlock"):
        devnet.devnode.disturb(method, "hang up", times=1, late=True)
    async with farm.manager(devnet) as made:
        records = await made.until(lambda some: included(some, 2))

    assert all(one.stage is not Stage.LOST for one in records)
    assert devnet.signed_twice() == []
