"""A sector's way onto the chain: ticket, pre-commit, seed, proof.

What the chain has to be asked comes before the transaction that decides, and the transaction looks at the record
again: of two submissions at once, the second meets the first one's result.
"""

import math
from collections.abc import Callable, Container, Sequence

import msgspec
import structlog
from sqlalchemy import Connection

from damocles.manager import errors
from damocles.manager.chain import interface
from damocles.manager.db.engine import Database
from damocles.manager.sectors import deals, ledger
from damocles.wire import commitments, records, seal
from damocles.wire.codec import CID
from damocles.wire.sectors import SealProof, SectorID

log = structlog.get_logger(__name__)

_NOT_SENT = "attempt to publish message but failed"
_NO_PRE_COMMIT = "pre-commit info not found on chain"
_ON_ITS_WAY = frozenset({seal.OnChainState.PENDING, seal.OnChainState.PACKED, seal.OnChainState.LANDED})


class Commitments:
    """What the worker asks for and hands in on the way; methods are those of the API, named alike."""

    def __init__(self, database: Database, chain: interface.Chain, clock: Callable[[], float]) -> None:
        self._database = database
        self._chain = chain
        self._clock = clock
        self._reported: set[tuple[str, int]] = set()  # offers that cannot be sealed

    async def taken(self, miner: ledger.Miner) -> Container[int]:
        """Return the sector numbers of a miner that the chain has seen."""
        return await self._chain.allocated(miner.id)

    async def possible(self, sector: SectorID, offers: Sequence[deals.Offer]) -> list[deals.Offer]:
        """Return the offers that the chain lets a sector have; of each other one it is logged once why not."""
        found = []
        for offer in offers:
            try:
                await self._chain.check_pieces(sector, [deals.as_piece(offer)])
            except interface.Refused as error:
                if offer.key not in self._reported:
                    log.warning("a deal cannot be sealed", deal=" ".join(map(str, offer.key)), why=str(error))
                self._reported.add(offer.key)
            else:
                found.append(offer)
        return found

    async def assign_ticket(self, sector: SectorID) -> seal.Ticket:
        """Draw a ticket for the replica id and keep it; every call draws a new one, until a pre-commit is on its way.

        From then on the ticket is that of the pre-commit, unless its message has failed: a sector that is sealed once more,
        because somebody resumed it at an early state, has to become the one that the chain knows.
        """
        record = await self._load(sector)
        if record.pre_commit is not None:
            polled = await self._poll(record, record.messages.pre_commit_cid)
            if polled.state in _ON_ITS_WAY:
                await self._set(sector, ticket=record.pre_commit.ticket)
                return record.pre_commit.ticket
        try:
            await self._chain.check_pieces(sector, record.pieces or ())
        except interface.Refused as error:
            raise errors.ManagerError(
                f"{sector} cannot be sealed: {error}; abort it, so that it gets other pieces"
            ) from error
        epoch = await self._chain.head() - self._chain.network.ticket_lookback
        ticket = seal.Ticket(await self._chain.ticket(sector.miner, epoch), epoch)
        await self._set(sector, ticket=ticket)
        return ticket

    async def submit_pre_commit(
        self, allocated: seal.AllocatedSector, content: seal.PreCommit, hard_reset: bool
    ) -> seal.Submitted:
        """Check a pre-commit and hand it to the chain.

        The same content again is accepted, other content is not unless `hard_reset`. What landed already stays.
        """
        sector = allocated.id
        head = await self._chain.head()
        on_chain = await self._chain.sector(sector)
        ticket = await self._chain.ticket(sector.miner, content.ticket.epoch)
        kept = _kept(content)
        before = await self._load(sector)
        if on_chain is None:
            try:
                await self._chain.check_pieces(sector, before.pieces or ())
            except interface.Refused as error:
                return _logged("pre-commit", sector, seal.Submitted(seal.SubmitResult.REJECTED, str(error)))

        def submit(tx: Connection) -> seal.Submitted:
            record = ledger.load(tx, sector)
            if record.pre_commit is not None and not hard_reset:
                return _compare(record.pre_commit == kept)
            if on_chain is None:
                refused = self._check_pre_commit(record, content, head, ticket)
                if refused is not None:
                    return refused
            elif on_chain.ticket_epoch not in {None, content.ticket.epoch}:
                desc = f"bad ticket epoch: {on_chain.ticket_epoch} != {content.ticket.epoch}"
                return seal.Submitted(seal.SubmitResult.REJECTED, desc)
            try:
                cid = self._chain.send_pre_commit(
                    tx, seal.AllocatedSector(sector, record.proof), content, record.pieces or ()
                )
            except interface.Refused as error:
                return seal.Submitted(seal.SubmitResult.MISMATCHED, str(error))
            messages = msgspec.structs.replace(record.messages, pre_commit_cid=cid, need_send=False)
            ledger.save(tx, msgspec.structs.replace(record, pre_commit=kept, messages=messages), self._clock())
            return seal.Submitted(seal.SubmitResult.ACCEPTED)

        answer = await self._database.write(submit)
        await self._chain.handed_in(sector)
        return _logged("pre-commit", sector, answer)

    def _check_pre_commit(
        self, record: records.SectorState, content: seal.PreCommit, head: int, ticket: bytes
    ) -> seal.Submitted | None:
        expected, what = _comm_d(record)
        if content.comm_d != expected:
            desc = (
                f"CommD of {record.id} is {content.comm_d.hex()}, but a sector {what} has {expected.hex()}:"
                " its pieces or tree-d are damaged, go back to adding pieces"
            )
            return seal.Submitted(seal.SubmitResult.MISMATCHED, desc)
        given, network = content.ticket, self._chain.network
        is_without = SealProof(record.proof).is_non_interactive
        if given.epoch < head - (network.ni_ticket_max_age if is_without else network.ticket_max_age):
            desc = f"ticket expired: seal height: {given.epoch + network.ticket_lookback}, head: {head}"
            return seal.Submitted(seal.SubmitResult.REJECTED, desc)
        if given.epoch > head - network.ticket_lookback:
            desc = f"bad ticket epoch: {given.epoch} is later than head {head} - {network.ticket_lookback}"
            return seal.Submitted(seal.SubmitResult.REJECTED, desc)
        if given.ticket != ticket:
            desc = f"bad ticket: the chain has another value for epoch {given.epoch}"
            return seal.Submitted(seal.SubmitResult.REJECTED, desc)
        return None

    async def poll_pre_commit_state(self, sector: SectorID) -> seal.Polled:
        """Return how far the pre-commit has come."""
        record = await self._load(sector)
        return await self._poll(record, record.messages.pre_commit_cid)

    async def wait_seed(self, sector: SectorID, proof: SealProof) -> seal.WaitSeedResp:
        """Return the seed and keep it, or how long to wait for it.

        Raises:
            errors.ManagerError: The pre-commit has not landed.
        """
        await self._load(sector)
        head, network = await self._chain.head(), self._chain.network
        if proof.is_non_interactive:
            epoch = head - 1
        else:
            on_chain = await self._chain.sector(sector)
            if on_chain is None or on_chain.pre_commit_epoch is None:
                raise errors.ManagerError(f"precommit info not found on chain. sid: {sector}")
            epoch = on_chain.pre_commit_epoch + network.challenge_delay
            missing = epoch + network.seed_confidence - head
            if missing > 0:
                return seal.WaitSeedResp(True, math.ceil(missing * network.block_seconds))
        seed = seal.Seed(await self._chain.seed(sector.miner, epoch), epoch)
        await self._set(sector, seed=seed)
        return seal.WaitSeedResp(False, 0, seed)

    async def submit_proof(self, sector: SectorID, content: seal.Proof, hard_reset: bool) -> seal.Submitted:
        """Verify a proof and hand it to the chain.

        Raises:
            errors.Unverifiable: It cannot be checked now; the worker may send it again.
        """
        record = await self._load(sector)
        known = _known_proof(record, content, hard_reset)
        if known is not None:
            return known
        try:
            if SealProof(record.proof).is_non_interactive:
                await self._check_non_interactive(record, content)
            else:
                await self._chain.check_proof(sector, content.proof)
        except interface.Refused as error:
            return _logged("proof", sector, seal.Submitted(seal.SubmitResult.REJECTED, str(error)))

        def submit(tx: Connection) -> seal.Submitted:
            record = ledger.load(tx, sector)
            known = _known_proof(record, content, hard_reset)
            if known is not None:
                return known
            try:
                allocated = seal.AllocatedSector(sector, record.proof)
                cid = self._chain.send_proof(tx, allocated, content, record.pieces or ())
            except interface.Refused as error:
                # Another valid proof has landed: all the worker wants is there.
                return seal.Submitted(seal.SubmitResult.DUPLICATE, str(error))
            messages = msgspec.structs.replace(record.messages, commit_cid=cid, need_send=False)
            proven = msgspec.structs.replace(record, submitted_proof=seal.Proof(content.proof), messages=messages)
            if content.pre_commit is not None:
                proven = msgspec.structs.replace(proven, pre_commit=_kept(content.pre_commit))
            ledger.save(tx, proven, self._clock())
            return seal.Submitted(seal.SubmitResult.ACCEPTED)

        answer = await self._database.write(submit)
        await self._chain.handed_in(sector)
        return _logged("proof", sector, answer)

    async def _check_non_interactive(self, record: records.SectorState, content: seal.Proof) -> None:
        """Check what a pre-commit would have been checked for, then the proof.

        Raises:
            interface.Refused: The chain will not take it.
        """
        pre_commit = content.pre_commit
        if pre_commit is None:
            raise interface.Refused(
                "a non-interactive proof needs CommR, CommD and ticket with it (PreCommit), which this worker did not send"
            )
        head = await self._chain.head()
        ticket = await self._chain.ticket(record.id.miner, pre_commit.ticket.epoch)
        refused = self._check_pre_commit(record, pre_commit, head, ticket)
        if refused is not None:
            raise interface.Refused(refused.desc or "refused")
        await self._chain.check_non_interactive(seal.AllocatedSector(record.id, record.proof), content)

    async def poll_proof_state(self, sector: SectorID) -> seal.Polled:
        """Return how far the proof has come."""
        record = await self._load(sector)
        return await self._poll(record, record.messages.commit_cid)

    async def is_proven(self, sector: SectorID) -> bool:
        """Return whether the sector that is being sealed has its proof on the chain, so that it can no longer be aborted.

        Raises:
            errors.ManagerError: The proof is on its way; wait for the outcome.
        """
        record = await self._database.read(lambda tx: ledger.find(tx, sector, online=True))
        if record is None or ledger.job_of(record) is not records.Job.SEALING or record.submitted_proof is None:
            return False
        state = (await self._poll(record, record.messages.commit_cid)).state
        if state in _ON_ITS_WAY and state != seal.OnChainState.LANDED:
            raise errors.ManagerError(
                f"the proof of {sector} is on its way to the chain: it is finished if that lands, and can be aborted if"
                " that fails; try again later"
            )
        return state == seal.OnChainState.LANDED

    async def check_proven(self, sector: SectorID) -> None:
        """Return if a worker may be done with a sector: the one that it sealed has to be proven.

        A proof that was verified here and is on its way will do: workers need not wait for it (`ignore_proof_check`).

        Raises:
            errors.ManagerError: It is not.
        """
        record = await self._database.read(lambda tx: ledger.find(tx, sector, online=True))
        if record is None or ledger.job_of(record) is not records.Job.SEALING:
            return
        on_chain = await self._chain.sector(sector)
        is_proven = on_chain is not None and on_chain.proven
        if not is_proven and record.submitted_proof is not None:
            is_proven = (await self._poll(record, record.messages.commit_cid)).state in _ON_ITS_WAY
        if is_proven:
            return
        raise errors.ManagerError(f"{sector} is not proven on the chain: it cannot be finished, but aborted")

    async def lost_upgrade(self, sector: SectorID) -> str | None:
        """Return the message of the sector's upgrade if it will never land, so that the upgrade can be aborted.

        `None` also for a sector that is not being upgraded, or whose upgrade is not submitted yet or has landed.

        Raises:
            errors.ManagerError: The message is on its way; wait for the outcome.
        """
        record = await self._database.read(lambda tx: ledger.find(tx, sector, online=True))
        if record is None or ledger.job_of(record) is not records.Job.SNAPUP:
            return None
        message = record.upgrade_message_id
        if message is None or record.upgrade_landed_epoch is not None:
            return None
        state = (await self._chain.message(CID(message))).state
        if state in _ON_ITS_WAY or state == seal.OnChainState.FAILED:  # a failed one is sent again
            raise errors.ManagerError(
                f"the upgrade of {sector} is on its way to the chain: it is finished if that lands, and can be aborted if"
                " its message is lost; try again later"
            )
        return message

    async def _poll(self, record: records.SectorState, cid: CID | None) -> seal.Polled:
        if cid is not None:
            return await self._chain.message(cid)
        if record.messages.need_send:
            return seal.Polled(seal.OnChainState.PENDING)
        return seal.Polled(seal.OnChainState.FAILED, _NOT_SENT)

    async def _load(self, sector: SectorID) -> records.SectorState:
        return await self._database.read(lambda tx: ledger.load(tx, sector))

    async def _set(self, sector: SectorID, **values: object) -> None:
        """Set fields that the chain would give again: losing them in a power cut costs nothing."""

        def change(tx: Connection) -> None:
            record = ledger.load(tx, sector)
            ledger.save(tx, msgspec.structs.replace(record, **values), self._clock())

        await self._database.write(change, durable=False)


