"""Proofs of sectors: the promised ones, single and aggregated, and those without a promise."""

from collections.abc import Sequence

from damocles.chain import cbor, exits
from damocles.chain.addresses import Address
from damocles.chain.sealing import (
    SNARKPACK_V2,
    Activation,
    BatchReturn,
    Failure,
    NonInteractive,
    ProveCommitSectors3,
    ProveCommitSectorsNI,
)
from damocles.devnode import rules
from damocles.devnode.actors import deadlines, pieces, sealing
from damocles.devnode.actors.claims import Aggregate, Member
from damocles.devnode.actors.draft import Draft, refuse
from damocles.devnode.actors.pieces import Data, Wanted
from damocles.devnode.state import PreCommitted, Sector
from damocles.wire import commitments, tasks
from damocles.wire.codec import Bytes32, Rows
from damocles.wire.sectors import SealProof, prover_id

SEAL, SEED = 5, 6  # domains of randomness
_GAS = 10_000_000
_PROOF_GAS = 42_500_000
_AGGREGATE_GAS = 107_000_000
_NO_SEED = bytes([1]) * 32
_NI_LIMIT = 65
_NI_LOOKBACK = 180 * rules.EPOCHS_IN_DAY


def prove_commit(draft: Draft, params: ProveCommitSectors3) -> BatchReturn:
    """Activate pre-committed sectors whose proofs are valid."""
    activations = params.activations
    if bool(params.sector_proofs) == bool(params.aggregate_proof):
        refuse("exactly one of sector proofs or aggregate proof must be non-empty")
    if not activations:
        refuse("no sectors to prove")
    if params.sector_proofs:
        if len(params.sector_proofs) != len(activations):
            refuse(f"mismatched lengths: {len(activations)} sector activations, {len(params.sector_proofs)} proofs")
        if params.aggregate_proof_type is not None:
            refuse("aggregate proof type must be null with batched proofs")
    else:
        check_aggregate(len(activations), params.aggregate_proof_type)
    draft.caller_is_of_miner()
    found = [_pre_committed(draft, activation) for activation in activations]
    members = [member_of(draft, promised) for promised in found]
    if params.sector_proofs:
        valid = _valid_ones(draft, found, members, params)
    else:
        claim = Aggregate(
            registered_proof=SealProof(found[0].info.seal_proof).proof_name,
            members=tuple(members),
            proof=bytes(params.aggregate_proof),
        )
        if not draft.verify(claim, _AGGREGATE_GAS):
            refuse("aggregate seal verify failed: invalid aggregate")
        valid = [True] * len(found)
    return _activate(draft, activations, found, valid, params)


def check_aggregate(count: int, kind: int | None, least: int = rules.AGGREGATE_LEAST) -> None:
    """Refuse too few or too many sectors, or another kind of aggregate, before anything is verified."""
    if kind != SNARKPACK_V2:
        refuse("aggregate proof type must be SnarkPackV2")
    if count < least:
        refuse(f"too few sectors addressed, addressed {count} want >= {least}")
    if count > rules.AGGREGATE_MOST:
        refuse(f"too many sectors addressed, addressed {count} want <= {rules.AGGREGATE_MOST}")


def _pre_committed(draft: Draft, activation: Activation) -> PreCommitted:
    found = draft.miner.pre_committed.get(activation.sector_number)
    if found is None:
        refuse(f"loading precommits: sector {activation.sector_number} not found", exits.NOT_FOUND)
    if draft.epoch <= found.epoch + draft.rules.challenge_delay:
        refuse("too early to prove sector", exits.FORBIDDEN)
    if draft.epoch > found.epoch + sealing.prove_within(draft):
        refuse(f"commitment proof for {activation.sector_number} too late at {draft.epoch}")
    return found


def entropy_of(miner: int) -> bytes:
    """Return what a miner's randomness is drawn with: the CBOR of its address."""
    return cbor.encode(Address.of_id(miner).to_cbor())


