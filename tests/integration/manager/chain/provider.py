"""A manager on a devnode that accepts any proof, without the processes: the test makes blocks and rounds."""

import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from damocles.chain.addresses import Address
from damocles.chain.messages import SignedMessage
from damocles.devnode.node import Node as Devnode
from damocles.lotus.node import Node
from damocles.lotus.view import View
from damocles.manager.chain import opening, submissions
from damocles.manager.chain.lotus import LotusChain
from damocles.manager.chain.terms import Miner
from damocles.manager.config import load
from damocles.manager.db import engine
from damocles.manager.outbox import orders
from damocles.manager.roster import Mapped
from damocles.manager.sectors import commitments, giving, ledger
from damocles.testing.believing import Believing
from damocles.wire import commitments as cids
from damocles.wire import seal
from damocles.wire.codec import CID, Bytes32
from damocles.wire.sectors import SealProof, SectorID

MINER = 1000
ADDRESS = Address.of_id(MINER)
PROOF = SealProof(5)
CONFIDENCE = 2


@dataclass
class Provider:
    """The manager's parts that seal, and the devnode that they seal on."""

    devnode: Devnode
    database: engine.Database
    chain: LotusChain
    commits: commitments.Commitments
    giving: giving.Giving
    miners: Collection[Miner]

    async def tick(self, count: int = 1) -> None:
        """Make blocks, with a round after each."""
        for _ in range(count):
            await self.devnode.step()
            await self.chain.rounds.once()

    async def allocate(self, *pieces: seal.SectorPiece) -> SectorID:
        """Give out a sector, with pieces if there are some."""
        made = await self.give()
        assert made is not None

        def take(tx: Any) -> None:
            record = ledger.load(tx, made.id)
            ledger.save(tx, msgspec.structs.replace(record, pieces=list(pieces)), 0.0)

        if pieces:
            await self.database.write(take)
        return made.id

    async def give(self, *miners: int) -> seal.AllocatedSector | None:
        """Give out a sector to a thread that takes those of some miners, or of all."""
        found: seal.AllocatedSector | None = await self.giving.give(
            seal.AllocateSectorSpec(list(miners)), ledger.NOBODY
        )
        return found

    def proof_of(self, sector: SectorID) -> SealProof:
        """Return the kind of proof of a sector."""
        return next(miner.proof for miner in self.miners if miner.id == sector.miner)

    async def hand_in(self, sector: SectorID, comm_d: bytes | None = None) -> seal.Submitted:
        """Assign a ticket and hand in the pre-commit."""
        ticket, kind = await self.commits.assign_ticket(sector), self.proof_of(sector)
        replica = Bytes32(bytes([sector.number, sector.miner % 251]) * 16)
        content = seal.PreCommit(replica, Bytes32(comm_d or cids.zero_comm_d(kind.size)), ticket)
        return await self.commits.submit_pre_commit(seal.AllocatedSector(sector, kind), content, False)

    async def until(self, what: Callable[[], Any], ticks: int = 30) -> None:
        """Let blocks pass until something is so."""
        for _ in range(ticks):
            if await what():
                return
            await self.tick()
        raise AssertionError("not within so many blocks")

    async def pre_committed(self, *sectors: SectorID) -> None:
        """Let blocks pass until pre-commits have landed."""
        await self.until(lambda: self._all(sectors, self.commits.poll_pre_commit_state))

    async def proven(self, *sectors: SectorID) -> None:
        """Let blocks pass until proofs have landed."""
        await self.until(lambda: self._all(sectors, self.commits.poll_proof_state))

    async def _all(self, sectors: tuple[SectorID, ...], poll: Callable[[SectorID], Any]) -> bool:
        states = [await poll(sector) for sector in sectors]
        bad = [state for state in states if state.state >= seal.OnChainState.NOT_FOUND]
        assert not bad, bad
        return all(state.state == seal.OnChainState.LANDED for state in states)

    async def prove(self, sector: SectorID, proof: bytes = bytes(192)) -> None:
        """Wait for the seed, and hand in a proof."""

        async def has_seed() -> bool:
            return not (await self.commits.wait_seed(sector, self.proof_of(sector))).should_wait

        await self.until(has_seed)
        answer = await self.commits.submit_proof(sector, seal.Proof(proof), False)
        assert answer.res == seal.SubmitResult.ACCEPTED, answer

    async def submission(self, sector: SectorID, kind: submissions.Kind) -> submissions.Submission:
        """Return what is recorded of a hand-in."""
        found = await self.database.read(lambda tx: submissions.of_sector(tx, sector, kind))
        assert found is not None
        return found

    async def order_of(self, sector: SectorID, kind: submissions.Kind) -> orders.Order:
        """Return the order of a hand-in's message."""
        order_id = (await self.submission(sector, kind)).order_id
        assert order_id is not None
        return await self.database.read(lambda tx: orders.load(tx, order_id))

    @property
    def node(self) -> Node:
        """The client of the devnode."""
        return self.chain._nodes.members[0]

    def view(self) -> AbstractAsyncContextManager[View]:
        """Return the chain at the head."""
        return self.chain._nodes.view()

    def landed(self) -> list[CID]:
        """Return all messages of the chain, which nobody else sends on."""
        return [signed.cid for signed in self.landed_messages()]

    def landed_messages(self) -> list[SignedMessage]:
        """Return the same as messages."""
        found: list[SignedMessage] = []
        tipset = self.devnode.chain.head
        while tipset.parent is not None:
            found += tipset.messages
            tipset = self.devnode.chain.known[tipset.parent]
        return found


def configuration(
    devnode: Devnode, folder: Path, *, others: Sequence[Mapping[str, Any]] = (), **miner: Any
) -> Mapping[str, Any]:
    """Return a configuration for a devnode, its token in a file of the folder; `others` are further miners."""
    token = folder / "node-token"
    token.write_text(devnode.token)
    token.chmod(0o600)
    commitment = {"Confidence": CONFIDENCE, "Pre": {"Batch": {"Threshold": 1}}, "Prove": {"Batch": {"Threshold": 1}}}
    return {
        "Chain": {"Network": devnode.rules.name, "Nodes": [{"API": devnode.url, "TokenFile": str(token)}]},
        "Miners": [{"Commitment": commitment, **one} for one in ({"Actor": MINER, **miner}, *others)],
    }


@asynccontextmanager
async def running(devnode: Devnode, folder: Path, *, nodes: Any = None, **miner: Any) -> AsyncIterator[Provider]:
    """Yield a provider whose database is in a folder; again in the same folder it goes on."""
    said = configuration(devnode, folder, **miner)
    config = load.check({**said, "Chain": {**said["Chain"], **({"Nodes": nodes} if nodes else {})}}, "test")
    verifier = Believing()
    async with (
        engine.open_sqlite(folder / "manager.db") as database,
        opening.open_chain(config, database, verifier, verifier, time.time) as opened,
    ):
        commits = commitments.Commitments(database, opened.chain, time.time)
        miners = Mapped(opened.miners, giving.in_ledger)
        fitness = opened.chain.rounds.fitness
        new = giving.Giving(database, miners, commits, time.time, lambda: fitness.problems)
        yield Provider(devnode, database, opened.chain, commits, new, opened.miners)
