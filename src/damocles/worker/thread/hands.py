"""The hands of a sealing thread: carry out its mind's tasks, one at a time, and answer each with one event.

A task may be ended early (the mind is `halting`): its scope is cancelled then, and its result is dropped.
"""

import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import msgspec
import structlog

from damocles import failpoints, methods
from damocles.sealing import events, failures, planner, thread
from damocles.sealing.sectors import Sector
from damocles.stages import descriptors
from damocles.stages.admission import policy
from damocles.stages.supervision import executor
from damocles.stores import exhausted, full, identity, journal, sealing
from damocles.wire import control, sectors
from damocles.worker import upstream
from damocles.worker.plans import job as jobs
from damocles.worker.plans import repertoire
from damocles.worker.thread import room, stage_runs
from damocles.worker.thread.surroundings import Settings

if TYPE_CHECKING:
    from damocles.worker.thread import loop

log = structlog.get_logger(__name__)

CLAIM_TIMEOUT_SECONDS = 10.0


class Stopped(BaseException):  # like a cancellation: no handler takes it for an error
    """The worker ends: no further stage begins."""


class Hands:
    """The hands and the pen of one thread.

    Args:
        body: The thread.
        manager: The manager, for this thread alone.
        reported: Returns when the manager has every report.
        stack: Keeps the store open.
        disk: A disk that hangs takes one thread of the process from here, and none of those that all threads share.
    """

    def __init__(
        self,
        body: "loop.SealingThread",
        manager: upstream.Manager,
        reported: Callable[[], Awaitable[None]],
        stack: ExitStack,
        disk: anyio.CapacityLimiter,
    ) -> None:
        self.now = Settings(plan=body.mind.plan, options=jobs.Options(), limits=planner.Limits())
        self._body = body
        self._around, self._location = body.around, body.location
        self._manager = manager
        self._reported = reported
        self._stack = stack
        self._disk = disk
        self._looks_for_post = anyio.CapacityLimiter(1)  # likewise, at parameters and persist stores
        self._runs = stage_runs.StageRuns(
            body.around.stages,
            body.index,
            body.location,
            show=lambda stage: body.hear(thread.StageShown(stage)),
            clock=body.clock,
            observe=body.around.observe,
        )
        self._store: sealing.SealingStore | None = None
        self._has_read = False  # the settings, once
        self._unread: str | None = None  # why they could not be read the last time
        self._lacked: str | None = None  # what a try has just failed for, and the next one may
        self._unemptied: str | None = None  # why the trash could not be emptied the last time
        self._refusal: str | None = None  # why the manager gave nothing the last time

    async def do(self, task: thread.Task) -> thread.Event:
        """Carry out a task and return what came of it, whatever goes wrong."""
        match task:
            case thread.ReadOptions():
                return await self._read_options()
            case thread.OpenStore():
                return await self._open_store()
            case thread.Mend(_, float(seconds)):
                await anyio.sleep(seconds)
                return thread.Waited()
            case thread.Mend() | thread.Await() | planner.Hold():
                await anyio.sleep_forever()
            case planner.Wait(seconds):
                await anyio.sleep(seconds)
                return thread.Done(events.Wake())
        began, waited_before = time.monotonic(), self._runs.waited_seconds
        self._runs.hosts.clear()
        answer = await self._outcome(task)
        if isinstance(task, planner.Execute) and isinstance(answer, thread.Done):
            # How long a slot was waited for says nothing about the stage.
            seconds = time.monotonic() - began - (self._runs.waited_seconds - waited_before)
            return thread.Done(answer.event, seconds, tuple(self._runs.hosts))
        return answer

    async def record(self, entry: thread.Entry) -> thread.Event:
        """Write an entry into the journal; after `Unrecorded` the same entry may be given again."""
        assert self._store is not None
        book = self._store.journal
        step = partial(book.record, entry.before, entry.event, entry.after)
        write = partial(step, at=entry.at, seconds=entry.seconds, hosts=entry.hosts)
        try:
            await anyio.to_thread.run_sync(write)
        except Exception as error:  # noqa: BLE001 - JournalError or worse, of this one thread
            return thread.Unrecorded(_defect(error).text, heals=_heals(error))
        return thread.Recorded()

    # Options and store.

    async def _read_options(self) -> thread.Event:
        """Read the thread's options again.

        A bad file must not stop a machine that seals well: the previous options stay in force, and the thread shows the
        file's error (which becomes an alert) until it is fixed.
        """
        try:
            # Given up only when the worker ends, which must not wait for a disk that hangs.
            now = await anyio.to_thread.run_sync(self._body.settings, abandon_on_cancel=True, limiter=self._disk)
        except (failures.Critical, OSError) as error:
            failure = error if isinstance(error, failures.Critical) else failures.Critical(str(error))
            shown = f"{failure.text}; the previous options stay in force until the file is fixed"
            if shown != self._unread:
                log.error("thread options not read", location=str(self._location), error=str(failure))
            self._unread = shown
            return thread.Unread(failure.text, shown)
        if now != self.now and self._has_read:
            log.info("thread options changed", location=str(self._location), plan=now.plan)
        self.now, self._unread, self._has_read = now, None, True
        return thread.OptionsRead(now.plan, now.limits)

    async def _open_store(self) -> thread.Event:
        def look() -> Sector | None:
            if self._store is None:
                self._store = self._stack.enter_context(self._body.open_store(self._location))
                self._manager.works_in(self._store.journal.identity)
            sector = self._store.journal.load()
            self._around.room.opened(self._location, sector)
            return sector

        try:
            return thread.Found(await anyio.to_thread.run_sync(look))
        except (identity.NotTheStore, sealing.InUse) as error:
            # A disk may be mounted late, and another worker let go: that is looked for.
            return thread.OutOfOrder(failures.Critical(str(error)).text, heals=True)
        except Exception as error:  # noqa: BLE001 - StoreError, JournalError or worse, of this one thread
            return thread.OutOfOrder(_defect(error).text, heals=_heals(error))

    # A sector.

    async def _outcome(self, task: thread.Task) -> thread.Event:
        sector = self._body.mind.sector
        try:
            answer = await self._perform(task, sector)
        except Stopped:
            return thread.Interrupted()
        except failures.Failure as failure:
            lacked, self._lacked = self._lacked, failure.text if isinstance(failure, failures.Lacking) else None
            if lacked is None or lacked != self._lacked:  # what lacks is told once, and not with each try
                log.error("sealing failed", sector=str(sector.job_id), state=sector.state, failure=failure.text)
            return thread.Done(failed(failure))
        except Exception as error:  # noqa: BLE001 - a defect must not end the thread: the sector stays as recorded
            return thread.Done(failed(_defect(error)))
        if isinstance(task, planner.Execute):
            self._lacked = None
        return answer

    async def _perform(self, task: thread.Task, sector: Sector) -> thread.Event:
        assert self._store is not None
        match task:
            case thread.LookForRoom(plan):
                return thread.Room(await self._lacking(self._store, plan))
            case thread.Claim(sector_id):
                return await self._claim(sector_id)
            case planner.Execute(does):
                event = await self._execute(self._store, sector, does)
                self._log_refusal(event.refused if isinstance(event, events.Idle) else None)
                return thread.Done(event)
            case planner.Finalize():
                return thread.Done(await self._finalize(self._store, sector))
            case planner.Discard(reason, tell_manager):
                return thread.Done(await self._discard(self._store, sector, reason, tell_manager=tell_manager))
        raise AssertionError(f"{task} is nothing for hands")

    def _log_refusal(self, refusal: str | None) -> None:
        """Log once that the manager stops answering requests for work, and once that it answers again."""
        if refusal is not None and refusal != self._refusal:
            log.warning("the manager does not answer, asking again", plan=self.now.plan, reason=refusal)
        elif refusal is None and self._refusal is not None:
            log.info("the manager answers again")
        self._refusal = refusal

    async def _claim(self, sector: sectors.SectorID) -> thread.Event:
        """Claim a sector found in the journal, so that its previous holder can no longer change it.

        Without an answer the work goes on: stages do no harm, and calls are held back until the claim is granted.
        """
        try:
            with anyio.fail_after(CLAIM_TIMEOUT_SECONDS):
                return thread.Granted(await self._take(sector))
        except failures.Temporary as error:
            log.warning("sector not claimed yet", sector=str(sector), error=str(error))
        except TimeoutError:
            log.warning("sector not claimed yet", sector=str(sector), error="the manager does not answer")
        return thread.NotGranted()

    async def _take(self, sector: sectors.SectorID) -> int | None:
        held = self._body.mind.sector
        return await self._manager.claim(
            sector, self._around.instance, str(self._location), last_known=held.claim, ticket=held.ticket
        )

    async def _execute(self, store: sealing.SealingStore, sector: Sector, does: str) -> events.Event:
        self._around.room.begin(self._location, sector)
        job = jobs.Job(
            sector=sector,
            options=self.now.options,
            manager=self._manager,
            run=self._run_stage,
            worker=self._around.instance,
            store=store.journal.identity,
            data=store.location / "data",
            persist_stores=self._around.persist_stores,
            memory=self._around.memory,
            static_tree_d=self._around.static_tree_d,
            pieces=self._around.pieces.now(),
            outlets=self._around.outlets,
            lacking_for_post=self._lacking_for_post,
        )
        failpoints.reach(f"handler.before:{sector.state}")
        comes = sector.job_id is not None  # or, afterwards, has come
        try:
            event = await repertoire.HANDLERS[does](job)
            comes = comes or not isinstance(event, events.Idle)
        finally:
            if not comes:
                self._around.room.drop(self._location)
        failpoints.reach(f"handler.after:{sector.state}")
        return event

    async def _lacking_for_post(self, sizes: Iterable[sectors.SectorSize]) -> dict[sectors.SectorSize, str | None]:
        def look() -> dict[sectors.SectorSize, str | None]:
            return {size: self._around.lacking_for_post(size) for size in sizes}

        return await anyio.to_thread.run_sync(look, abandon_on_cancel=True, limiter=self._looks_for_post)

    async def _run_stage(self, stage: str, task: executor.Task) -> Any:
        self._may_begin()

        async def made() -> msgspec.Struct:
            self._runs.has_its_turn()
            ready = await executor.made(task)
            self._may_begin()
            return ready

        return await self._runs.run(stage, made, self._errand(stage))

    def _errand(self, stage: str) -> policy.Errand:
        sector = self._body.mind.sector
        size = sector.proof_type.size if sector.allocated is not None else None
        if stage == "add_pieces" and not sector.deals:
            size = None  # no more than a sparse file
        if sector.post is not None:
            size = sectors.size_of_post(sector.post.input.proof_name)
        return policy.Errand(label=f"{descriptors.named(stage).label} of {sector.job_id}", size=size)

    def _may_begin(self) -> None:
        if self._body.mind.stopping:
            raise Stopped

    async def _finalize(self, store: sealing.SealingStore, sector: Sector) -> events.Event:
        if sector.id is not None:
            await self._tell(sector, partial(self._manager.call, methods.sealer.report_finalized(sector.id)))
        # A kill from here on repeats both: the manager has the sector finalized, the files are no longer needed.
        return await self._clear(store.clear, events.Finalized())

    async def _discard(
        self, store: sealing.SealingStore, sector: Sector, reason: str, *, tell_manager: bool
    ) -> events.Event:
        log.warning("sector aborted", sector=str(sector.job_id), reason=reason)
        if tell_manager and sector.job_id is not None:
            tell = partial(repertoire.report_aborted, self._manager, self._around.instance, sector, reason)
            await self._tell(sector, tell)

        def away() -> None:
            moved = store.discard(str(sector.job_id))
            log.info("files moved to the trash", folder=str(moved))
            self._empty_trash(store)

        return await self._clear(away, events.Discarded())

    async def _tell(self, sector: Sector, call: Callable[[], Awaitable[None]]) -> None:
        """Deliver the last word on a sector; that the manager does not know it (any more) is as good."""
        await self._reported()
        with suppress(failures.Abort, failures.Unknown, failures.Stale):
            if sector.id is not None and sector.id != self._body.mind.claimed:
                await self._take(sector.id)
                self._body.hear(thread.Taken(sector.id))
            await call()

    async def _clear(self, work: Callable[[], None], done: events.Event) -> events.Event:
        try:
            await anyio.to_thread.run_sync(work)
            self._around.room.drop(self._location)
        except OSError as error:
            if full.is_full(error):
                raise failures.Full(f"the sealing store {self._location}", str(error)) from error
            if exhausted.is_lacking(error):
                raise failures.Temporary(str(error)) from error
            raise failures.Critical(
                f"cannot clear {self._location}/data: {error.strerror}: {error.filename}"
            ) from error
        return done

    async def _lacking(self, store: sealing.SealingStore, plan: str) -> str | None:
        """Return why another sector does not fit, or None. Expired trash is deleted first."""
        allowed, attached = self.now.options.allowed_proofs, self._around.persist_stores.values()
        if planner.PLANS[plan].persists and attached and all(one.read_only for one in attached):
            return f"a persist store that is not readonly ([[attached]]): the plan {plan} needs one"

        def look() -> str | None:
            self._empty_trash(store)
            kept_bytes = self._around.room.missing_bytes(self._location)
            return room.lacking(plan, allowed, self._location, self._around.trash_retention_seconds, kept_bytes)

        if (size := room.smallest(allowed)) is not None:
            self._around.room.keep(self._location, plan, size)
        lacking = await anyio.to_thread.run_sync(look)
        if lacking is not None:
            self._around.room.drop(self._location)
        return lacking

    def _empty_trash(self, store: sealing.SealingStore) -> None:
        """Delete what is old in the trash; what cannot be deleted keeps nobody from working."""
        try:
            store.empty_trash(self._around.trash_retention_seconds)
        except OSError as error:
            if str(error) != self._unemptied:
                log.warning("trash not emptied", location=str(self._location), error=str(error))
            self._unemptied = str(error)


def show_calls(hear: Callable[[thread.Event], object], clock: Callable[[], float]) -> None:
    """Let the thread hear of the calls to the manager that this task makes from now on."""

    def show(method: str | None) -> None:
        what = f"an answer of the manager to {method}"
        hear(thread.Calling(control.Waiting(what, clock()) if method else None))

    upstream.CALLING.set(show)


def failed(failure: failures.Failure) -> events.Failed:
    """Return the event of a failure."""
    return events.Failed(failure.level.value, str(failure), away=isinstance(failure, failures.Away))


def _heals(error: Exception) -> bool:
    """Return whether a store's error may heal by itself."""
    return full.is_full(error) or exhausted.is_lacking(error)


def _defect(error: Exception) -> failures.Critical:
    """Return the failure for what a thread cannot go on with; what nobody expected leaves its traceback in the log."""
    if isinstance(error, sealing.StoreError | identity.NotTheStore | journal.JournalError):
        return failures.Critical(str(error))
    log.error("unexpected error", exc_info=error)
    return failures.Critical(f"{type(error).__name__}: {error}")
