"""The handler of the plan `niporep` that is its own; the others are those of `sealer`."""

from damocles.sealing import events, failures
from damocles.worker.plans.job import Job


async def no_deals(job: Job) -> events.Event:
    """Go on without deals. A sector of another family of proofs needs a pre-commit: it is aborted."""
    proof = job.sector.proof_type
    if not proof.is_non_interactive:
        raise failures.Abort(
            f"{job.id} is to be sealed as {proof}, which plan niporep cannot do: the manager has to hand it to a sealer"
        )
    return events.AcquireDeals(None)


HANDLERS = {no_deals.__name__: no_deals}
