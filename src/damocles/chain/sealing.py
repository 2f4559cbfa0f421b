"""Parameters of what brings sectors onto the chain: pre-commits, proofs, upgrades, window PoSts.

Fields and their order are those of actors v18 and v19. Several lists that may be empty mean something only together:
exactly one of single proofs and an aggregate is given, and an absent aggregate is an empty byte string, never null.
"""

from msgspec import field

from damocles.chain.addresses import Address
from damocles.chain.bitfields import Bitfield
from damocles.chain.tuples import Int, Tuple, Uint
from damocles.wire.codec import CID, Blob, Rows

SNARKPACK_V2 = 1  # the only kind of aggregate that actors still take
BATCH_LIMIT = 819  # sectors of the largest batch, that of an aggregate


class PreCommit(Tuple, frozen=True, kw_only=True):
    """A sector to pre-commit. `unsealed_cid` is null for one without data; deals are of old, and none are given."""

    seal_proof: Int = field(name="SealProof")
    sector_number: Uint = field(name="SectorNumber")
    sealed_cid: CID = field(name="SealedCID")
    seal_rand_epoch: Int = field(name="SealRandEpoch")
    deal_ids: Rows[Uint] = field(name="DealIDs", default=Rows())
    expiration: Int = field(name="Expiration")
    unsealed_cid: CID | None = field(name="UnsealedCid", default=None)


class PreCommitSectorBatch2(Tuple, frozen=True):
    """Pre-commit sectors, up to 256 of them."""

    sectors: Rows[PreCommit] = field(name="Sectors")


class AllocationKey(Tuple, frozen=True):
    """An allocation of verified data to claim: the actor id of its client, and its number."""

    client: Uint = field(name="Client")
    id: Uint = field(name="ID")


class Notification(Tuple, frozen=True):
    """An actor to be told of a piece, such as the market (`f05`)."""

    address: Address = field(name="Address")
    payload: Blob = field(name="Payload")


class Piece(Tuple, frozen=True, kw_only=True):
    """A piece in a sector, in padded bytes."""

    cid: CID = field(name="CID")
    size_bytes: Uint = field(name="Size")
    allocation: AllocationKey | None = field(name="VerifiedAllocationKey", default=None)
    notify: Rows[Notification] = field(name="Notify", default=Rows())


class Activation(Tuple, frozen=True):
    """A pre-committed sector to activate, with its pieces in their order; none for one without data."""

    sector_number: Uint = field(name="SectorNumber")
    pieces: Rows[Piece] = field(name="Pieces", default=Rows())


class ProveCommitSectors3(Tuple, frozen=True, kw_only=True):
    """Prove pre-committed sectors, in the order of their activations: one by one, or four and more as an aggregate."""

    activations: Rows[Activation] = field(name="SectorActivations")
    sector_proofs: Rows[Blob] = field(name="SectorProofs", default=Rows())
    aggregate_proof: Blob = field(name="AggregateProof", default=Blob())
    aggregate_proof_type: Int | None = field(name="AggregateProofType", default=None)
    require_activation_success: bool = field(name="RequireActivationSuccess", default=False)
    require_notification_success: bool = field(name="RequireNotificationSuccess", default=False)


class Update(Tuple, frozen=True, kw_only=True):
    """A sector to upgrade with data, and its place on the chain."""

    sector_number: Uint = field(name="Sector")
    deadline: Uint = field(name="Deadline")
    partition: Uint = field(name="Partition")
    new_sealed_cid: CID = field(name="NewSealedCID")
    pieces: Rows[Piece] = field(name="Pieces", default=Rows())


class ProveReplicaUpdates3(Tuple, frozen=True, kw_only=True):
    """Upgrade sectors with data, up to 256 of them. The type of the proofs precedes that of the aggregate."""

    updates: Rows[Update] = field(name="SectorUpdates")
    sector_proofs: Rows[Blob] = field(name="SectorProofs", default=Rows())
    aggregate_proof: Blob = field(name="AggregateProof", default=Blob())
    update_proofs_type: Int = field(name="UpdateProofsType")
    aggregate_proof_type: Int | None = field(name="AggregateProofType", default=None)
    require_activation_success: bool = field(name="RequireActivationSuccess", default=False)
    require_notification_success: bool = field(name="RequireNotificationSuccess", default=False)


class NonInteractive(Tuple, frozen=True, kw_only=True):
    """A sector with a non-interactive proof. It may have been sealed under another number, by another miner."""

    sealing_number: Uint = field(name="SealingNumber")
    sealer_id: Uint = field(name="SealerID")
    sealed_cid: CID = field(name="SealedCID")
    sector_number: Uint = field(name="SectorNumber")
    seal_rand_epoch: Int = field(name="SealRandEpoch")
    expiration: Int = field(name="Expiration")


class ProveCommitSectorsNI(Tuple, frozen=True, kw_only=True):
    """Bring sectors onto the chain by an aggregate of non-interactive proofs, all into one deadline."""

    sectors: Rows[NonInteractive] = field(name="Sectors")
    aggregate_proof: Blob = field(name="AggregateProof")
    seal_proof_type: Int = field(name="SealProofType")
    aggregate_proof_type: Int = field(name="AggregateProofType")
    proving_deadline: Uint = field(name="ProvingDeadline")
    require_activation_success: bool = field(name="RequireActivationSuccess", default=False)


class PoStPartition(Tuple, frozen=True):
    """A partition that a window PoSt proves, without the sectors that are skipped."""

    index: Uint = field(name="Index")
    skipped: Bitfield = field(name="Skipped", default=Bitfield())


class PoStProof(Tuple, frozen=True):
    """A proof and its kind."""

    type: Int = field(name="PoStProof")
    proof: Blob = field(name="ProofBytes")


class SubmitWindowedPoSt(Tuple, frozen=True, kw_only=True):
    """Prove up to three partitions of the open deadline. The chain looks at the proof only if it recovers sectors."""

    deadline: Uint = field(name="Deadline")
    partitions: Rows[PoStPartition] = field(name="Partitions")
    proofs: Rows[PoStProof] = field(name="Proofs")
    chain_commit_epoch: Int = field(name="ChainCommitEpoch")
    chain_commit_rand: Blob = field(name="ChainCommitRand")


class Failure(Tuple, frozen=True):
    """A failure in a batch: place in the batch, and its exit code."""

    index: Uint = field(name="Idx")
    exit_code: Int = field(name="Code")


class BatchReturn(Tuple, frozen=True):
    """What a batch came to: exit code 0 of a message says nothing about its sectors. Failures have their places."""

    success_count: Uint = field(name="SuccessCount")
    failures: Rows[Failure] = field(name="FailCodes", default=Rows())

    def exit_codes(self) -> list[int]:
        """Return the exit code of each sector in the order of the batch, 0 for those that were done.

        Raises:
            ValueError: The failures do not fit into the batch.
        """
        size = self.success_count + len(self.failures)
        places = [failure.index for failure in self.failures]
        if size > BATCH_LIMIT or places != sorted(set(places)) or any(place >= size for place in places):
            raise ValueError(f"{self.success_count} done and failures at {places}: that is no batch")
        codes = [0] * size
        for failure in self.failures:
            codes[failure.index] = failure.exit_code
        return codes
