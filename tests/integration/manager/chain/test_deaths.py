"""The manager dies between any two steps, and goes on from its database; the chain goes on meanwhile."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from damocles import failpoints
from damocles.chain import methods
from damocles.devnode.node import Node as Devnode
from damocles.manager.sectors import ledger
from damocles.wire import seal
from damocles.wire.sectors import SectorID

from .provider import PROOF, Provider, running

POINTS = re.compile(r"database\..*|node\..*:(MpoolPush|WalletSign|MpoolGetNonce|GasEstimateMessageGas|StateSearchMsg)")


class Died(BaseException):
    """The process is gone."""


class Deaths:
    """Let the process die once at each point that is reached, the first time that it is."""

    def __init__(self) -> None:
        self.points: list[str] = []
        self.armed = False

    def reach(self, name: str, _file: Path | None = None) -> None:
        """Die here, if it is the first time."""
        if self.armed and name not in self.points and POINTS.fullmatch(name):
            self.points.append(name)
            raise Died(name)


@pytest.fixture
def deaths(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deaths]:
    """Take the place of the failpoints."""
    made = Deaths()
    monkeypatch.setattr(failpoints, "reach", made.reach)
    yield made
    made.armed = False


async def _work(provider: Provider, sectors: list[SectorID]) -> bool:
    """Do what workers do, a step each; return whether all is done."""
    done = True
    for sector in sectors:
        record = await provider.database.read(lambda tx, sector=sector: ledger.load(tx, sector))  # type: ignore[misc]
        if record.pre_commit is None:
            await provider.hand_in(sector)
        elif record.submitted_proof is None:
            landed = await provider.commits.poll_pre_commit_state(sector)
            assert landed.state < seal.OnChainState.NOT_FOUND, landed
            if landed.state == seal.OnChainState.LANDED:
                seed = await provider.commits.wait_seed(sector, PROOF)
                if not seed.should_wait:
                    await provider.commits.submit_proof(sector, seal.Proof(bytes(192)), False)
        else:
            landed = await provider.commits.poll_proof_state(sector)
            assert landed.state < seal.OnChainState.NOT_FOUND, landed
            if landed.state == seal.OnChainState.LANDED:
                continue
        done = False
    return done


@pytest.mark.parametrize("drop", [False, True], ids=["node alive", "node loses its pool"])
async def test_nothing_is_sent_twice_and_nothing_is_lost(
    devnode: Devnode, tmp_path: Path, deaths: Deaths, drop: bool
) -> None:
    """Two sectors are proven by one message of each kind, however often manager and the node's pool die on the way."""
    table = {"Confidence": 2, "Pre": {"Batch": {"Threshold": 2}}, "Prove": {"Batch": {"Threshold": 2}}}
    async with running(devnode, tmp_path, Commitment=table) as provider:
        sectors = [await provider.allocate() for _ in range(2)]
    deaths.armed, done = True, False
    while not done:
        try:
            async with running(devnode, tmp_path, Commitment=table) as provider:
                while not done:
                    done = await _work(provider, sectors)
                    await provider.tick()
        except Died:
            if drop:
                devnode.chain.pool.remove(devnode.chain.pool.all())
            await devnode.step()
        assert devnode.chain.head.height < 400
    deaths.armed = False
    assert {"node.before:MpoolPush", "node.after:MpoolPush", "node.after:WalletSign"} <= set(deaths.points)
    assert sum(point.startswith("database.") for point in deaths.points) >= 10
    sent = [signed.message.method for signed in provider.landed_messages()]
    assert sorted([methods.PRE_COMMIT.number, methods.PROVE_COMMIT.number]) == sorted(sent)
