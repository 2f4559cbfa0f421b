"""What each sector adds to a message, as the chain is at one tipset, and messages of several sectors.

A part is made of a submission; parts are put together to parameters. A sector that cannot have a part is `Unfit`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from damocles.chain import methods, sealing
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.methods import Method
from damocles.lotus import errors, layout, miners
from damocles.lotus.view import View
from damocles.manager.chain import interface, lifetimes
from damocles.manager.chain.submissions import Kind, State, Submission
from damocles.manager.chain.terms import Liberties, Miner
from damocles.manager.errors import Unverifiable
from damocles.wire import codec, commitments, seal, tasks
from damocles.wire.codec import Blob, Rows
from damocles.wire.sectors import SealProof, SectorSize

log = structlog.get_logger(__name__)

AGGREGATED_FROM = 4  # the actors take no aggregate of fewer

METHODS = {
    Kind.PRE_COMMIT: methods.PRE_COMMIT,
    Kind.PROOF: methods.PROVE_COMMIT,
    Kind.NON_INTERACTIVE: methods.PROVE_NI,
    Kind.UPDATE: methods.PROVE_UPDATES,
}


class Unfit(Exception):
    """A sector cannot be in any message: its submission has come to this `state`, for the reason in the text.

    With `State.WAITING` it cannot be yet.
    """

    def __init__(self, state: State, text: str) -> None:
        super().__init__(text)
        self.state = state


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a sector adds: its struct of the parameters, the money for it, and what an aggregate needs of it."""

    struct: Any
    value: Amount
    proof: bytes = b""
    comm_r: bytes = b""
    seed: bytes = b""
    deadline: int = 0  # to which it goes, if that is to be said


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A message of several sectors, without a sender."""

    to: Address
    method: Method
    params: bytes
    value: Amount


def to_claim(pieces: interface.Pieces, liberties: Liberties) -> interface.Pieces:
    """Return the pieces whose allocations a sector has to claim: all data, or where any is taken, that of known clients."""
    data = [piece for piece in pieces if not piece.is_filler]
    return [piece for piece in data if piece.deal.client] if liberties.takes_any_piece else data


async def allocations(view: View, miner: int, number: int, pieces: interface.Pieces) -> list[miners.Allocation]:
    """Return the allocations of pieces with data, which their sector can still claim.

    Raises:
        interface.Refused: One of them it cannot.
    """
    found = []
    for piece in pieces:
        deal = piece.deal
        if deal.is_builtin_market:
            raise interface.Refused(
                f"piece {piece.piece.cid} is of deal {deal.deal_id} of the chain's own market, whose deals this manager"
                " does not seal: it takes data with an allocation"
            )
        client, name = client_of(piece), f"allocation {deal.allocation_id} of {deal.client}"
        allocation = await view.allocation(client, deal.allocation_id)
        if allocation is None:
            claim = await view.claim(Address.of_id(miner), deal.allocation_id)
            if claim is not None and claim.sector == number:
                continue  # by this very sector
            raise interface.Refused(f"{name} is not on the chain, or claimed already")
        if allocation.provider != miner:
            raise interface.Refused(f"{name} is for the provider f0{allocation.provider}")
        if (allocation.data, allocation.size_bytes) != (piece.piece.cid, piece.piece.size_bytes):
            raise interface.Refused(
                f"{name} is of {allocation.size_bytes} bytes {allocation.data}, the piece of"
                f" {piece.piece.size_bytes} bytes {piece.piece.cid}"
            )
        if allocation.expiration <= view.epoch:
            raise interface.Refused(f"{name} has expired at epoch {allocation.expiration}, the head is {view.epoch}")
        found.append(allocation)
    return found


def client_of(piece: seal.SectorPiece) -> Address:
    """Return the client of a piece with an allocation.

    Raises:
        interface.Refused: It is not known.
    """
    try:
        return Address.parse(piece.deal.client)
    except (TypeError, ValueError) as error:
        raise interface.Refused(
            f"allocation {piece.deal.allocation_id} of piece {piece.piece.cid} has no client that is an address"
        ) from error


async def of(view: View, miner: Miner, submission: Submission, challenge_delay: int) -> Part:
    """Return what a submission adds to a message.

    Raises:
        Unfit: Nothing.
        errors.NodeError: The node gives no answer.
    """
    try:
        match submission.kind:
            case Kind.PRE_COMMIT:
                return await _pre_commit(view, miner, submission, challenge_delay)
            case Kind.PROOF:
                return await _proof(view, miner, submission, challenge_delay)
            case Kind.NON_INTERACTIVE:
                return await _non_interactive(view, miner, submission)
            case Kind.UPDATE:
                return await _update(view, miner, submission)
    except interface.Refused as error:
        raise Unfit(State.REFUSED, str(error)) from error


async def _pre_commit(view: View, miner: Miner, submission: Submission, challenge_delay: int) -> Part:
    content, sector = submission.content, submission.sector
    sealed_cid = commitments.sealed_cid(content.comm_r)
    pre = await view.pre_committed(miner.address, sector.number)
    if pre is not None and (pre.info.sealed_cid, pre.info.seal_rand_epoch) == (sealed_cid, content.ticket.epoch):
        raise Unfit(State.LANDED, "it is on the chain already")
    if content.ticket.epoch < view.epoch - lifetimes.TICKET_MAX_AGE:
        raise Unfit(
            State.FAILED, f"its ticket of epoch {content.ticket.epoch} is too old at {view.epoch}: it needs another one"
        )
    claimed = to_claim(submission.pieces, miner.liberties)
    wanted = await allocations(view, sector.miner, sector.number, claimed)
    size = submission.proof_type.size
    info = sealing.PreCommit(
        seal_proof=int(submission.proof_type),
        sector_number=sector.number,
        sealed_cid=sealed_cid,
        seal_rand_epoch=content.ticket.epoch,
        expiration=lifetimes.expiration(
            view.epoch,
            lifetimes.prove_by(view.epoch, challenge_delay),
            lifetime_days=miner.config.sector.lifetime_days,
            terms=[(one.term_min, one.term_max) for one in wanted],
        ),
        unsealed_cid=(
            None if content.comm_d == commitments.zero_comm_d(size) else commitments.unsealed_cid(content.comm_d)
        ),
    )
    deposit = await view.deposit(miner.address, info) if miner.sends_fund(Kind.PRE_COMMIT) else Amount(0)
    return Part(struct=info, value=deposit)


async def _proof(view: View, miner: Miner, submission: Submission, challenge_delay: int) -> Part:
    number = submission.sector.number
    pre = await view.pre_committed(miner.address, number)
    if pre is None:
        if await view.sector(miner.address, number) is not None:
            raise Unfit(State.LANDED, "the sector is proven already")
        raise Unfit(State.FAILED, "the chain has no pre-commit of it, or not any more")
    pieces = await _manifest(view, miner, submission)
    value = Amount(0)
    if miner.sends_fund(Kind.PROOF):
        pledge = await view.pledge(
            pre.info.expiration - view.epoch, int(submission.proof_type.size), _verified_bytes(pieces)
        )
        value = Amount(max(0, pledge - pre.deposit))
    return Part(
        struct=sealing.Activation(number, pieces),
        value=value,
        proof=submission.content.proof,
        comm_r=commitments.commitment_of(pre.info.sealed_cid),
        seed=await view.seed(miner.address, pre.epoch + challenge_delay),
    )


async def _non_interactive(view: View, miner: Miner, submission: Submission) -> Part:
    sector, content = submission.sector, submission.content
    sealed_cid = commitments.sealed_cid(content.pre_commit.comm_r)
    on_chain = await view.sector(miner.address, sector.number)
    if on_chain is not None and on_chain.sealed_cid == sealed_cid:
        raise Unfit(State.LANDED, "the sector is proven already")
    expiration = lifetimes.expiration(view.epoch, view.epoch, lifetime_days=miner.config.sector.lifetime_days)
    value = Amount(0)
    if miner.sends_fund(Kind.NON_INTERACTIVE):
        value = await view.pledge(expiration - view.epoch, int(submission.proof_type.size), 0)
    # By the miner's offset: of a miner without sectors the node reports a deadline that stands still.
    cycle = layout.Cycle.of(await view.period(miner.address), view.epoch)
    struct = sealing.NonInteractive(
        sealing_number=sector.number,
        sealer_id=miner.id,
        sealed_cid=sealed_cid,
        sector_number=sector.number,
        seal_rand_epoch=content.pre_commit.ticket.epoch,
        expiration=expiration,
    )
    deadline = (cycle.current + miner.config.sealing.sealing_sector_deadline_delay_ni) % cycle.count
    return Part(struct=struct, value=value, proof=content.proof, deadline=deadline)


async def _update(view: View, miner: Miner, submission: Submission) -> Part:
    number, content = submission.sector.number, submission.content
    try:
        location = await view.location(miner.address, number)
    except errors.NotThere as error:
        raise Unfit(State.REFUSED, f"the sector is not on the chain: {error.text}") from error
    sector = await view.sector(miner.address, number)
    if sector is None:
        raise Unfit(State.REFUSED, "the sector is not on the chain")
    new_cid = commitments.sealed_cid(content.comm_r)
    if sector.sealed_cid == new_cid:
        raise Unfit(State.LANDED, "the sector is upgraded already")
    if not miner.liberties.needs_no_posts:
        await _check_time(view, miner, number, location)
    pieces = await _manifest(view, miner, submission)
    value = Amount(0)
    if miner.sends_fund(Kind.UPDATE):
        pledge = await view.pledge(
            sector.expiration - view.epoch, int(submission.proof_type.size), _verified_bytes(pieces)
        )
        value = Amount(max(0, pledge - sector.pledge))
    struct = sealing.Update(
        sector_number=number,
        deadline=location.deadline,
        partition=location.partition,
        new_sealed_cid=new_cid,
        pieces=pieces,
    )
    return Part(struct=struct, value=value, proof=content.proof)


async def _check_time(view: View, miner: Miner, number: int, location: miners.Location) -> None:
    """Raise if the actor would refuse an upgrade now and take it later.

    Raises:
        Unfit: It waits.
    """
    period = await view.period(miner.address)
    if location.deadline in {period.index, (period.index + 1) % period.deadlines}:
        raise Unfit(State.WAITING, f"its deadline {location.deadline} is open or the next one: it goes after that")
    partitions = await view.partitions(miner.address, location.deadline)
    if number not in partitions[location.partition].active:
        raise Unfit(State.WAITING, "only an active sector can be upgraded: it goes after its next window PoSt")


async def _manifest(view: View, miner: Miner, submission: Submission) -> Rows[sealing.Piece]:
    sector = submission.sector
    claimed = to_claim(submission.pieces, miner.liberties)
    await allocations(view, sector.miner, sector.number, claimed)
    made = []
    for piece in submission.pieces:
        if piece.is_filler:
            continue
        key: sealing.AllocationKey | None = None
        if piece in claimed:
            client = await view.id_of(client_of(piece))
            key = sealing.AllocationKey(client.id, piece.deal.allocation_id)
        made.append(sealing.Piece(cid=piece.piece.cid, size_bytes=piece.piece.size_bytes, allocation=key))
    return Rows(made)


def _verified_bytes(pieces: Sequence[sealing.Piece]) -> int:
    return sum(piece.size_bytes for piece in pieces if piece.allocation is not None)


async def bundle(
    miner: Miner, kind: Kind, proof: SealProof, parts: Sequence[Part], aggregator: interface.Aggregator | None
) -> Bundle:
    """Put parts of one kind of proof into a message; from four proofs on as an aggregate, if there is somebody to make it."""
    structs, sealing_config = Rows([part.struct for part in parts]), miner.config.sealing
    params: Any
    match kind:
        case Kind.PRE_COMMIT:
            params = sealing.PreCommitSectorBatch2(structs)
        case Kind.PROOF:
            aggregate = await _aggregate(proof, parts, aggregator)
            params = sealing.ProveCommitSectors3(
                activations=structs,
                sector_proofs=Rows([] if aggregate else [Blob(part.proof) for part in parts]),
                aggregate_proof=aggregate,
                aggregate_proof_type=sealing.SNARKPACK_V2 if aggregate else None,
                require_activation_success=sealing_config.require_activation_success,
                require_notification_success=sealing_config.require_notification_success,
            )
        case Kind.NON_INTERACTIVE:
            (part,) = parts  # whose proof is an aggregate already; it cannot be put together with another one
            params = sealing.ProveCommitSectorsNI(
                sectors=structs,
                aggregate_proof=Blob(part.proof),
                seal_proof_type=int(proof),
                aggregate_proof_type=sealing.SNARKPACK_V2,
                proving_deadline=part.deadline,
                require_activation_success=sealing_config.require_activation_success,
            )
        case Kind.UPDATE:
            params = sealing.ProveReplicaUpdates3(
                updates=structs,
                sector_proofs=Rows([Blob(part.proof) for part in parts]),
                update_proofs_type=list(SectorSize).index(proof.size),
                require_activation_success=sealing_config.require_activation_success_update,
                require_notification_success=sealing_config.require_notification_success_update,
            )
    method = METHODS[kind]
    return Bundle(
        to=miner.address,
        method=method,
        params=bytes(method.params_of(params)),
        value=Amount(sum(part.value for part in parts)),
    )


async def _aggregate(proof: SealProof, parts: Sequence[Part], aggregator: interface.Aggregator | None) -> Blob:
    if aggregator is None or len(parts) < AGGREGATED_FROM:
        return Blob()
    claim = tasks.AggregateSeals(
        registered_proof=proof.proof_name,
        aggregation="SnarkPackV2",
        comm_rs=[codec.Bytes32(part.comm_r) for part in parts],
        seeds=[codec.Bytes32(part.seed) for part in parts],
        proofs=[part.proof for part in parts],
    )
    try:
        return Blob(await aggregator.aggregate(claim))
    except (Unverifiable, interface.Refused) as error:
        log.warning("proofs go one by one, which costs more gas", sectors=len(parts), why=str(error))
        return Blob()
