"""The loops of a manager on a chain: heads that come by themselves, nodes that misbehave, what needs a person."""

from pathlib import Path

import anyio

from damocles import beside
from damocles.devnode import serving
from damocles.devnode.node import Node as Devnode
from damocles.manager.chain import lifetimes, submissions
from damocles.manager.chain.submissions import Kind, State
from damocles.wire import seal
from damocles.wire.sectors import SectorID

from .provider import PROOF, Provider, configuration, running

_TROUBLE = (
    ("ChainHead", "html"),
    ("StateNetworkVersion", "hang up"),
    ("GasEstimateMessageGas", "hang up"),
    ("WalletSign", "error"),
    ("MpoolPush", "error"),
    ("StateSearchMsg", "error"),
    ("StateSectorGetInfo", "missing"),
)


async def _come(provider: Provider, poll: str, *sectors: SectorID) -> None:
    with anyio.fail_after(60):
        for sector in sectors:
            while (polled := await getattr(provider.commits, poll)(sector)).state != seal.OnChainState.LANDED:
                assert polled.state < seal.OnChainState.NOT_FOUND, polled
                await anyio.sleep(0.05)


async def test_a_sector_is_proven_though_the_node_misbehaves(tmp_path: Path) -> None:
    """Each call that matters fails in its own way, some after they were carried out; each message is sent once."""
    async with serving.serving(accepts_any_proof=True, block_seconds=0.1) as devnode:
        await devnode.step(30)
        async with running(devnode, tmp_path) as provider:
            rounds = provider.chain.rounds
            async with beside.running(rounds.follow, rounds.run):
                sector = await provider.allocate()
                await provider.hand_in(sector)
                devnode.disturb("MpoolPush", "hang up", times=1, late=True)
                await _come(provider, "poll_pre_commit_state", sector)
                with anyio.fail_after(30):
                    while (await provider.commits.wait_seed(sector, PROOF)).should_wait:
                        await anyio.sleep(0.05)
                await provider.commits.submit_proof(sector, seal.Proof(bytes(192)), False)
                for method, kind in _TROUBLE:
                    devnode.disturb(method, kind, text="out of memory", times=1)  # type: ignore[arg-type]
                await _come(provider, "poll_proof_state", sector)
            assert 2 == len(provider.landed())


async def test_a_node_that_is_away_is_told_and_nothing_is_lost(provider: Provider, devnode: Devnode) -> None:
    """A submission waits for the node; an alert names it, until it is well again."""
    sector = await provider.allocate()
    await provider.hand_in(sector)
    devnode.disturb("*", "html")
    rounds = provider.chain.rounds
    async with beside.running(rounds.run):
        with anyio.fail_after(30):
            while not rounds.troubles:
                await anyio.sleep(0.02)
    assert all("is Lotus running behind it?" in text for text in rounds.alerts().values())
    devnode.mischief.clear()
    await provider.pre_committed(sector)
    assert rounds.alerts() == {}


async def test_another_node_takes_over(devnode: Devnode, tmp_path: Path) -> None:
    """With two nodes, one that is out of step is not asked, and an alert says so."""
    async with serving.serving(accepts_any_proof=True) as other:
        config = configuration(devnode, tmp_path)
        nodes = [*config["Chain"]["Nodes"]]
        assert other.url != nodes[0]["API"]
    # The other one is gone: the daemon starts all the same, and says so.
    nodes.insert(0, {**nodes[0], "API": other.url})
    async with running(devnode, tmp_path, nodes=nodes) as provider:
        sector = await provider.allocate()
        await provider.hand_in(sector)
        await provider.pre_committed(sector)
        (about,) = provider.chain.rounds.alerts()
        assert other.url in about


async def test_a_pre_commit_near_its_end_is_told(provider: Provider) -> None:
    """Three days before its deposit is burnt it is said that a sector is not proven."""
    sector = await provider.allocate()
    await provider.hand_in(sector)
    await provider.pre_committed(sector)
    rounds = provider.chain.rounds
    assert rounds.alerts() == {}
    rounds.epoch += 28 * lifetimes.DAY_EPOCHS
    await rounds.once()
    ((about, text),) = rounds.alerts().items()
    assert (f"pre-commit of {sector}", True) == (about, "its deposit is burnt at epoch" in text)


async def test_a_ticket_that_is_too_old(provider: Provider, devnode: Devnode) -> None:
    """A pre-commit whose ticket has grown too old while it waited is handed in again, and refused then with the reason."""
    sector = await provider.allocate()
    await provider.hand_in(sector)
    one = await provider.submission(sector, Kind.PRE_COMMIT)
    old = seal.Ticket(one.content.ticket.ticket, devnode.chain.head.height - lifetimes.TICKET_MAX_AGE - 5)
    content = seal.PreCommit(one.content.comm_r, one.content.comm_d, old)
    put = submissions.put
    allocated = seal.AllocatedSector(sector, PROOF)
    await provider.database.write(lambda tx: put(tx, Kind.PRE_COMMIT, allocated, content, (), epoch=1))
    await provider.tick()
    ended = await provider.submission(sector, Kind.PRE_COMMIT)
    assert (State.FAILED, True) == (ended.state, "is too old" in ended.reason)


async def test_a_database_that_has_lost_what_landed(provider: Provider) -> None:
    """A pre-commit that is on the chain already, as the record of a restored database does not know, is not sent again."""
    sector = await provider.allocate()
    await provider.hand_in(sector)
    await provider.pre_committed(sector)
    one = await provider.submission(sector, Kind.PRE_COMMIT)
    await provider.database.write(lambda tx: submissions.wait_again(tx, [one]))
    await provider.pre_committed(sector)
    assert 1 == len(provider.landed())


async def test_a_restart_with_another_miner(devnode: Devnode, tmp_path: Path) -> None:
    """What was ordered for a miner that is not in the configuration any more waits, and keeps nobody else from going on."""
    async with running(devnode, tmp_path) as provider:
        await provider.hand_in(await provider.allocate())
        await provider.tick()
        rounds = provider.chain.rounds
        rounds._miners = {}
        await provider.tick(4)
        assert {State.ORDERED} == {one.state for one in await provider.database.read(submissions.unfinished)}


async def test_a_sector_that_the_node_says_nothing_of(provider: Provider, devnode: Devnode) -> None:
    """It waits, and is told; the others go on."""
    first, second = await provider.allocate(), await provider.allocate()
    await provider.hand_in(first)
    await provider.pre_committed(first)
    await provider.prove(first)
    await provider.hand_in(second)
    devnode.disturb("StateMinerInitialPledgeForSector", "error", text="no such duration")
    await provider.pre_committed(second)
    ((about, text),) = provider.chain.rounds.alerts().items()
    assert (f"proof of {first}", True) == (about, "no such duration" in text)
    assert "no such duration" in ((await provider.commits.poll_proof_state(first)).desc or "")
    devnode.mischief.clear()
    await provider.proven(first)


async def test_a_node_that_does_not_estimate(provider: Provider, devnode: Devnode) -> None:
    """What cannot be tried out waits, with the node's reason, and keeps nothing else of the round from being done."""
    first, second = await provider.allocate(), await provider.allocate()
    await provider.hand_in(first)
    await provider.pre_committed(first)
    await provider.prove(first)
    await provider.hand_in(second)
    devnode.disturb("GasEstimateMessageGas", "error", text="out of memory", times=1)
    await provider.tick()
    (text,) = provider.chain.rounds.alerts().values()
    assert "out of memory" in text
    await provider.proven(first)
    await provider.pre_committed(second)
