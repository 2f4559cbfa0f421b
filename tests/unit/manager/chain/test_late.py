"""What is said of submissions and pre-commits that have little time left."""

from damocles.manager.chain import late, lifetimes
from damocles.manager.chain.submissions import Kind, State, Submission
from damocles.wire.codec import CID
from damocles.wire.sectors import SealProof, SectorID

SECTOR = SectorID(10000, 1)


def submission(last_epoch: int | None) -> Submission:
    """Return a pre-commit that has to be executed by an epoch."""
    return Submission(
        id=1,
        cid=CID("bafy"),
        kind=Kind.PRE_COMMIT,
        sector=SECTOR,
        proof_type=SealProof(5),
        content=None,
        pieces=(),
        since_epoch=0,
        last_epoch=last_epoch,
        state=State.WAITING,
        order_id=None,
        reason="",
        landed_epoch=None,
    )


def test_a_message_is_late_in_the_last_quarter_of_a_day() -> None:
    """Before that nothing is said, nor of one that has no last epoch yet."""
    quarter = lifetimes.DAY_EPOCHS // 4
    assert {} == late.messages([submission(None), submission(1000)], 1000 - quarter - 1)
    (said,) = late.messages([submission(1000)], 1000 - quarter).items()
    assert (f"pre-commit of {SECTOR}", "it has to be on the chain by epoch 1000, and is waiting") == said


def test_a_pre_commit_without_a_proof_is_late_in_its_last_three_days() -> None:
    """The line names the epoch at which the deposit is burnt, which moves with the challenge delay."""
    burnt = lifetimes.prove_by(500, 150)
    days = 3 * lifetimes.DAY_EPOCHS
    assert {} == late.proofs([(SECTOR, 500)], burnt - days - 1, 150)
    assert {} == late.proofs([(SECTOR, 500)], burnt - days - 1, 151)
    (said,) = late.proofs([(SECTOR, 500)], burnt - days, 150).items()
    assert (f"pre-commit of {SECTOR}", True) == (said[0], f"its deposit is burnt at epoch {burnt};" in said[1])
