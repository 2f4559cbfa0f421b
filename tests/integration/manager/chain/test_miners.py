"""Several miners of one manager, on one devnode: each has its own, and none stands in another's way."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.integration.devnode.helpers import WORKER, send

from damocles import beside
from damocles.chain import methods
from damocles.chain.addresses import Address
from damocles.chain.amounts import ATTO
from damocles.devnode.node import Node as Devnode
from damocles.lotus import errors
from damocles.lotus.miners import Info
from damocles.lotus.node import Node
from damocles.lotus.view import View
from damocles.manager import chains, daemon
from damocles.manager.config import load
from damocles.manager.errors import StartError
from damocles.rpc import address
from damocles.testing.believing import Believing
from damocles.wire import seal
from damocles.wire.sectors import SectorID

from .others import OF_2KIB, OF_8MIB, OWNER, key_with, made
from .provider import MINER, configuration, running


def _say_nothing_of(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the node refuse to say who a miner is."""
    info = View.info

    async def asked(view: View, miner: Address) -> Info:
        if miner.id == number:
            raise errors.Refused("http://node", "Filecoin.StateMinerInfo", "ipld: could not find the block")
        return await info(view, miner)

    monkeypatch.setattr(View, "info", asked)


async def test_each_miner_has_its_own(devnode: Devnode, lotus: Node, tmp_path: Path) -> None:
    """Numbers, senders, batches, fees, tickets and seeds: three miners, of two sizes, seal beside each other."""
    key = await key_with(devnode, lotus, "control", 1000 * ATTO)
    second, third = await made(devnode, lotus, OF_2KIB, key), await made(devnode, lotus, OF_8MIB)
    senders = {MINER: WORKER, second: key, third: OWNER}
    caps = {MINER: 2 * 10**9, second: 3 * 10**9, third: 4 * 10**9}
    above = {MINER: 0, second: 10, third: 20}

    def table(miner: int) -> dict[str, object]:
        batch = {"Threshold": 2, "GasFeeCap": f"{caps[miner]} attoFIL"}
        kind = {"Sender": str(senders[miner]), "Batch": batch}
        commitment = {"Confidence": 2, "Pre": kind, "Prove": kind}
        return {"Actor": miner, "Sector": {"MinNumber": above[miner]}, "Commitment": commitment}

    others = [table(second), table(third)]
    async with running(devnode, tmp_path, others=others, **table(MINER)) as provider:
        given = [await provider.give() for _ in range(6)]
        sectors = [one.id for one in given if one is not None]
        # They take turns, so that no miner keeps the threads of all.
        numbers = [(miner, above[miner] + index) for index in (1, 2) for miner in (MINER, second, third)]
        assert numbers == [(sector.miner, sector.number) for sector in sectors]
        assert [5, 5, 6] == [one.proof for one in given[:3] if one is not None]
        for sector in sectors:
            await provider.hand_in(sector)
        await provider.pre_committed(*sectors)
        for sector in sectors:
            await provider.prove(sector)
        await provider.proven(*sectors)

        keys = {}
        async with provider.view() as view:
            for miner, sender in senders.items():
                keys[miner] = key if sender is key else await view.key_of(sender)
        sealed = {methods.PRE_COMMIT.number, methods.PROVE_COMMIT.number}
        sent = [one.message for one in provider.landed_messages() if one.message.method in sealed]
        by_miner = defaultdict(list)
        for message in sent:
            by_miner[message.to.id].append(message)
        assert {MINER, second, third} == set(by_miner)
        for miner, messages in by_miner.items():
            # One for both pre-commits, one for both proofs: none has a sector of another miner.
            assert {28, 34} == {message.method for message in messages}
            assert 2 == len(messages)
            assert {keys[miner]} == {message.sender for message in messages}
            assert {True} == {message.gas_fee_cap <= caps[miner] for message in messages}
            (pre,) = [message for message in messages if message.method == methods.PRE_COMMIT.number]
            named = [one.sector_number for one in methods.PRE_COMMIT.read_params(pre.params).sectors]
            assert [above[miner] + 1, above[miner] + 2] == named

        async with provider.view() as view:
            epoch = view.epoch - 5
            for ask in (provider.chain.ticket, provider.chain.seed):
                drawn = {miner: await ask(miner, epoch) for miner in by_miner}
                assert 3 == len(set(drawn.values()))
                kind = getattr(view, ask.__name__)
                assert drawn == {miner: await kind(Address.of_id(miner), epoch) for miner in by_miner}


async def test_a_miner_whose_sender_has_no_money(devnode: Devnode, lotus: Node, tmp_path: Path) -> None:
    """It gets no new sectors, and an alert says why; the others go on. With money it is sealed for again, without a restart."""
    poor = await key_with(devnode, lotus, "poor", 0)
    second = await made(devnode, lotus, OF_2KIB, poor)
    commitment = {"Confidence": 2, "Pre": {"Sender": str(poor), "Batch": {"Threshold": 1}}}
    other = {"Actor": second, "Commitment": commitment}
    async with running(devnode, tmp_path, others=[other]) as provider:
        rounds = provider.chain.rounds
        (about, text), *more = rounds.alerts().items()
        assert (f"miner f0{second}", []) == (about, more)
        assert f"{poor} of f0{second} has no FIL and cannot pay for messages: send it some" == text
        given = [await provider.give() for _ in range(3)]
        assert [MINER] * 3 == [one.id.miner for one in given if one is not None]
        assert await provider.give(second) is None
        await provider.hand_in(SectorID(MINER, 1))
        await provider.pre_committed(SectorID(MINER, 1))

        await send(lotus, None, to=poor, sender=WORKER, value=1000 * ATTO)
        await devnode.step(2)
        async with beside.running(rounds.follow):
            with anyio.fail_after(60):
                while rounds.alerts():
                    await devnode.step()
                    await anyio.sleep(0.02)
        fresh = await provider.give(second)
        assert fresh is not None
        await provider.hand_in(fresh.id)
        await provider.pre_committed(fresh.id)


