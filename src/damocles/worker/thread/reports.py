"""Report every step of a sector to the manager, in order and beside the thread's work.

A report is news, not a result: while the manager is away it is logged and dropped, and no stage waits for it. The answer
may be that the sector has ended (finalized or aborted there); the thread receives that at its next boundary. It may also be
that another worker has the sector by now; the thread receives that at once, before it works on for hours in vain.
"""

import collections
from collections.abc import Callable

import anyio
import structlog

from damocles import methods, pulse
from damocles.sealing import failures, planner
from damocles.wire import seal, sectors
from damocles.worker import upstream

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 10.0
LONGEST_QUEUE = 100


class Reporter:
    """The queue of one sealing thread; `run` it beside the thread."""

    def __init__(
        self,
        manager: upstream.Manager,
        worker: seal.WorkerIdentifier,
        withdrawn: Callable[[sectors.SectorID, str], None],
        overtaken: Callable[[sectors.SectorID, failures.Stale], None],
    ) -> None:
        self._manager = manager
        self._worker = worker
        self._withdrawn = withdrawn
        self._overtaken = overtaken
        self._queue: collections.deque[tuple[sectors.SectorID, planner.Report]] = collections.deque(
            maxlen=LONGEST_QUEUE
        )
        self._changed = pulse.Pulse()

    def send(self, sector: sectors.SectorID, report: planner.Report) -> None:
        """Queue a report; when the queue is full the oldest one goes."""
        self._queue.append((sector, report))
        self._notify()

    async def run(self) -> None:
        """Send what is queued until cancelled."""
        while True:
            while self._queue:
                await self._send(*self._queue[0])
                self._queue.popleft()
            self._notify()
            await self._changed.wait()

    async def sent(self) -> None:
        """Return when nothing is queued: the last word on a sector has to come last."""
        while self._queue:
            await self._changed.wait()

    async def _send(self, sector: sectors.SectorID, report: planner.Report) -> None:
        request = seal.ReportStateReq(
            self._worker,
            seal.StateChange(report.prev, report.next, report.event),
            seal.FailureReport(*report.failure) if report.failure else None,
        )
        try:
            with anyio.fail_after(TIMEOUT_SECONDS):
                answer = await self._manager.call(methods.sealer.report_state(sector, request))
        except failures.Stale as error:
            self._overtaken(sector, error)
            return
        except (failures.Failure, TimeoutError) as error:
            log.warning("state not reported", sector=str(sector), state=report.next, error=str(error))
            return
        except Exception:
            # A defect of ours costs this one report: neither the thread nor the next report waits for it.
            log.exception("state not reported", sector=str(sector), state=report.next)
            return
        if answer.finalized:
            self._withdrawn(sector, answer.abort_reason or "")

    def _notify(self) -> None:
        self._changed.beat()
