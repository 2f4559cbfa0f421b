"""Check whether what paused threads lack has arrived meanwhile: parameters that somebody has fetched or generated.

Such a thread does not go on by itself: a person resumes what an error has paused. But it shows that a resume would help.
"""

from collections.abc import Sequence

import anyio
import anyio.to_thread
import structlog

from damocles.parameters import lacking
from damocles.worker.thread.loop import SealingThread

log = structlog.get_logger(__name__)

EVERY_SECONDS = 10.0


async def watch(all_threads: Sequence[SealingThread]) -> None:
    """Look again and again. A disk that hangs holds up nothing but this."""
    one_at_a_time = anyio.CapacityLimiter(1)
    while True:
        for thread in tuple(all_threads):  # some may leave, and others come, while a disk is looked at
            error = thread.sector.last_error
            is_over = (
                error is not None
                and thread.sector.paused_at is not None
                and lacking.found(error) is not None
                and await anyio.to_thread.run_sync(
                    lacking.are_there_now, error, abandon_on_cancel=True, limiter=one_at_a_time
                )
            )
            if is_over and thread.remedy is None:
                log.warning("parameters that a paused thread lacked have arrived: resume it", thread=thread.index)
            thread.remedy = lacking.THERE_NOW if is_over else None
        await anyio.sleep(EVERY_SECONDS)
