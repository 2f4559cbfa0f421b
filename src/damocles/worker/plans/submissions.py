"""What the manager answers to a submission, and what becomes of its message, as the next event or a failure."""

from collections.abc import Awaitable, Callable

import structlog

from damocles.sealing import events, failures
from damocles.sealing.sectors import Sector
from damocles.wire import seal
from damocles.worker.plans.job import Job

log = structlog.get_logger(__name__)


async def submitted(
    submit: Callable[[bool], Awaitable[seal.Submitted]], sector: Sector, *, again: bool
) -> seal.Submitted:
    """Submit; what differs from an earlier submission replaces it if the sector is ours by a claim.

    An earlier attempt, or an earlier run of C2, whose proofs are random, may have submitted other content. Without
    claims nobody knows who is right, and an operator has to look.
    """
    answer = await submit(again)
    if answer.res == seal.SubmitResult.MISMATCHED and not again and sector.claim is not None:
        log.info("replacing the earlier submission", sector=str(sector.id), state=sector.state)
        answer = await submit(True)
    return answer


def check(what: str, answer: seal.Submitted) -> None:
    """Return if the submission counts as accepted."""
    try:
        result = seal.SubmitResult(answer.res)
    except ValueError:
        result = seal.SubmitResult.UNKNOWN
    reason = answer.desc or result.name.lower()
    match result:
        case seal.SubmitResult.ACCEPTED | seal.SubmitResult.DUPLICATE:
            return
        case seal.SubmitResult.MISMATCHED | seal.SubmitResult.FILES_MISSED:
            raise failures.Permanent(f"submit {what}: {reason}")
        case seal.SubmitResult.REJECTED:
            raise rejected(what, reason)
        case _:
            raise failures.Temporary(f"submit {what}: the manager answered {answer.res}, which is not a known result")


def rejected(what: str, reason: str) -> failures.Permanent:
    """Return the failure of a submission that will never be taken.

    The original gives the sector up. But the reason may be a setting of the manager or a proof that can be made again,
    and behind it are hours of work and perhaps deals: that is for a person to end.
    """
    return failures.Permanent(
        f"submit {what}: rejected: {reason}; resume from an earlier state if that helps, or abort the sector"
    )


def polled(
    what: str,
    answer: seal.Polled,
    job: Job,
    landed: events.Event,
    again: type[events.ReSubmitPC | events.ReSubmitProof],
) -> events.Event:
    """Turn the state of a message into the next event."""
    reason = answer.desc or "no reason given"
    match answer.state:
        case seal.OnChainState.LANDED:
            return landed
        case seal.OnChainState.PENDING | seal.OnChainState.PACKED:
            return events.Later(job.options.rpc_polling_seconds, f"the {what} on chain")
        case seal.OnChainState.FAILED:
            log.warning("message failed, submitting again", what=what, sector=str(job.id), reason=reason)
            return again(why=f"{what} on chain: failed: {reason}")
        case seal.OnChainState.NOT_FOUND | seal.OnChainState.PERM_FAILED:
            raise failures.Permanent(f"{what} on chain: {seal.OnChainState(answer.state).name.lower()}: {reason}")
        case seal.OnChainState.SHOULD_ABORT:
            raise failures.Abort(f"{what} on chain: {reason}")
        case _:
            raise failures.Temporary(
                f"{what} on chain: the manager answered {answer.state}, which is not a known state"
            )