def member_of(draft: Draft, found: PreCommitted) -> Member:
    """Return what a promised sector's proof has to prove."""
    info, entropy = found.info, entropy_of(draft.receiver)
    seed_epoch = found.epoch + draft.rules.challenge_delay
    return Member(
        comm_r=commitments.commitment_of(info.sealed_cid),
        comm_d=Bytes32(sealing.comm_d_of(draft, info.unsealed_cid)),
        prover_id=Bytes32(prover_id(draft.receiver)),
        number=info.sector_number,
        ticket=Bytes32(draft.around.randomness.tickets(SEAL, info.seal_rand_epoch, entropy)),
        seed=Bytes32(draft.around.randomness.beacon(SEED, seed_epoch, entropy)),
    )


def claim_of(seal_proof: int, member: Member, proof: bytes) -> tasks.VerifySeal:
    """Return the claim that a proof is one of a sector."""
    return tasks.VerifySeal(
        registered_proof=SealProof(seal_proof).proof_name,
        comm_r=member.comm_r,
        comm_d=member.comm_d,
        prover_id=member.prover_id,
        sector_id=member.number,
        ticket=member.ticket,
        seed=member.seed,
        proof=proof,
    )


def _valid_ones(
    draft: Draft, found: Sequence[PreCommitted], members: Sequence[Member], params: ProveCommitSectors3
) -> list[bool]:
    valid = [
        draft.verify(claim_of(promised.info.seal_proof, member, bytes(proof)), _PROOF_GAS)
        for promised, member, proof in zip(found, members, params.sector_proofs, strict=True)
    ]
    if params.require_activation_success and not all(valid):
        bad = found[valid.index(False)].info.sector_number
        shown = ", ".join(str(one).lower() for one in valid)
        refuse(f"invalid proof for sector {bad} while requiring activation success: [{shown}]")
    if not any(valid):
        refuse("no valid proofs specified")
    return valid


def _activate(
    draft: Draft,
    activations: Sequence[Activation],
    found: Sequence[PreCommitted],
    valid: Sequence[bool],
    params: ProveCommitSectors3,
) -> BatchReturn:
    codes = [exits.OK if one else exits.ILLEGAL_ARGUMENT for one in valid]
    places = [at for at, one in enumerate(valid) if one]
    batch = [
        Wanted(
            number=found[at].info.sector_number,
            expiration=found[at].info.expiration,
            pieces=activations[at].pieces,
            declared=found[at].info.unsealed_cid,
        )
        for at in places
    ]
    data = pieces.activate(draft, batch, required=params.require_activation_success)
    made, notified = [], []
    for at, wanted, one in zip(places, batch, data, strict=True):
        if isinstance(one, int):
            codes[at] = one
            continue
        made.append(_sector(draft, found[at], one))
        notified.append(wanted)
    draft.gas += _GAS * len(made)
    released = sum(draft.miner.pre_committed[sector.number].deposit for sector in made)
    kept = {number: promised for number, promised in draft.miner.pre_committed.items()
            if number not in {sector.number for sector in made}}  # fmt: skip
    draft.change(pre_committed=kept, deposits=draft.miner.deposits - released)
    add_sectors(draft, made)
    pieces.notify(draft, notified, required=params.require_notification_success)
    return batch_return(codes)


def batch_return(codes: Sequence[int]) -> BatchReturn:
    """Return what a batch came to, by the exit codes of its members."""
    failures = Rows(Failure(at, code) for at, code in enumerate(codes) if code)
    return BatchReturn(len(codes) - len(failures), failures)


def _sector(draft: Draft, found: PreCommitted, data: Data) -> Sector:
    info = found.info
    return new_sector(
        draft,
        number=info.sector_number,
        seal_proof=info.seal_proof,
        sealed_cid=info.sealed_cid,
        unsealed_cid=info.unsealed_cid,
        expiration=info.expiration,
        data=data,
    )


def new_sector(draft: Draft, *, expiration: int, data: Data, **fields: object) -> Sector:
    """Return a sector that begins now, with the pledge and weights that follow from its data."""
    size, life = draft.miner.sector_bytes, expiration - draft.epoch
    power = size + (rules.VERIFIED_FACTOR - 1) * data.verified_bytes
    return Sector(
        activation=draft.epoch,
        power_base_epoch=draft.epoch,
        expiration=expiration,
        pledge=rules.pledge(power),
        daily_fee=rules.daily_fee(power),
        data_bytes=data.plain_bytes + data.verified_bytes,
        verified_bytes=data.verified_bytes,
        deal_weight=data.plain_bytes * life,
        verified_deal_weight=data.verified_bytes * life,
        **fields,  # type: ignore[arg-type]
    )


