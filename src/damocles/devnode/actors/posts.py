"""Window PoSts. They are believed until somebody disputes them, which nobody does here; those that recover are verified."""

from damocles.chain import exits
from damocles.chain.bitfields import Bitfield
from damocles.chain.sealing import SubmitWindowedPoSt
from damocles.devnode import rules
from damocles.devnode.actors import deadlines
from damocles.devnode.actors.activation import entropy_of
from damocles.devnode.actors.draft import Draft, refuse, shown
from damocles.devnode.state import NOBODY, Partition, with_
from damocles.wire import commitments, tasks
from damocles.wire.codec import Bytes32
from damocles.wire.sectors import SealProof, SectorSize

WINDOW, COMMIT = 4, 9  # domains of randomness
_GAS = 121_600_000


def submit(draft: Draft, params: SubmitWindowedPoSt) -> None:
    """Take partitions of the open deadline for proved."""
    miner = draft.miner
    if not params.partitions or len(params.partitions) > rules.POSTED_PARTITIONS_LIMIT:
        refuse(f"{len(params.partitions)} partitions in one PoSt: 1 to {rules.POSTED_PARTITIONS_LIMIT} are expected")
    if len(params.proofs) != 1:
        refuse(f"expected exactly one proof, got {len(params.proofs)}")
    if params.proofs[0].type != miner.window_post_proof:
        refuse(f"proof type {params.proofs[0].type} not allowed")
    draft.caller_is_of_miner()
    now = deadlines.window(draft.rules, miner, draft.epoch)
    if params.deadline != now.index:
        refuse(f"invalid deadline {params.deadline} at epoch {draft.epoch}, expected {now.index}")
    commit = params.chain_commit_epoch
    if commit < now.challenge:
        refuse(f"expected chain commit epoch {commit} to be after {now.challenge}")
    if commit >= draft.epoch:
        refuse(f"chain commit epoch {commit} must be less than the current epoch {draft.epoch}")
    if draft.around.randomness.tickets(COMMIT, commit, b"") != params.chain_commit_rand:
        refuse("post commit randomness mismatched")
    deadline = miner.deadlines[now.index]
    failed = f"failed to process post submission for deadline {now.index}"
    proved: list[int] = []
    recovered = NOBODY
    partitions = list(deadline.partitions)
    for posted in params.partitions:
        at = posted.index
        if at >= len(partitions):
            refuse(f"{failed}: no such partition {at}", exits.NOT_FOUND)
        if at in deadline.posted:
            refuse(f"{failed}: partition already proven: {shown(Bitfield([at]))}")
        partition = _with_skipped(partitions[at], posted.skipped, draft.epoch)
        recovered |= partition.recovering
        counted = partition.live - partition.faulty | partition.recovering
        proved.extend(counted)
        since = {
            number: epoch for number, epoch in partition.faulty_since.items() if number not in partition.recovering
        }
        partitions[at] = with_(
            partition,
            faulty=partition.faulty - partition.recovering,
            recovering=NOBODY,
            unproven=NOBODY,
            faulty_since=since,
        )
    if not proved:
        refuse("cannot prove partitions with no active sectors")
    if recovered and not draft.verify(_claim(draft, proved, params, now.challenge), _GAS):
        refuse("invalid post was submitted")
    posted_now = Bitfield(posted.index for posted in params.partitions)
    deadlines.put(draft, now.index, with_(deadline, partitions=tuple(partitions), posted=deadline.posted | posted_now))


def _with_skipped(partition: Partition, skipped: Bitfield, epoch: int) -> Partition:
    if skipped - partition.all:
        refuse("skipped faults contain sectors outside partition")
    return deadlines.faulted(partition, skipped, epoch)


def _claim(draft: Draft, numbers: list[int], params: SubmitWindowedPoSt, challenge: int) -> tasks.VerifyWindowPoSt:
    sectors = draft.miner.sectors
    return tasks.VerifyWindowPoSt(
        miner_id=draft.receiver,
        proof_type=SealProof.of(SectorSize(draft.miner.sector_bytes)).window_name,
        replicas=[
            tasks.PublicReplica(number, commitments.commitment_of(sectors[number].sealed_cid))
            for number in sorted(numbers)
        ],
        seed=Bytes32(draft.around.randomness.beacon(WINDOW, challenge, entropy_of(draft.receiver))),
        proof=bytes(params.proofs[0].proof),
    )
