"""What the worker does on signals: stop, or read its files again."""

import signal
from collections.abc import AsyncIterator, Callable

import anyio
import structlog

from damocles.rpc.serving import reloading

log = structlog.get_logger(__name__)

HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


async def obey(
    received: AsyncIterator[signal.Signals],
    stop: Callable[[], None],
    reloads: reloading.Reloads,
    grace_seconds: float,
    working: anyio.CancelScope,
) -> None:
    """Call `stop` at the first SIGTERM or SIGINT, and cancel `working` after the grace or at the second one."""
    number = await _ending(received, reloads)
    log.info("stopping: no new stage begins", signal=number.name, grace_seconds=grace_seconds)
    stop()
    with anyio.move_on_after(grace_seconds):
        number = await _ending(received, reloads)
        log.warning("stopping at once", signal=number.name)
    working.cancel(reason="shutdown")


async def _ending(received: AsyncIterator[signal.Signals], reloads: reloading.Reloads) -> signal.Signals:
    """Return the next signal that is to end the worker; SIGHUP reads files again."""
    async for number in received:
        if number != signal.SIGHUP:
            return signal.Signals(number)
        await reloads.run()
    raise AssertionError("signals end with the process")
