"""The configuration is read again while a manager works on a devnode: all of it takes effect, or nothing."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.integration.devnode.helpers import WORKER

from damocles.chain.amounts import ATTO
from damocles.devnode.mischief import Fault
from damocles.devnode.node import Node as Devnode
from damocles.lotus.node import Node
from damocles.manager import errors
from damocles.manager.chain.submissions import Kind, State
from damocles.manager.config import load
from damocles.manager.outbox import orders
from damocles.manager.outbox.orders import Signed
from damocles.manager.reloading.reload import Reload
from damocles.wire import control
from damocles.wire.sectors import SectorID

from .others import OF_2KIB, OF_8MIB, key_with, made
from .provider import CONFIDENCE, MINER, Provider, configuration, running


@dataclass
class Scene:
    """A provider, its configuration as it would lie in a file, and what reads it again."""

    provider: Provider
    said: dict[str, Any]
    reload: Any = None
    broken: list[str] = field(default_factory=list)

    @property
    def tables(self) -> list[dict[str, Any]]:
        """The tables of the miners."""
        return self.said["Miners"]  # type: ignore[no-any-return]

    def read(self) -> Any:
        """Read it, as the daemon does."""
        if self.broken:
            raise ValueError("\n".join(self.broken))
        try:
            return load.check(self.said, "manager.toml")
        except load.ConfigError as error:
            raise ValueError(str(error)) from error

    async def again(self, *, dry_run: bool = False) -> tuple[list[int], dict[int, list[str]], list[int]]:
        """Read it again; return which miners are added, changed and removed."""
        told = await self.reload.run(control.ReloadRequest(dry_run=dry_run))
        return told.added, {one.miner: one.keys for one in told.changed}, told.removed

    async def refused(self) -> str:
        """Read it again, and return why it is refused, which has changed nothing."""
        before = list(self.provider.miners)
        with pytest.raises(errors.ManagerError) as caught:
            await self.again()
        assert before == list(self.provider.miners)
        return caught.value.message


@asynccontextmanager
async def opened(devnode: Devnode, folder: Path, **miner: Any) -> AsyncIterator[Scene]:
    """Yield a provider of one miner, whose configuration may change."""
    async with running(devnode, folder, **miner) as provider:
        said: dict[str, Any] = {**configuration(devnode, folder, **miner)}
        scene = Scene(provider, said)
        scene.reload = Reload(
            file=folder / "manager.toml",
            config=scene.read(),
            read=scene.read,
            rounds=provider.chain.rounds,
            miners=provider.miners,  # type: ignore[arg-type]
            database=provider.database,
        )
        yield scene


@pytest.fixture
async def scene(devnode: Devnode, tmp_path: Path) -> AsyncIterator[Scene]:
    """Yield one of the usual miner."""
    async with opened(devnode, tmp_path) as yielded:
        yield yielded


def table(miner: int, **keys: Any) -> Mapping[str, Any]:
    """Return the table of a miner whose sectors do not wait for others."""
    commitment = {"Confidence": CONFIDENCE, "Pre": {"Batch": {"Threshold": 1}}, "Prove": {"Batch": {"Threshold": 1}}}
    return {"Actor": miner, "Commitment": commitment, **keys}


async def test_a_miner_is_added_while_another_one_seals(devnode: Devnode, lotus: Node, scene: Scene) -> None:
    """It takes its turn with the next sector, in its own numbers, and what was under way goes on."""
    provider = scene.provider
    first = await provider.allocate()
    await provider.hand_in(first)
    new = await made(devnode, lotus, OF_2KIB)
    scene.tables.append(dict(table(new, Sector={"MinNumber": 40})))
    assert ([new], {}, []) == await scene.again(dry_run=True)
    assert [MINER] == [miner.id for miner in provider.miners]
    assert ([new], {}, []) == await scene.again()
    given = await provider.give()
    assert given is not None
    assert (new, 41) == (given.id.miner, given.id.number)
    await provider.hand_in(given.id)
    await provider.pre_committed(first, given.id)
    for sector in (first, given.id):
        await provider.prove(sector)
    await provider.proven(first, given.id)
    assert ([], {}, []) == await scene.again()


async def test_a_policy_holds_from_the_next_turn_on(devnode: Devnode, tmp_path: Path) -> None:
    """Sectors that wait for others share a message as soon as their number suffices; what is signed keeps its fees."""
    batch = {"Threshold": 9}
    async with opened(devnode, tmp_path, Commitment={"Confidence": CONFIDENCE, "Pre": {"Batch": batch}}) as scene:
        provider = scene.provider

        async def waiting(count: int) -> list[SectorID]:
            sectors = [await provider.allocate() for _ in range(count)]
            for sector in sectors:
                await provider.hand_in(sector)
            return sectors

        async def signed(sectors: list[SectorID]) -> tuple[Signed, ...]:
            found = {(await provider.submission(one, Kind.PRE_COMMIT)).order_id for one in sectors}
            (order_id,) = found
            assert order_id is not None
            return (await provider.database.read(lambda tx: orders.load(tx, order_id))).signed

        first = await waiting(2)
        await provider.tick(3)
        assert State.WAITING is (await provider.submission(first[0], Kind.PRE_COMMIT)).state

        scene.tables[0]["Commitment"]["Pre"] = {"Batch": {"Threshold": 2}}
        assert ([], {MINER: ["Commitment.Pre.Batch.Threshold"]}, []) == await scene.again()
        await provider.chain.rounds.once()
        (before,) = await signed(first)

        scene.tables[0]["Commitment"]["Pre"] = {"Batch": {"Threshold": 2, "GasOverPremium": 50}}
        assert ([], {MINER: ["Commitment.Pre.Batch.GasOverPremium"]}, []) == await scene.again()
        second = await waiting(2)
        await provider.chain.rounds.once()
        assert (before,) == await signed(first)
        (after,) = await signed(second)
        assert after.fees.premium > 10 * before.fees.premium
        await provider.pre_committed(*first, *second)


async def test_a_miner_without_anything_is_removed(devnode: Devnode, lotus: Node, scene: Scene) -> None:
    """It gets no sectors any more, and may come back."""
    new = await made(devnode, lotus, OF_2KIB)
    scene.tables.append(dict(table(new)))
    await scene.again()
    gone = scene.tables.pop()
    assert ([], {}, [new]) == await scene.again()
    assert [MINER] * 2 == [one.id.miner for one in [await scene.provider.give() for _ in range(2)] if one]
    scene.tables.append(gone)
    assert ([new], {}, []) == await scene.again()
    assert await scene.provider.give(new) is not None


async def test_a_miner_with_sectors_stays(devnode: Devnode, lotus: Node, scene: Scene) -> None:
    """The answer names what is in the way; with its table back, and switched off, it gets no new sectors and loses none."""
    provider = scene.provider
    new = await made(devnode, lotus, OF_2KIB)
    scene.tables.append(dict(table(new)))
    await scene.again()
    sector = await provider.give(new)
    assert sector is not None
    await provider.hand_in(sector.id)
    await provider.chain.rounds.once()
    gone = scene.tables.pop()
    said = await scene.refused()
    assert f"f0{new} cannot be removed" in said
    assert "1 sector in progress; 1 message not yet on chain" in said
    assert "Sector.Enabled = false" in said

    scene.tables.append({**gone, "Sector": {"Enabled": False}})
    assert ([], {new: ["Sector.Enabled"]}, []) == await scene.again()
    assert await provider.give(new) is None
    await provider.pre_committed(sector.id)


async def test_a_sector_given_out_meanwhile_keeps_its_miner(
    devnode: Devnode, lotus: Node, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in the way is looked for once more when nothing else can begin."""
    new = await made(devnode, lotus, OF_2KIB)
    scene.tables.append(dict(table(new)))
    await scene.again()
    scene.tables.pop()
    write, given = scene.provider.database.write, list[Any]()

    async def late(*args: Any, **kwargs: Any) -> Any:
        if not given:
            given.append(None)
            given.append(await scene.provider.give(new))
        return await write(*args, **kwargs)

    monkeypatch.setattr(scene.provider.database, "write", late)
    assert "1 sector in progress" in await scene.refused()
    assert given[1] is not None