async def test_a_miner_is_fit_again_beside_one_that_the_node_says_nothing_of(
    devnode: Devnode, lotus: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two that had no money the one is looked at, though nothing can be known of the other."""
    poor = await key_with(devnode, lotus, "poor", 0)
    second, third = await made(devnode, lotus, OF_2KIB, poor), await made(devnode, lotus, OF_2KIB, poor)
    others = [{"Actor": miner, "Commitment": {"Pre": {"Sender": str(poor)}}} for miner in (second, third)]
    async with running(devnode, tmp_path, others=others) as provider:
        rounds = provider.chain.rounds
        assert {f"miner f0{second}", f"miner f0{third}"} == set(rounds.alerts())
        await send(lotus, None, to=poor, sender=WORKER, value=1000 * ATTO)
        await devnode.step(2)
        _say_nothing_of(second, monkeypatch)
        async with beside.running(rounds.follow):
            with anyio.fail_after(60):
                while f"miner f0{third}" in rounds.alerts():
                    await devnode.step()
                    await anyio.sleep(0.02)
        assert {f"miner f0{second}"} == set(rounds.alerts())


async def test_money_that_is_short_later(devnode: Devnode, lotus: Node, tmp_path: Path) -> None:
    """A message for which its miner's sender has too little waits, with an alert about this miner; others land meanwhile."""
    short = await key_with(devnode, lotus, "short", 10**9)
    second = await made(devnode, lotus, OF_2KIB, short)
    commitment = {"Confidence": 2, "Pre": {"Sender": str(short), "Batch": {"Threshold": 1}}}
    async with running(devnode, tmp_path, others=[{"Actor": second, "Commitment": commitment}]) as provider:
        bad, good = SectorID(second, 1), SectorID(MINER, 1)
        for miner in (second, MINER):
            assert await provider.give(miner) is not None
        for sector in (bad, good):
            await provider.hand_in(sector)
        await provider.pre_committed(good)
        ((about, text),) = provider.chain.rounds.alerts().items()
        assert (f"pre-commits of f0{second}", True) == (about, str(short) in text)
        assert seal.OnChainState.PENDING == (await provider.commits.poll_pre_commit_state(bad)).state
        await send(lotus, None, to=short, sender=WORKER, value=1000 * ATTO)
        await devnode.step(2)
        await provider.pre_committed(bad)
        assert provider.chain.rounds.alerts() == {}


async def test_a_miner_that_is_not_on_the_chain(devnode: Devnode, tmp_path: Path) -> None:
    """It is told by an alert, and the others are sealed for; if there is no other, nothing starts."""
    async with running(devnode, tmp_path, others=[{"Actor": 4711}]) as provider:
        assert [MINER] == [miner.id for miner in provider.miners]
        assert "f04711 is no miner on this network" in provider.chain.rounds.alerts()["miner f04711"]
        await provider.hand_in(await provider.allocate())
        await provider.pre_committed(SectorID(MINER, 1))
    with pytest.raises(StartError, match="f04711 is no miner on this network"):
        async with running(devnode, tmp_path, Actor=4711):
            pass


async def test_a_miner_that_the_node_says_nothing_of(
    devnode: Devnode, lotus: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told; what the others have sealed lands."""
    second = await made(devnode, lotus, OF_2KIB)
    async with running(devnode, tmp_path, others=[{"Actor": second}]) as provider:
        bad, good = await provider.give(second), await provider.give(MINER)
        assert bad is not None
        assert good is not None
        for sector in (bad.id, good.id):
            await provider.hand_in(sector)
        _say_nothing_of(second, monkeypatch)
        await provider.pre_committed(good.id)
        assert "ipld: could not find the block" in provider.chain.rounds.alerts()[f"miner f0{second}"]


async def test_a_home_with_sectors_of_a_miner_that_is_not_configured_any_more(
    devnode: Devnode, lotus: Node, tmp_path: Path
) -> None:
    """The daemon does not start: it names the miner, whichever of several it is, and starts again with both."""
    second = await made(devnode, lotus, OF_8MIB)
    others = [{"Actor": second}]
    async with running(devnode, tmp_path, others=others) as provider:
        for miner in (MINER, second):
            assert await provider.give(miner) is not None

    def settings(**tables: Any) -> daemon.Settings:
        config = load.check(configuration(devnode, tmp_path, **tables), "test")
        return daemon.Settings(
            home=tmp_path, listen=address.host_port("127.0.0.1:0", 0), chain=chains.Lotus(config=config)
        )

    for left, named in (({}, second), ({"Actor": second}, MINER)):
        with pytest.raises(StartError, match=f"has sectors of miner {named}, of "):
            async with daemon.serve(settings(**left), Believing()):
                pass
    async with daemon.serve(settings(others=others), Believing()):
        pass
