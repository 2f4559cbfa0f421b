"""Upgrade sectors with data: the proof shows that the new replica is the old one with the data in it."""

from damocles.chain import exits
from damocles.chain.sealing import BatchReturn, ProveReplicaUpdates3, Update
from damocles.devnode import rules
from damocles.devnode.actors import activation, deadlines, pieces
from damocles.devnode.actors.draft import Abort, Draft, refuse
from damocles.devnode.actors.pieces import Data, Wanted
from damocles.devnode.state import Sector, with_
from damocles.wire import commitments, tasks
from damocles.wire.codec import NumberList
from damocles.wire.sectors import SealProof, SectorSize

_GAS = 10_000_000
_PROOF_GAS = 42_500_000


def prove_updates(draft: Draft, params: ProveReplicaUpdates3) -> BatchReturn:
    """Put data into sectors whose upgrades are proved. Aggregates of upgrades are not taken by the chain either."""
    if params.aggregate_proof or params.aggregate_proof_type is not None:
        refuse("aggregate update proofs not supported")
    if not params.updates:
        refuse("no sectors to update")
    if len(params.updates) > rules.BATCH_LIMIT:
        refuse(f"too many updates ({len(params.updates)} > {rules.BATCH_LIMIT})")
    if len(params.updates) != len(params.sector_proofs):
        refuse(f"mismatched lengths: {len(params.updates)} sector updates, {len(params.sector_proofs)} proofs")
    expected = list(SectorSize).index(SectorSize(draft.miner.sector_bytes))
    if params.update_proofs_type != expected:
        refuse(f"unsupported update proof type {params.update_proofs_type}, expected {expected}")
    draft.caller_is_of_miner()
    codes: list[int] = []
    for update, proof in zip(params.updates, params.sector_proofs, strict=True):
        code, text = _verdict(
            draft, update, bytes(proof), codes_seen={one.sector_number for one in params.updates[: len(codes)]}
        )
        if code and params.require_activation_success:
            refuse(f"invalid update {len(codes)} while requiring activation success: {text}", code)
        codes.append(code)
    if all(codes):
        refuse("no valid updates")
    places = [at for at, code in enumerate(codes) if not code]
    batch = [_wanted(draft, params.updates[at]) for at in places]
    data = pieces.activate(draft, batch, required=params.require_activation_success)
    notified = []
    for at, wanted, one in zip(places, batch, data, strict=True):
        if isinstance(one, int):
            codes[at] = one
        else:
            _upgrade(draft, params.updates[at], one)
            notified.append(wanted)
    draft.gas += _GAS * len(notified)
    pieces.notify(draft, notified, required=params.require_notification_success)
    return activation.batch_return(codes)


def _verdict(draft: Draft, update: Update, proof: bytes, *, codes_seen: set[int]) -> tuple[int, str]:
    number = update.sector_number
    sector = draft.miner.sectors.get(number)
    if number in codes_seen:
        return exits.ILLEGAL_ARGUMENT, f"duplicate sector {number}"
    if sector is None:
        return exits.NOT_FOUND, f"sector not found: {number}"
    try:
        partition = deadlines.find(draft, update.deadline, update.partition)
    except Abort as abort:
        return abort.exit_code, abort.text
    if number not in partition.active:
        return exits.ILLEGAL_ARGUMENT, f"sector {number} isn't active"
    if not deadlines.is_mutable(draft, update.deadline):
        return exits.ILLEGAL_ARGUMENT, f"cannot upgrade sectors in immutable deadline {update.deadline}"
    if sector.data_bytes:
        return exits.ILLEGAL_ARGUMENT, f"cannot update sector {number} with non-zero data"
    if not update.pieces:
        return exits.ILLEGAL_ARGUMENT, f"no pieces for sector {number}"
    try:
        new = commitments.commitment_of(update.new_sealed_cid)
    except ValueError:
        return exits.ILLEGAL_ARGUMENT, "new sealed CID had wrong prefix"
    size = draft.miner.sector_bytes
    claim = tasks.SnapVerify(
        registered_proof=SealProof(sector.seal_proof).update_name,
        proof=NumberList(proof),
        comm_r_old=commitments.commitment_of(sector.sealed_cid),
        comm_r_new=new,
        comm_d_new=commitments.comm_d(pieces.padded(update.pieces, size), size),
    )
    if not draft.verify(claim, _PROOF_GAS):
        return exits.ILLEGAL_ARGUMENT, f"invalid update proof for sector {number}"
    return exits.OK, ""


def _wanted(draft: Draft, update: Update) -> Wanted:
    return Wanted(
        number=update.sector_number,
        expiration=draft.miner.sectors[update.sector_number].expiration,
        pieces=update.pieces,
        declared=pieces.comm_d(update.pieces, draft.miner.sector_bytes),
    )


def _upgrade(draft: Draft, update: Update, data: Data) -> None:
    miner = draft.miner
    old = miner.sectors[update.sector_number]
    fresh = activation.new_sector(
        draft,
        number=old.number,
        seal_proof=old.seal_proof,
        sealed_cid=update.new_sealed_cid,
        unsealed_cid=pieces.comm_d(update.pieces, draft.miner.sector_bytes),
        expiration=old.expiration,
        data=data,
    )
    more = max(0, fresh.pledge - old.pledge)
    if miner.available < more:
        refuse(f"insufficient funds for new initial pledge requirement {more}", exits.INSUFFICIENT_FUNDS)
    new: Sector = with_(
        fresh,
        activation=old.activation,
        pledge=max(fresh.pledge, old.pledge),
        key_cid=old.key_cid or old.sealed_cid,
    )
    draft.change(pledge=miner.pledge + more, sectors={**miner.sectors, old.number: new})
