"""Words for people about window PoSt jobs: the same in a terminal and in a browser."""

from damocles.wire import wdpost


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