def _comm_d(record: records.SectorState) -> tuple[bytes, str]:
    """Return CommD as it follows from the deals, and a word for them."""
    size = SealProof(record.proof).size
    if not record.pieces:
        return commitments.zero_comm_d(size), "without deals"
    known = [(piece.piece.size_bytes, commitments.commitment_of(piece.piece.cid)) for piece in record.pieces]
    return commitments.comm_d(known, int(size)), "with its deals"


def _known_proof(record: records.SectorState, content: seal.Proof, hard_reset: bool) -> seal.Submitted | None:
    """Answer what the record alone decides."""
    if record.pre_commit is None and not SealProof(record.proof).is_non_interactive:
        return seal.Submitted(seal.SubmitResult.REJECTED, _NO_PRE_COMMIT)
    if record.submitted_proof is not None and not hard_reset:
        return _compare(record.submitted_proof.proof == content.proof)
    return None


def _kept(content: seal.PreCommit) -> records.SubmittedPreCommit:
    """Return a pre-commit as a record keeps it."""
    return records.SubmittedPreCommit(
        commitments.sealed_cid(content.comm_r), commitments.unsealed_cid(content.comm_d), content.ticket
    )


def _logged(what: str, sector: SectorID, answer: seal.Submitted) -> seal.Submitted:
    say = log.info if answer.res in {seal.SubmitResult.ACCEPTED, seal.SubmitResult.DUPLICATE} else log.warning
    say(f"{what} submitted", sector=str(sector), result=seal.SubmitResult(answer.res).name.lower(), reason=answer.desc)
    return answer


def _compare(same: bool) -> seal.Submitted:
    return seal.Submitted(seal.SubmitResult.ACCEPTED if same else seal.SubmitResult.MISMATCHED)
