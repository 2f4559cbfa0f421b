"""Send heartbeats for a window PoSt in progress: the manager lends a silent worker's job to another one.

The beat goes on whatever the thread does with the job, also while it waits for a slot. It stops only while the thread is
paused, so that another worker may do the job.
"""

from collections.abc import Awaitable, Callable

import anyio
import structlog

from damocles.sealing import failures
from damocles.worker import upstream

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 10.0


async def run(
    manager: upstream.Manager,
    worker: str,
    *,
    at_work: Callable[[], str | None],
    moved: Callable[[], Awaitable[None]],
    lost: Callable[[str], object],
    interval_seconds: Callable[[], float],
) -> None:
    """Beat until cancelled.

    Args:
        manager: Where to send them.
        worker: Our name.
        at_work: Returns the id of the job in progress.
        moved: Returns after the next change of that.
        lost: Is called with the reason why the manager no longer expects the job from us.
        interval_seconds: How long between two beats.
    """
    undelivered: str | None = None  # why the last one was not
    while True:
        job = at_work()
        if job is None:
            await moved()
            continue
        await anyio.sleep(interval_seconds())
        if at_work() != job:
            continue
        try:
            with anyio.fail_after(TIMEOUT_SECONDS):
                is_ours = await manager.heartbeat_post(job, worker)
        except (failures.Failure, TimeoutError) as error:
            why = str(error) or "no answer in time"
            if why != undelivered:
                log.warning("heartbeats not delivered", job=job, error=why)
            undelivered = why
            continue
        except Exception:
            # A defect of ours costs this one beat, and not the thread.
            log.exception("heartbeat not delivered", job=job)
            continue
        if undelivered is not None:
            log.info("heartbeats delivered again", job=job)
            undelivered = None
        if not is_ours and at_work() == job:
            lost(f"the manager no longer expects {job} from us: it was removed, or lent to another worker")