async def test_a_broken_file_changes_nothing(scene: Scene) -> None:
    """Each line names a key; all that is right in it takes no effect either."""
    scene.tables[0]["Sector"] = {"MinNumber": 99}
    scene.tables.append({"Actor": 1001, "PoSt": {"Enabld": False}})
    said = await scene.refused()
    assert "manager.toml: Miners[1].PoSt.Enabld: there is no such key" in said
    scene.broken = ["Common.PersistStores: /mnt/hdd1: there is no such folder"]
    assert scene.broken[0] == await scene.refused()
    sector = await scene.provider.allocate()
    assert 1 == sector.number


async def test_a_new_miner_that_could_not_send_is_refused(devnode: Devnode, lotus: Node, scene: Scene) -> None:
    """Nor is one that is no miner, or has larger sectors, nor a sender without a role; a word in the file stays refused."""
    stranger = await key_with(devnode, lotus, "stranger", 10 * ATTO)
    new = await made(devnode, lotus, OF_2KIB)
    large = await made(devnode, lotus, OF_8MIB)
    scene.tables.append(dict(table(new, PoSt={"Sender": str(stranger)})))
    assert f"{stranger} is neither owner, worker nor a control address of f0{new}" in await scene.refused()
    scene.tables[1] = dict(table(99))
    assert "f099 is no miner on this network" in await scene.refused()
    scene.tables[1] = dict(table(large))
    assert f"f0{large} has sectors of 8MiB" in await scene.refused()
    scene.tables[1] = dict(table(new, PoSt={"Sender": str(WORKER)}))
    assert ([new], {}, []) == await scene.again()
    scene.tables[1]["PoSt"] = {"Sender": str(stranger)}
    assert "control address" in await scene.refused()
    assert {} == scene.provider.chain.rounds.fitness.problems


async def test_with_the_node_away_policies_change_and_no_miner_comes(
    devnode: Devnode, lotus: Node, scene: Scene
) -> None:
    """What asks nothing of the chain needs no node; the rest is refused, and goes when the node is back."""
    new = await made(devnode, lotus, OF_2KIB)
    devnode.mischief.put("*", Fault(kind="hang up"))
    scene.tables[0]["PoSt"] = {"Confidence": 7}
    assert ([], {MINER: ["PoSt.Confidence"]}, []) == await scene.again()
    scene.tables.append(dict(table(new)))
    assert f"the chain cannot be asked about f0{new}" in await scene.refused()
    devnode.mischief.clear()
    assert ([new], {}, []) == await scene.again()
