"""What is late of what has to be on the chain by an epoch, in words for a person. Pure."""

from collections.abc import Iterable

from damocles.manager.chain import lifetimes
from damocles.manager.chain.submissions import Submission
from damocles.wire.sectors import SectorID

# So long before the last epoch that will do, it is said that something is late.
_MESSAGE_EPOCHS = lifetimes.DAY_EPOCHS // 4
_PROOF_EPOCHS = 3 * lifetimes.DAY_EPOCHS


def proofs(unproven: Iterable[tuple[SectorID, int]], head: int, challenge_delay: int) -> dict[str, str]:
    """Return which sectors lose the deposit of their pre-commit soon, by what they are; with the epoch of each pre-commit."""
    said = {}
    for sector, epoch in unproven:
        last_epoch = lifetimes.prove_by(epoch, challenge_delay)
        if last_epoch - head <= _PROOF_EPOCHS:
            said[f"pre-commit of {sector}"] = (
                f"it is not proven, and its deposit is burnt at epoch {last_epoch}; see what its thread waits for:"
                " damocles-manager util worker list --wide"
            )
    return said


def messages(unfinished: Iterable[Submission], head: int) -> dict[str, str]:
    """Return which submissions have little time left, by what they are."""
    return {
        f"{one.kind} of {one.sector}": f"it has to be on the chain by epoch {one.last_epoch}, and is {one.state}"
        for one in unfinished
        if one.last_epoch is not None and one.last_epoch - head <= _MESSAGE_EPOCHS
    }
