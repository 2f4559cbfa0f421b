"""Words for people about window PoSts and their jobs: the same in a terminal and in a browser."""

from damocles.text import units
from damocles.wire import proving, wdpost


def state(job: wdpost.Brief) -> str:
    """Return how far a job is, or how it ended."""
    match job.state:
        case wdpost.State.READY:
            return "ReadyToRun"
        case wdpost.State.RUNNING:
            return "Running"
        case wdpost.State.FINISHED if job.error:
            return "Failed"
        case _:
            return f"Faults({job.faults})" if job.faults else "Succeed"


def tries(job: wdpost.Brief, max_tries: int) -> str:
    """Return how often a job was tried, and whether there are no more tries."""
    return f"{job.tries}(Max)" if job.tries >= max_tries else str(job.tries)


def error(job: wdpost.Brief) -> str:
    """Return why a job failed, or why sectors are faulty: our managers keep what workers report about them."""
    reasons = job.output.reasons if job.output else {}
    return job.error or "; ".join(f"sector {number}: {reason}" for number, reason in reasons.items())


def went(post: proving.Post) -> str:
    """Return in a few words how a proof of a deadline went, with the epochs at which it was made, ordered and landed."""
    # The wire's word for a message that the outbox has, which may not have signed it yet, let alone pushed.
    stage = "ordered" if post.stage == "sent" else post.stage
    told = [f"{','.join(map(str, post.partitions))}: {stage}"]
    if post.seconds is not None:
        at = f" at {post.proved_epoch}" if post.proved_epoch is not None else ""
        told.append(f"by {post.prover} in {units.brief_duration(post.seconds)}{at}")
    if post.message is not None:
        told.append(f"message {post.message}")
    if post.sent_epoch is not None:
        told.append(f"ordered at {post.sent_epoch}{f' (order {post.sends})' if post.sends > 1 else ''}")
    if post.landed_epoch is not None:
        told.append(f"landed at {post.landed_epoch}")
    if post.skipped:
        told.append(f"without {', '.join(map(str, sorted(post.skipped)))}")
    if post.why:
        told.append(post.why)
    return ", ".join(told)