def add_sectors(draft: Draft, made: Sequence[Sector], *, deadline: int | None = None) -> None:
    """Take the pledges of new sectors and give them places."""
    pledge = sum(sector.pledge for sector in made)
    miner = draft.miner
    if miner.available < pledge:
        have, need = (f"{amount / 10**18:.18f}" for amount in (miner.available, pledge))
        refuse(
            f"insufficient funds for aggregate initial pledge requirement {need}, available: {have}",
            exits.INSUFFICIENT_FUNDS,
        )
    draft.change(pledge=miner.pledge + pledge, sectors=miner.sectors | {sector.number: sector for sector in made})
    for sector in made:
        deadlines.assign(draft, sector.number, deadline)


def prove_non_interactive(draft: Draft, params: ProveCommitSectorsNI) -> BatchReturn:
    """Activate sectors whose proofs need neither promise nor seed, all into one deadline.

    The aggregate of a single sector is its own proof.
    """
    if not params.sectors:
        refuse("no sectors to prove")
    if len(params.sectors) > _NI_LIMIT:
        refuse(f"too many sectors addressed, addressed {len(params.sectors)} want <= {_NI_LIMIT}")
    if params.aggregate_proof_type != SNARKPACK_V2:
        refuse("aggregate proof type must be SnarkPackV2")
    proof = params.seal_proof_type
    if (
        not 0 <= proof < 20
        or not SealProof(proof).is_non_interactive
        or SealProof(proof).size != draft.miner.sector_bytes
    ):
        refuse(f"unsupported seal proof type {proof}")
    if params.proving_deadline >= rules.DEADLINES:
        refuse(f"proving deadline index {params.proving_deadline} invalid")
    draft.caller_is_of_miner()
    if not deadlines.is_mutable(draft, params.proving_deadline):
        refuse(f"proving deadline {params.proving_deadline} must not be the current or next deadline")
    numbers = {sector.sector_number for sector in params.sectors}
    if len(numbers) != len(params.sectors):
        refuse("duplicate sector number")
    members = [_non_interactive(draft, sector) for sector in params.sectors]
    sealing.allocate(draft, numbers)
    content = bytes(params.aggregate_proof)
    if len(members) == 1:
        is_valid = draft.verify(claim_of(proof, members[0], content), _AGGREGATE_GAS)
    else:
        claim = Aggregate(registered_proof=SealProof(proof).proof_name, members=tuple(members), proof=content)
        is_valid = draft.verify(claim, _AGGREGATE_GAS)
    if not is_valid:
        refuse("aggregate seal verify failed: invalid aggregate")
    made = [
        new_sector(
            draft,
            number=sector.sector_number,
            seal_proof=proof,
            sealed_cid=sector.sealed_cid,
            unsealed_cid=None,
            expiration=sector.expiration,
            data=Data(),
        )
        for sector in params.sectors
    ]
    draft.gas += _GAS * len(made)
    add_sectors(draft, made, deadline=params.proving_deadline)
    return batch_return([exits.OK] * len(made))


def _non_interactive(draft: Draft, sector: NonInteractive) -> Member:
    sealing.check_ticket(draft, sector.seal_rand_epoch, _NI_LOOKBACK)
    sealing.check_expiration(draft.epoch, draft.epoch, sector.expiration)
    if sector.sealer_id != draft.receiver:
        refuse(f"sealer ID {sector.sealer_id} must match receiver {draft.receiver}")
    try:
        comm_r = commitments.commitment_of(sector.sealed_cid)
    except ValueError:
        refuse("sealed CID had wrong prefix")
    ticket = draft.around.randomness.tickets(SEAL, sector.seal_rand_epoch, entropy_of(sector.sealer_id))
    return Member(
        comm_r=comm_r,
        comm_d=commitments.zero_comm_d(draft.miner.sector_bytes),
        prover_id=Bytes32(prover_id(sector.sealer_id)),
        number=sector.sealing_number,
        ticket=Bytes32(ticket),
        seed=Bytes32(_NO_SEED),
    )
