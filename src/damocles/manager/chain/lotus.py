"""The chain as Lotus nodes show it, with messages through the outbox; an `interface.Chain`. `opening` makes one.

A submission has the id that it gets at the hand-in (see `submissions`) for as long as it lives, whichever message carries it
in the end: `message` is asked by that.
"""

import contextlib
from collections.abc import AsyncIterator, Container
from typing import TypeVar

import anyio
from sqlalchemy import Connection

from damocles.chain.addresses import Address
from damocles.lotus import errors, heads
from damocles.lotus.nodes import Nodes
from damocles.lotus.view import View
from damocles.manager.chain import checks, interface, lifetimes, parts, submissions
from damocles.manager.chain.rounds import Rounds
from damocles.manager.chain.submissions import Kind, State
from damocles.manager.chain.terms import NONE, Liberties
from damocles.manager.db.engine import Database
from damocles.manager.errors import ManagerError
from damocles.wire import codec, commitments, seal, tasks
from damocles.wire.codec import CID
from damocles.wire.sectors import SealProof, SectorID, prover_id

T = TypeVar("T")

_ENDED = {
    State.LANDED: seal.OnChainState.LANDED,
    State.FAILED: seal.OnChainState.FAILED,
    State.REFUSED: seal.OnChainState.PERM_FAILED,
}


