"""Read the settings of a thread: the worker's configuration, and over it the hot file in the thread's store."""

from collections.abc import Callable
from pathlib import Path

import structlog

from damocles.sealing import failures, planner
from damocles.worker.config import load
from damocles.worker.plans import job
from damocles.worker.thread import surroundings

log = structlog.get_logger(__name__)


def reader(whole: load.Config, index: int, location: Path | None) -> Callable[[], surroundings.Settings]:
    """Return what reads a thread's settings as they are now, its hot file included if it has a place for one.

    It may raise `failures.Critical`, with everything that is wrong in the file. What is only odd is logged once.
    """
    reported: tuple[str, ...] = ()

    def read() -> surroundings.Settings:
        nonlocal reported
        try:
            hot = load.load_hot(location) if location is not None else None
        except load.ConfigError as error:
            raise failures.Critical("; ".join(map(str, error.errors))) from error
        odd = tuple(map(str, hot.warnings)) if hot is not None else ()
        if odd != reported:
            for problem in odd:
                log.warning(problem)
            reported = odd
        thread = load.effective(whole, index, hot)
        return _settings(thread)

    return read


def _settings(thread: load.Thread) -> surroundings.Settings:
    """Turn configured values into what threads and handlers read."""
    sealing = thread.sealing
    return surroundings.Settings(
        plan=thread.plan,
        options=job.Options(
            allowed_miners=tuple(sealing.allowed_miners or ()),
            allowed_proofs=tuple(int(proof) for proof in sealing.allowed_proofs),
            enable_deals=sealing.enable_deals,
            disable_cc=sealing.disable_cc,
            max_deals=sealing.max_deals,
            min_deal_bytes=sealing.min_deal_space,
            rpc_polling_seconds=sealing.rpc_polling_interval,
            ignore_proof_check=sealing.ignore_proof_check,
            verify_after_pc2=sealing.verify_after_pc2,
            post_sector_seconds=sealing.wdpost_sector_timeout,
            heartbeat_seconds=sealing.wdpost_heartbeat_interval,
        ),
        limits=planner.Limits(
            max_retries=sealing.max_retries,
            seal_interval_seconds=sealing.seal_interval,
            recover_interval_seconds=sealing.recover_interval,
            request_task_max_retries=sealing.request_task_max_retries,
        ),
    )
