"""This machine as a prover, beside the workers that have threads of the plan `wdpost`.

It takes a job at once while no worker asks for such jobs, or those that ask have failed at it; otherwise one that has waited longer than an idle
worker takes to ask. It reads the persist stores of the configuration.
"""

from collections.abc import Callable, Collection
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

from damocles.manager.errors import ManagerError
from damocles.manager.plans import wdpost, wdpost_loans
from damocles.manager.plans.wdpost_turns import MANAGERS_MACHINE
from damocles.manager.proving.machine import machine
from damocles.manager.sectors import stores
from damocles.parameters import catalog, preflight
from damocles.rpc.errors import DiskFails
from damocles.sealing import failures
from damocles.stages import posts
from damocles.stages.supervision import executor
from damocles.wire import sectors
from damocles.wire import wdpost as wire

log = structlog.get_logger(__name__)

SECTOR_SECONDS = 60.0
HEARTBEAT_SECONDS = 3.0
LOOK_SECONDS = 5.0  # at least so often it is looked whether a job waits for this machine


class Prover:
    """Proves up to `count` jobs at a time, of sectors of some sizes, in children of `stages`."""

    def __init__(
        self,
        *,
        jobs: wdpost.WdPoSt,
        persist: stores.Stores,
        stages: executor.Stages,
        count: int,
        name: str = MANAGERS_MACHINE,
        sizes: Collection[sectors.SectorSize],
        parameters: Callable[[], Path] = catalog.folder,
        sector_seconds: float = SECTOR_SECONDS,
    ) -> None:
        self._jobs = jobs
        self._persist = persist
        self._stages = stages
        self._count = count
        self._name = name
        self._parameters = parameters
        self._sector_seconds = sector_seconds
        self._free = set(range(count))
        self._sizes = sizes
        self._lacking: dict[sectors.SectorSize, str] = {}

    async def run(self) -> None:
        """Prove, for ever."""
        is_clean = False
        async with anyio.create_task_group() as group:
            while True:
                since, lent = self._jobs.changed.count, list[wire.Job]()
                try:
                    if not is_clean:
                        await self._jobs.take_back(self._name)  # what a process before this one had
                        is_clean = True
                    lent = await self._lent()
                except DiskFails:
                    pass  # told by the database, and an alert; the next look tries again
                except Exception:
                    # The task is the daemon's: it must outlive what nobody thought of.
                    log.exception("this machine took no window PoSt; trying again")
                for job in lent:
                    lane = self._free.pop()
                    group.start_soon(self._prove, lane, job)
                with anyio.move_on_after(LOOK_SECONDS):
                    await self._jobs.changed.wait(since)

    def machine(self, lane: str) -> posts.Machine:
        """Return this machine as what reads and proves in a lane of its own."""
        return machine(self._stages, self._persist, lane, self._sector_seconds, self._name)

    async def _lent(self) -> list[wire.Job]:
        if not self._free:
            return []
        names = await anyio.to_thread.run_sync(self._able)
        if not names:
            return []
        spec = wire.AllocateSpec([], names)
        return await self._jobs.lend(spec, len(self._free), self._name, is_spare=True)

    def _able(self) -> list[str]:
        """Return the kinds of window PoSts that can be made here; not for the event loop."""
        folder = self._parameters()
        sizes = list(dict.fromkeys(self._sizes))
        lacking = {size: why for size in sizes if (why := preflight.lacking_for_post(size, folder)) is not None}
        for size, why in lacking.items():
            if self._lacking.get(size) != why:
                log.warning("this machine proves no window PoSts", size=size.label, why=why)
        self._lacking = lacking
        return [name for size in sizes if size not in lacking for name in sectors.post_names_of(size)]

    async def _prove(self, lane: int, job: wire.Job) -> None:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._beat, job.id, group.cancel_scope)
                output, error = await self._output(lane, job)
                await self._record(job.id, output, error)
                group.cancel_scope.cancel("the job is done")
        finally:
            self._free.add(lane)
            self._jobs.changed.beat()

    async def _output(self, lane: int, job: wire.Job) -> tuple[wire.Output | None, str]:
        try:
            return await posts.prove(job.input, self.machine(f"prover {lane}")), ""
        except failures.Failure as failure:
            return None, str(failure)
        except Exception as error:  # a job that ends the daemon would be its last one
            log.exception("window PoSt failed here", job=job.id)
            return None, f"{type(error).__name__}: {error}"

    async def _record(self, job_id: str, output: wire.Output | None, error: str) -> None:
        """Record what came of a job, as soon as the database's disk takes it."""
        while True:
            try:
                await self._end(job_id, output, error)
            except DiskFails:
                await anyio.sleep(LOOK_SECONDS)
            else:
                return

    async def _end(self, job_id: str, output: wire.Output | None, error: str) -> None:
        record = await self._jobs.find(job_id)
        if record is None or self._name not in wdpost_loans.loans(record):
            return  # nobody expects it any more
        try:
            await self._jobs.end(record, output, error, self._name)
        except ManagerError as refusal:  # it cannot be verified now
            await self._jobs.end(record, None, str(refusal), self._name)

    async def _beat(self, job_id: str, scope: anyio.CancelScope) -> None:
        while True:
            await anyio.sleep(HEARTBEAT_SECONDS)
            try:
                await self._jobs.prolong([job_id], self._name)
            except DiskFails:
                continue
            except ManagerError:
                scope.cancel("nobody expects the proof any more")