class LotusChain:
    """The chain; see `interface.Chain` for its methods. `rounds` is what has to run beside them."""

    def __init__(
        self,
        *,
        database: Database,
        nodes: Nodes,
        network: interface.Network,
        verifier: interface.Verifier,
        rounds: Rounds,
        liberties: Liberties = NONE,
    ) -> None:
        self.network = network
        self.rounds = rounds
        self._database = database
        self._nodes = nodes
        self._verifier = verifier
        self._liberties = liberties

    async def head(self) -> int:
        """Return the epoch of the head."""
        async with self._asking() as view:
            return view.epoch

    @contextlib.asynccontextmanager
    async def _asking(self) -> AsyncIterator[View]:
        """Yield the chain at the head; what goes wrong with the node is an answer, by which a worker asks again."""
        try:
            async with self._nodes.view() as view:
                yield view
        except errors.NodeError as error:
            raise ManagerError(str(error)) from error

    # Randomness.

    async def ticket(self, miner: int, epoch: int) -> bytes:
        """Return the sealing randomness of an epoch."""
        async with self._asking() as view:
            return await view.ticket(Address.of_id(miner), epoch)

    async def seed(self, miner: int, epoch: int) -> bytes:
        """Return the challenge randomness of an epoch."""
        async with self._asking() as view:
            return await view.seed(Address.of_id(miner), epoch)

    async def window_challenge(self, miner: int, epoch: int) -> bytes:
        """Return the randomness of window PoSts."""
        async with self._asking() as view:
            return await view.window_challenge(Address.of_id(miner), epoch)

    async def post_commit(self, epoch: int) -> bytes:
        """Return the randomness of an epoch that is the same for all miners."""
        async with self._asking() as view:
            return await view.chain_commit(epoch)

    # Sectors.

    async def sector(self, sector: SectorID) -> interface.OnChain | None:
        """Return what is on the chain of a sector."""
        address = Address.of_id(sector.miner)
        async with self._asking() as view:
            pre = await view.pre_committed(address, sector.number)
            if pre is not None:
                return interface.OnChain(
                    proof_type=SealProof(pre.info.seal_proof),
                    comm_r=commitments.commitment_of(pre.info.sealed_cid),
                    proven=False,
                    ticket_epoch=pre.info.seal_rand_epoch,
                    pre_commit_epoch=pre.epoch,
                )
            proven = await view.sector(address, sector.number)
            if proven is None:
                return None
            return interface.OnChain(
                proof_type=SealProof(proven.seal_proof),
                comm_r=commitments.commitment_of(proven.sealed_cid),
                proven=True,
            )

    async def lives(self, sector: SectorID) -> bool:
        """Return whether it was proven, and has not ended for so long that no reorganisation brings it back.

        The record of a sector outlives it; once that is gone too, its partition was compacted long after its end.
        """
        address = Address.of_id(sector.miner)
        async with self._asking() as view:
            if await view.sector(address, sector.number) is None:
                return False
            final = View(view.node, await view.node.tipset_at(max(0, view.epoch - heads.FINALITY_EPOCHS), view.key))
            if await final.sector(address, sector.number) is None:
                return True
            for state in (view, final):
                with contextlib.suppress(errors.NotThere):
                    await state.expiration(address, sector.number)
                    return True
        return False

    async def allocated(self, miner: int) -> Container[int]:
        """Return the sector numbers that were ever used."""
        async with self._asking() as view:
            return await view.allocated_numbers(Address.of_id(miner))

    async def check_pieces(self, sector: SectorID, pieces: interface.Pieces) -> None:
        """Return if all allocations of the pieces can be claimed for this sector."""
        wanted = parts.to_claim(pieces, self._liberties)
        if not wanted:
            return
        async with self._asking() as view:
            await parts.allocations(view, sector.miner, sector.number, wanted)

    async def message(self, cid: CID) -> seal.Polled:
        """Return how far a submission has come, and what it waits for, or what it failed for."""
        found = await self._database.read(lambda tx: submissions.find(tx, cid))
        if found is None:
            return seal.Polled(seal.OnChainState.NOT_FOUND, f"nothing was handed in as {cid}")
        if found.state in _ENDED:
            return seal.Polled(_ENDED[found.state], found.reason or None)
        if found.order_id is None:
            return seal.Polled(seal.OnChainState.PENDING, self.rounds.waiting.get(cid, "it waits for its message"))
        if found.order_id in self.rounds.outbox.executed:
            return seal.Polled(seal.OnChainState.PACKED)
        return seal.Polled(seal.OnChainState.PENDING, self.rounds.outbox.waiting.get(found.order_id))

    # Proofs, verified here before they cost gas.

    async def check_proof(self, sector: SectorID, proof: bytes) -> None:
        """Verify a proof for the pre-commit that is on the chain, with the chain's own randomness."""
        address = Address.of_id(sector.miner)
        async with self._asking() as view:
            pre = await view.pre_committed(address, sector.number)
            if pre is None:
                raise interface.Refused("pre-commit info not found on chain")
            kind, info = SealProof(pre.info.seal_proof), pre.info
            comm_d = (
                commitments.zero_comm_d(kind.size)
                if info.unsealed_cid is None
                else commitments.commitment_of(info.unsealed_cid)
            )
            claim = tasks.VerifySeal(
                registered_proof=kind.proof_name,
                comm_r=commitments.commitment_of(info.sealed_cid),
                comm_d=comm_d,
                prover_id=codec.Bytes32(prover_id(sector.miner)),
                sector_id=sector.number,
                ticket=codec.Bytes32(await view.ticket(address, info.seal_rand_epoch)),
                seed=codec.Bytes32(await view.seed(address, pre.epoch + self.network.challenge_delay)),
                proof=proof,
            )
        await checks.check_seal(self._verifier, claim)

    async def check_non_interactive(self, allocated: seal.AllocatedSector, content: seal.Proof) -> None:
        """Verify a proof for the commitments that came with it."""
        assert content.pre_commit is not None
        ticket = await self.ticket(allocated.id.miner, content.pre_commit.ticket.epoch)
        await checks.check_non_interactive(self._verifier, allocated, content, ticket)

    async def check_update(self, allocated: seal.AllocatedSector, comm_r_old: bytes, content: seal.SnapUpProof) -> None:
        """Verify the proof of an upgrade of what is on the chain."""
        await checks.check_update(self._verifier, await self.sector(allocated.id), comm_r_old, content)

    # What is handed in.

    def send_pre_commit(
        self, tx: Connection, allocated: seal.AllocatedSector, content: seal.PreCommit, pieces: interface.Pieces
    ) -> CID:
        """Record a pre-commit."""
        last = content.ticket.epoch + lifetimes.TICKET_MAX_AGE
        return submissions.put(
            tx, Kind.PRE_COMMIT, allocated, content, pieces, epoch=self.rounds.epoch, last_epoch=last
        )

    def send_proof(
        self, tx: Connection, allocated: seal.AllocatedSector, content: seal.Proof, pieces: interface.Pieces
    ) -> CID:
        """Record a proof."""
        if content.pre_commit is None:
            return submissions.put(tx, Kind.PROOF, allocated, content, pieces, epoch=self.rounds.epoch)
        last = content.pre_commit.ticket.epoch + lifetimes.NI_TICKET_MAX_AGE
        return submissions.put(
            tx, Kind.NON_INTERACTIVE, allocated, content, pieces, epoch=self.rounds.epoch, last_epoch=last
        )

    def send_update(
        self, tx: Connection, allocated: seal.AllocatedSector, content: seal.SnapUpProof, pieces: interface.Pieces
    ) -> CID:
        """Record the proof of an upgrade."""
        return submissions.put(tx, Kind.UPDATE, allocated, content, pieces, epoch=self.rounds.epoch)

    async def handed_in(self, sector: SectorID) -> None:
        """Let it be sent at once where that is no waste, and wait for a moment until it has landed; else it goes with the next head."""
        if self._liberties.sends_at_once:
            self.rounds.wake()
            with anyio.move_on_after(self._liberties.landing_seconds):
                since = self.rounds.ends.count
                while any(one.sector == sector for one in await self._database.read(submissions.unfinished)):
                    await self.rounds.ends.wait(since)
                    since = self.rounds.ends.count
