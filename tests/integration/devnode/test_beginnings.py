"""How a devnet can be begun otherwise: with another miner, without window PoSts, without a wait for blocks, on a full disk."""

from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.from_thread
import pytest
from structlog.testing import capture_logs

from damocles import pulse
from damocles.chain.addresses import Address
from damocles.cli import manager
from damocles.devnode import serving
from damocles.devnode.rules import Rules
from damocles.devnode.store import Full, Store
from damocles.devnode.tipsets import TipSet
from damocles.lotus import errors, node
from damocles.lotus.node import Node
from damocles.lotus.places import Place

from .helpers import proved, send, view

PlaceOf = Callable[..., Place]


async def fill(lotus: Node) -> None:
    """Push many messages."""
    for _ in range(500):
        await send(lotus, None, value=1)


async def test_a_message_is_executed_at_once(place_of: PlaceOf, tmp_path: Path):
    """With an hour between blocks, those that execute a message are made when it is pushed, and one on top, and no more."""
    async with (
        serving.serving(block_seconds=3600, at_once=True, home=tmp_path) as devnode,
        node.connect(place_of(devnode)) as lotus,
    ):
        for sent in (1, 2):
            cid = await send(lotus, None, value=1)
            with anyio.fail_after(60):
                while devnode.head.height < 3 * sent:
                    await devnode.changed.wait()
            found = await (await view(lotus)).search(cid, 100)
            assert found is not None
            assert found.receipt.exit_code == 0
        assert not devnode.chain.pool.all()
        with anyio.move_on_after(0.2):
            await devnode.changed.wait()
        assert devnode.head.height == 6


async def test_what_a_stop_has_left_is_executed_at_once(place_of: PlaceOf, tmp_path: Path):
    """A message that waits when a devnode stops is in the first block after its next start."""
    async with serving.serving(home=tmp_path) as devnode, node.connect(place_of(devnode)) as lotus:
        await send(lotus, None, value=1)
        waiting = devnode.chain.pool.all()
        assert len(waiting) == 1
    async with serving.serving(block_seconds=3600, at_once=True, home=tmp_path) as devnode:
        with anyio.fail_after(60):
            while devnode.head.height < 3:
                await devnode.changed.wait()
        assert not devnode.chain.pool.all()


async def test_another_miner_whose_sectors_need_no_window_posts(place_of: PlaceOf):
    """Its number is that of the rules; a sector is active from its proof on, and stays so after a whole proving period."""
    rules = Rules(miner=10000, needs_posts=False, window_epochs=2)
    async with serving.serving(rules, accepts_any_proof=True) as devnode, node.connect(place_of(devnode)) as lotus:
        await devnode.step(30)
        miner = Address.of_id(10000)
        assert await lotus.call(list[Address], "StateListMiners", []) == [miner]
        await proved(devnode, lotus, 1, to=miner)
        for _ in range(2):
            place = await (await view(lotus)).location(miner, 1)
            partitions = await (await view(lotus)).partitions(miner, place.deadline)
            assert 1 in partitions[place.partition].active
            await devnode.step(rules.period_epochs)


@pytest.mark.parametrize("number", ["f0999", "f01"])
def test_a_number_that_no_miner_has_is_refused(number: str, capsys: pytest.CaptureFixture[str]):
    """Those below 1000 are the actors' that every chain has, and accounts'."""
    assert manager.main(["devnode", "--miner", number]) == 2
    assert "they begin at f01000" in capsys.readouterr().err


async def test_a_full_disk_stops_the_chain_and_not_the_devnode(place_of: PlaceOf, tmp_path: Path):
    """No block is made and no message taken while nothing can be written; then all goes on, and nothing is half there."""
    async with serving.serving(home=tmp_path) as devnode, node.connect(place_of(devnode)) as lotus:
        await devnode.step(3)
        assert devnode._store is not None
        database = devnode._store._database
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(Full, match="database or disk is full"):
            await devnode.step(500)
        before = devnode.head
        with pytest.raises(errors.NodeError, match="database or disk is full"):
            await fill(lotus)
        waiting = len(devnode.chain.pool.all())
        database.execute("PRAGMA max_page_count = 1000000")
        await send(lotus, None, value=1)
        assert len(devnode.chain.pool.all()) == waiting + 1
        after = await devnode.step()
        assert after.parent == before.key
        assert len(after.messages) == waiting + 1
    async with serving.serving(home=tmp_path) as devnode:
        assert devnode.head.key == after.key


async def test_a_full_disk_is_told_once_and_so_is_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each block that cannot be made is tried again; a line for each would fill what is left of the disk."""
    tried, is_full, keep = pulse.Pulse(), True, Store.keep

    def kept(store: Store, tipset: TipSet) -> None:
        anyio.from_thread.run_sync(tried.beat)
        if is_full:
            raise Full("nothing can be written: database or disk is full")
        keep(store, tipset)

    async with serving.serving(block_seconds=0.01, home=tmp_path) as devnode:
        with capture_logs() as told, anyio.fail_after(60):
            monkeypatch.setattr(Store, "keep", kept)
            while tried.count < 3:
                await tried.wait()
            is_full = False
            await devnode.changed.wait()
            while not any("again" in one["event"] and one["log_level"] == "info" for one in told):
                await anyio.sleep(0.01)
    events = [one["event"] for one in told if one["event"] != "devnet block"]
    assert ["the devnode can make no block, and tries again", "the devnode makes blocks again"] == events
