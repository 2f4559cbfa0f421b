"""A sealing thread: carries out what the planner says for one store, until it is told to stop.

The thread's only state of its own is what it is doing at the moment (its `Display`); everything that must survive is in
the sector, and the sector is in the journal before anything follows from it. Requests from people (`pause`, `resume`,
`stop`) never wait for the thread: they leave a mark and wake it up.
"""

import math
import platform
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import msgspec
import structlog

from damocles import failpoints
from damocles.sealing import events, failures, planner
from damocles.sealing.sectors import Sector
from damocles.sealing.states import State
from damocles.stages import executor
from damocles.stores import exhausted, full, identity, journal, nowhere, sealing
from damocles.stores.layout import Layout
from damocles.stores.outlets import Outlets
from damocles.stores.persist import PersistStore
from damocles.stores.pieces import PieceStores
from damocles.wire import control, fleet, seal
from damocles.wire import sectors as wire_sectors
from damocles.worker import display, fitness, heartbeats, jobs, repertoire, reports, room, stage_runs, upstream
from damocles.worker.pauses import Pauses

T = TypeVar("T")

log = structlog.get_logger(__name__)

CLAIM_TIMEOUT_SECONDS = 10.0
PATIENCE_SECONDS = 1.0  # with a disk that an operator's request has to look at


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the configuration says for a thread at the moment."""

    plan: str
    options: jobs.Options
    limits: planner.Limits


@dataclass(slots=True, kw_only=True)
class Gate:
    """Whether threads may begin new sectors, or work at all; why not is shown to people."""

    closed: bool = False
    why: str = ""
    overdue: bool = False  # a drain's deadline has come: a sector found in the journal pauses before it goes on
    unready: str | None = None  # what everything waits for: journals are read, and nothing is done
    news: anyio.Event = field(default_factory=anyio.Event)  # set, and replaced, when listings change

    def changed(self) -> None:
        """Let whoever reports on the worker look again."""
        self.news.set()
        self.news = anyio.Event()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all threads of a worker share."""

    instance: str
    manager: upstream.Manager
    stages: executor.Stages
    persist_stores: Mapping[str, PersistStore]
    static_tree_d: Mapping[wire_sectors.SectorSize, Path]
    pieces: PieceStores
    trash_retention_seconds: float
    outlets: Outlets = Outlets()  # noqa: RUF009 - frozen
    memory: identity.Memory = identity.NOTHING
    gate: Gate = field(default_factory=Gate)
    pauses: Pauses = field(default_factory=Pauses)
    observe: stage_runs.Observe | None = None
    lacking_for_post: fitness.Lacking = lambda _: None


@contextmanager
def opened(location: Path, memory: identity.Memory = identity.NOTHING) -> Iterator[sealing.SealingStore]:
    """Open a store; a folder that does not exist, and never has, becomes one, if its parent exists.

    Raises:
        identity.NotTheStore: Another store was there before: is its disk mounted?
    """
    memory.check(location)
    if not location.exists() and location.parent.is_dir():
        log.warning("sealing store made: there was none", location=str(location))
        sealing.init(location)
    with sealing.opened(location) as store:
        memory.admit(location)
        yield store


class ResumeRefused(Exception):
    """A sector cannot be taken up again at the state asked for; the message says why, or lists where it can."""


@dataclass
class SealingThread:
    """One thread; create it, then `run` it in a task group.

    `settings` is asked again whenever a new sector may begin, before a sector that found nothing to do (deals) asks
    again, and after every resume, so that changes of the thread's `config.toml` take effect without a restart. While it
    cannot be read, what was read last stays in force.
    """

    index: int
    location: Path
    around: Surroundings
    settings: Callable[[], Settings]
    clock: Callable[[], float] = time.time
    open_store: Callable[[Path], AbstractContextManager[sealing.SealingStore]] = opened
    plan: str = "sealer"  # shown until the settings have been read
    sector: Sector = field(init=False)
    trouble: str | None = field(init=False, default=None)  # keeps the thread from working, not in the journal
    remedy: str | None = field(init=False, default=None)  # what a pause waits for, if more is known than "resume"

    def __post_init__(self) -> None:
        # To be shown alone: `run` begins nothing before it has read the settings.
        self._now = Settings(plan=self.plan, options=jobs.Options(), limits=planner.Limits())
        # A disk that hangs takes one thread of the process here, and none of those that all threads share.
        self._disk = anyio.CapacityLimiter(1)
        self._looks_for_post = anyio.CapacityLimiter(1)  # likewise, at parameters and persist stores
        self._looking = False  # at the files, for `check_target`; changed by the thread of the process that looks
        self.sector = Sector(plan=self._now.plan)
        self._display = display.Display(self.clock)
        self._runs = stage_runs.StageRuns(
            self.around.stages, self.index, self.location, self._display, self.around.observe
        )
        self._has_read = False  # the settings, once
        self._unread: str | None = None  # why they could not be read the last time
        self._nudge = anyio.Event()
        self._moved = anyio.Event()
        self._has_been_out_of_order = False
        self._lacked: str | None = None  # what a try has just failed for, and the next one may
        self._unemptied: str | None = None  # why the trash could not be emptied the last time
        self._idle = False  # whether the sector's handler found nothing to do the last time
        self._refusal: str | None = None  # why the manager gave nothing the last time
        self._claimed: wire_sectors.SectorID | None = None  # the sector that this process has an attempt at
        self._asked: events.Event | None = None  # of the sector; applied at the next boundary
        self._pausing = False  # likewise, but of the thread: where the sector is over, after its end
        self._resume_wanted: events.Resume | None = None
        self._stopping = False
        self._holding = False
        self._handler: anyio.CancelScope | None = None  # of the handler that runs
        self._manager = self.around.manager.for_one_thread()
        self._reports = reports.Reporter(
            self._manager,
            seal.WorkerIdentifier(self.around.instance, str(self.location)),
            self._on_withdrawn,
            self._on_overtaken,
        )

    # Requests: called from the control API, never block.

    @property
    def activity(self) -> display.Activity:
        """What the thread does right now."""
        return self._display.now

    @property
    def paused(self) -> bool:
        """Whether the thread waits for `resume`."""
        return self._holding

    @property
    def pausing(self) -> bool:
        """Whether a pause is asked for and has not come yet."""
        return self._pausing

    @property
    def resuming(self) -> bool:
        """Whether `resume` is asked for and has not been heard yet."""
        return self._resume_wanted is not None

    def pause(self, *, now: bool = False) -> bool:
        """Pause at the next boundary; true, since a pause can always be asked for.

        A thread that only waits for a slot pauses at once. With `now` a running stage is killed as well; nothing of
        its work is kept, and `resume` runs it again.
        """
        if not self._holding or self.trouble is not None:  # which may heal by itself
            self._want_pause(on=True)
            self._interrupt(now=now or self.activity.state == "Waiting")
        return True

    def _want_pause(self, *, on: bool) -> None:
        """Note that a pause is to come, also over a restart, or that it has come or is taken back."""
        self._pausing = on
        if self.location == nowhere.LOCATION:
            return  # its work does not outlive the process
        try:
            if on:
                self.around.pauses.add(self.location)
            else:
                self.around.pauses.discard(self.location)
        except OSError as error:
            log.warning("pause not kept: a restart forgets it", location=str(self.location), error=str(error))

    def give_up(self, reason: str) -> None:
        """Abort the sector: a running stage is killed, the manager told, the files go to the trash."""
        self._ask(events.GiveUp(reason), now=True)

    def resume(self, target: State | None) -> bool:
        """Go on, if given from a state that `check_target` has just allowed; false if the thread is not paused."""
        if not self._holding:
            # A pause that has not taken effect yet is taken back.
            pausing = self._pausing
            self._want_pause(on=False)
            return pausing
        if self._pausing:
            self._want_pause(on=False)
        self._resume_wanted = events.Resume(target)
        self.wake()
        return True

    def stop(self) -> None:
        """Begin no further stage and end as soon as the running one is done; one that waits for its turn never runs."""
        self._stopping = True
        self._interrupt(now=self.activity.state == "Waiting")

    def info(self) -> fleet.ThreadInfo:
        """Return the thread as listings show it."""
        sector, plan = self.sector, planner.PLANS[self.sector.plan]
        since, state = self.activity.since, self.activity.state
        elapsed = None if state == "Idle" else max(0, int(self.clock() - since))
        proc = self.activity.what if state == "Running" else None
        return fleet.ThreadInfo(
            location=str(self.location),
            plan=sector.plan,
            job_id=sector.job_id,
            index=self.index,
            thread_state=fleet.ThreadState(state, elapsed, proc),
            job_state=sector.state.value,
            job_stage=plan.stage_of(sector.state) if sector.job_id else None,
            last_error=self.trouble or sector.last_error or self._unread or sector.post_error,
        )

    def detail(self) -> control.ThreadDetail:
        """Return the thread with everything that helps to understand it."""
        sector, doing = self.sector, self.activity
        waiting = None
        if doing.state in {"Waiting", "Idle"} and doing.what:
            waiting = control.Waiting(doing.what, doing.since, sector.retry_at or doing.until)
        elif doing.state == "Paused":
            waiting = control.Waiting(self.remedy or "resume", doing.since)
        else:
            waiting = self._display.stalled or self._display.calling
        # After a failure the sector counts the attempt that comes next; as in the history, the one that failed is shown.
        has_failed = sector.last_error is not None and (sector.paused_at or sector.retry_at) is not None
        return control.ThreadDetail(
            info=self.info(),
            worker=self.around.instance,
            sector=sector.job_id,
            since=doing.since,
            waiting=waiting,
            pid=doing.pid,
            progress=doing.progress,
            host=platform.node(),
            attempt=max(1, sector.attempt - has_failed),
            retries=sector.retries,
            paused_at=sector.paused_at,
            pausing=self.pausing,
            draining=self.around.gate.closed,
            state_since=sector.entered_at,
        )

    # The thread itself.

    async def run(self) -> None:
        """Work until stopped."""
        structlog.contextvars.bind_contextvars(thread=self.index)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._reports.run)
            tasks.start_soon(self._beat)
            with suppress(_Stopped):
                await self._run()
            log.info("thread stopped", sector=str(self.sector.job_id), state=self.sector.state)
            tasks.cancel_scope.cancel()

    async def _run(self) -> None:
        upstream.CALLING.set(self._display.show_call)  # not for reports and heartbeats, which go on beside
        await self._read_settings()
        with ExitStack() as stack:
            store = await self._until_in_order(lambda: stack.enter_context(self.open_store(self.location)))
            if self._has_been_out_of_order:
                await self._read_settings()  # of a disk that was not mounted
            await self._work(store)

    async def _read_settings(self) -> None:
        while (broken := await self._reload_settings()) is not None:
            await self._out_of_order(broken)
        self.sector = Sector(plan=self._now.plan)

    async def _work(self, store: sealing.SealingStore) -> None:
        found = await self._until_in_order(store.journal.load)
        self.sector = found if found is not None else Sector(plan=self._now.plan)
        self._pausing |= self.location in self.around.pauses
        self._pausing |= self.around.gate.overdue and self.sector.job_id is not None
        log.info("thread started", location=str(self.location), sector=str(self.sector.job_id), state=self.sector.state)
        if self.sector.id is not None:
            self._manager.hold(self.sector.id, None)
        event: events.Event = events.Restart()
        seconds: float | None = None
        while True:
            action = await self._apply(store, event, seconds)
            if self._asked is not None:
                asked, self._asked = self._asked, None
                # A sector that is over needs no more than its end; giving up needs a sector.
                if not _is_end(action) and self.sector.job_id:
                    action = await self._apply(store, asked, None)
            if self._pausing and not _is_end(action):
                self._pausing = False
                action = await self._apply(store, events.Pause(), None)
                self._want_pause(on=False)
            if self._stopping:
                raise _Stopped
            began, waited_before = time.monotonic(), self._runs.waited_seconds
            event = await self._outcome(store, action)
            # How long a slot was waited for says nothing about the stage.
            worked_seconds = time.monotonic() - began - (self._runs.waited_seconds - waited_before)
            seconds = worked_seconds if isinstance(action, planner.Execute) else None

    async def _apply(self, store: sealing.SealingStore, event: events.Event, seconds: float | None) -> planner.Action:
        """Let the planner decide, make it durable, report it, and return what to do next."""
        while True:
            before, now = self.sector, self.clock()
            if before.job_id is None and before.plan != self._now.plan:
                before = Sector(plan=self._now.plan, paused_at=before.paused_at, last_error=before.last_error)
            try:
                after, instructions = planner.step(before, event, self._now.limits, now)
            except Exception as error:  # noqa: BLE001 - UnexpectedEvent or worse, of this one thread
                await self._out_of_order(_defect(error))
                event = events.Wake()
                continue
            try:
                if not planner.is_passing(before, after):
                    await anyio.to_thread.run_sync(
                        lambda: store.journal.record(before, event, after, at=now, seconds=seconds)  # noqa: B023
                    )
                self._in_order()
                break
            except Exception as error:  # noqa: BLE001 - JournalError or worse, of this one thread
                # The result is still in our hands: once the cause is mended, `resume` tries to record it again.
                await self._out_of_order(_defect(error), heals=full.is_full(error) or exhausted.is_lacking(error))
        self.sector = after
        if before.id is None and after.id is not None and after.claim is not None:
            self._manager.hold(after.id, after.claim)
            self._claimed = after.id
        self._moved.set()
        self._moved = anyio.Event()
        self.around.gate.changed()
        *news, action = instructions
        for report in news:
            assert isinstance(report, planner.Report)
            if (identity := after.id or before.id) is not None:
                self._reports.send(identity, report)
        assert not isinstance(action, planner.Report)
        return action

    async def _outcome(self, store: sealing.SealingStore, action: planner.Action) -> events.Event:
        """Carry out an action and return the event that ends it, whatever goes wrong."""
        sector = self.sector
        try:
            event = await self._perform(store, action)
        except failures.Failure as failure:
            lacked, self._lacked = self._lacked, failure.text if isinstance(failure, failures.Lacking) else None
            if lacked is None or lacked != self._lacked:  # what lacks is told once, and not with each try
                log.error("sealing failed", sector=str(sector.job_id), state=sector.state, failure=failure.text)
            return _failed(failure)
        except Exception as error:  # noqa: BLE001 - a defect must not end the thread: the sector stays as recorded
            return _failed(_defect(error))
        if isinstance(action, planner.Execute):
            self._lacked = None
        return event

    async def _perform(self, store: sealing.SealingStore, action: planner.Action) -> events.Event:
        """Carry out an action and return the event that ends it."""
        gate = self.around.gate
        if gate.unready is not None and not isinstance(action, planner.Wait | planner.Hold):
            self._display.show("Waiting", gate.unready)
            await self._nudged(lambda: gate.unready is None or self._is_asked_during(action))
            return events.Wake()
        match action:
            case planner.Execute(does):
                if self.sector.state is State.Empty or self._idle:
                    await self._reload_settings()
                    if self.sector.job_id is None and self.sector.plan != self._now.plan:
                        return events.Wake()  # what was to be done is a step of the plan from before
                if self.sector.job_id is None and gate.closed:
                    self._display.show("Idle", gate.why)
                    await self._nudged(lambda: not gate.closed or self._is_asked_during(action))
                    return events.Wake()
                if self.sector.state is State.Empty and (lacking := await self._lacking(store)) is not None:
                    return events.Idle(lacking)
                if self.sector.id is not None and self.sector.id != self._claimed:
                    claimed = await self._claim(self.sector.id)
                    if claimed is not None:
                        return claimed
                event = await self._execute(store, does)
                self._idle = isinstance(event, events.Idle)
                self._log_refusal(event.refused if isinstance(event, events.Idle) else None)
                return event
            case planner.Wait(seconds, why):
                self._display.show("Idle", why, until=self.clock() + seconds)
                with anyio.move_on_after(seconds):
                    await self._nudged(lambda: self._is_asked_during(action))
                return events.Wake()
            case planner.Hold():
                return await self._hold()
            case planner.Finalize():
                return await self._finalize(store)
            case planner.Discard(reason, tell_manager):
                return await self._discard(store, reason, tell_manager=tell_manager)

    def _log_refusal(self, refusal: str | None) -> None:
        """Log that the manager does not give what it is asked for, and that it does again, once each."""
        if refusal is not None and refusal != self._refusal:
            log.warning("nothing from the manager, asking again", plan=self._now.plan, reason=refusal)
        elif refusal is None and self._refusal is not None:
            log.info("the manager answers again")
        self._refusal = refusal

    async def _claim(self, sector: wire_sectors.SectorID) -> events.Event | None:
        """Take up a sector found in the journal, so that whoever worked on it before cannot change it any more.

        Without an answer the work goes on: stages harm nobody, and calls are held back until the claim is granted.
        """
        self._display.show("Running", "claiming the sector")
        try:
            with anyio.fail_after(CLAIM_TIMEOUT_SECONDS):
                attempt = await self._take(sector)
            self._claimed = sector
        except failures.Temporary as error:
            log.warning("sector not claimed yet", sector=str(sector), error=str(error))
            return None
        except TimeoutError:
            log.warning("sector not claimed yet", sector=str(sector), error="the manager does not answer")
            return None
        return events.Claimed(attempt) if attempt is not None else None

    async def _take(self, sector: wire_sectors.SectorID) -> int | None:
        return await self._manager.claim(
            sector,
            self.around.instance,
            str(self.location),
            last_known=self.sector.claim,
            ticket=self.sector.ticket,
        )

    async def _execute(self, store: sealing.SealingStore, does: str) -> events.Event:
        self._display.show("Running")
        sector = self.sector
        lacks = [name for name in planner.PLANS[sector.plan].steps[sector.state].needs if getattr(sector, name) is None]
        if lacks:
            text = (
                f"{sector.job_id} lacks its {', '.join(lacks)}, which {sector.state} needs: resume at an earlier state"
            )
            raise failures.Critical(text)
        job = jobs.Job(
            sector=self.sector,
            options=self._now.options,
            manager=self._manager,
            run=self._run_stage,
            worker=self.around.instance,
            store=store.journal.identity,
            data=store.location / "data",
            persist_stores=self.around.persist_stores,
            memory=self.around.memory,
            static_tree_d=self.around.static_tree_d,
            pieces=self.around.pieces,
            outlets=self.around.outlets,
            lacking_for_post=self._lacking_for_post,
        )
        try:
            with anyio.CancelScope() as self._handler:
                failpoints.reach(f"handler.before:{self.sector.state}")
                event = await repertoire.HANDLERS[does](job)
                failpoints.reach(f"handler.after:{self.sector.state}")
                return event
            # Cancelled by what was asked for: there is no result, and nothing half-done that the next run would trust.
            return events.Wake()
        finally:
            self._handler = None

    async def _lacking_for_post(
        self, sizes: Iterable[wire_sectors.SectorSize]
    ) -> dict[wire_sectors.SectorSize, str | None]:
        def look() -> dict[wire_sectors.SectorSize, str | None]:
            return {size: self.around.lacking_for_post(size) for size in sizes}

        return await anyio.to_thread.run_sync(look, abandon_on_cancel=True, limiter=self._looks_for_post)

    async def _run_stage(self, stage: str, task: executor.Task) -> Any:
        if self._stopping:
            raise _Stopped

        async def made() -> msgspec.Struct:
            self._display.show("Running")  # it has its slot; what it may ask the manager for now is shown too
            ready = await executor.made(task)
            if self._stopping:  # meanwhile: no stage begins any more
                raise _Stopped
            return ready

        return await self._runs.run(stage, made)

    async def _hold(self) -> events.Event:
        self._display.show_paused(self.sector.paused_at)
        self._holding = True
        self.around.gate.changed()
        try:
            await self._nudged(lambda: self._resume_wanted is not None or self._asked is not None)
        finally:
            self._holding = False
        wanted, self._resume_wanted = self._resume_wanted, None
        if wanted is None and self._asked is not None:
            asked, self._asked = self._asked, None
            return asked
        await self._reload_settings()
        return wanted or events.Resume()

    async def _until_in_order(self, work: Callable[[], T]) -> T:
        """Do something with the store, again until it can be done; return its result.

        A disk may be mounted late, or get room, and another worker let go: that is looked for. All else waits for `resume`.
        """
        while True:
            try:
                done = await anyio.to_thread.run_sync(work)
            except (identity.NotTheStore, sealing.InUse) as error:
                await self._out_of_order(failures.Critical(str(error)), heals=True)
            except Exception as error:  # noqa: BLE001 - StoreError, JournalError or worse, of this one thread
                await self._out_of_order(_defect(error), heals=full.is_full(error) or exhausted.is_lacking(error))
            else:
                self._in_order()
                return done

    async def _out_of_order(self, failure: failures.Failure, *, heals: bool = False) -> None:
        """Show a trouble that cannot be journaled and wait for `resume`, or the end.

        One that `heals` is only waited for a while, and shown until `_in_order`.
        """
        if failure.text != self.trouble:
            if heals:
                log.error("thread out of order, looking again until it is mended", failure=failure.text)
            else:
                log.error("thread out of order, waiting for resume", failure=failure.text)
        self.trouble, self._has_been_out_of_order = failure.text, True
        self._display.show_paused()
        self._holding = True
        asked = self._asked  # what is asked for later, an abort for example, is a reason to try again
        with anyio.move_on_after(self._now.limits.recover_interval_seconds if heals else math.inf):
            await self._nudged(lambda: self._resume_wanted is not None or self._asked is not asked)
            self._in_order()

    def _in_order(self) -> None:
        if self.trouble is not None:
            self._holding, self._resume_wanted, self.trouble = False, None, None

    async def _finalize(self, store: sealing.SealingStore) -> events.Event:
        self._display.show("Running", "finalizing")
        if (identity := self.sector.id) is not None:
            await self._tell(partial(self._manager.report_finalized, identity))
        # A kill from here on repeats both: the manager has the sector finalized, the files are no longer needed.
        return await self._clear(store.clear, events.Finalized())

    async def _discard(self, store: sealing.SealingStore, reason: str, *, tell_manager: bool) -> events.Event:
        sector = self.sector
        self._display.show("Running", "giving up")
        log.warning("sector given up", sector=str(sector.job_id), reason=reason)
        if tell_manager and sector.job_id is not None:
            await self._tell(partial(repertoire.tell_given_up, self._manager, self.around.instance, sector, reason))

        def away() -> None:
            moved = store.discard(str(sector.job_id))
            log.info("files moved to the trash", folder=str(moved))
            self._empty_trash(store)

        return await self._clear(away, events.Discarded())

    async def _beat(self) -> None:
        """Keep the lease of a window PoSt for as long as the thread works on it."""

        def at_work() -> str | None:
            is_working = self.sector.state in {State.Allocated, State.Generated} and self.sector.paused_at is None
            return self.sector.post.id if self.sector.post is not None and is_working else None

        await heartbeats.run(
            self._manager,
            self.around.instance,
            at_work=at_work,
            moved=self.moved,
            lost=lambda why: self._ask(events.Withdrawn(why), now=True),
            interval_seconds=lambda: self._now.options.heartbeat_seconds,
        )

    def _on_withdrawn(self, sector: wire_sectors.SectorID, reason: str) -> None:
        if sector == self.sector.id:
            self._ask(events.Withdrawn(reason), now=False)

    def _on_overtaken(self, sector: wire_sectors.SectorID, failure: failures.Stale) -> None:
        # A sector that is being given up needs no word, and what is said already no second one: its report would ask again.
        over = self.sector.state in {State.Aborted, State.Finished} or self.sector.last_error == failure.text
        if sector == self.sector.id and not over and self._asked is None:
            self._ask(_failed(failure), now=True)

    async def _tell(self, call: Callable[[], Awaitable[None]]) -> None:
        """Deliver the last word on a sector; that the manager does not know it (any more) is as good."""
        await self._reports.sent()
        sector = self.sector
        with suppress(failures.Abort, failures.Unknown, failures.Stale):
            if sector.id is not None and sector.id != self._claimed:
                await self._take(sector.id)
                self._claimed = sector.id
            await call()

    async def _clear(self, work: Callable[[], None], done: events.Event) -> events.Event:
        try:
            await anyio.to_thread.run_sync(work)
        except OSError as error:
            if full.is_full(error):
                raise failures.Full(f"the sealing store {self.location}", str(error)) from error
            if exhausted.is_lacking(error):
                raise failures.Temporary(str(error)) from error
            msg = f"cannot clear {self.location}/data: {error.strerror}: {error.filename}"
            raise failures.Critical(msg) from error
        return done

    async def check_target(self, state: str) -> State:
        """Return the state to `resume` at, which has to follow at once: a sector that goes on has other files.

        Raises:
            ResumeRefused: The plan or the files at hand do not allow it, or the disk does not answer.
        """
        sector, plan = self.sector, planner.PLANS[self.sector.plan]
        if self.trouble is not None:
            # What it was about to record is still in its hands, and comes first.
            msg = f"cannot resume at {state}: {self.trouble}; mend that and resume without a state"
            raise ResumeRefused(msg)
        at_hand: frozenset[str] = frozenset()
        if sector.id is not None:
            place = Layout(self.location / "data", sector.id, sector.proof_type.size)
            try:
                with anyio.fail_after(PATIENCE_SECONDS):
                    at_hand = await self._look(place)
            except TimeoutError:
                msg = f"cannot resume at {state}: its disk does not answer ({self.location})"
                raise ResumeRefused(msg) from None
            if self.sector is not sector:
                msg = f"cannot resume at {state}: it has moved on meanwhile"
                raise ResumeRefused(msg)
        refusal = plan.refusal(sector, state, at_hand)
        if refusal is not None:
            possible = ", ".join(plan.targets(sector, at_hand)) or "none, resume without a state"
            msg = f"cannot resume at {state}: {refusal}; possible: {possible}"
            raise ResumeRefused(msg)
        return State(state)

    async def _look(self, place: Layout) -> frozenset[str]:
        """Return which parts of a sector are at hand; `TimeoutError` while an earlier look hangs.

        A look that was given up goes on in its thread of the process: another one would only take a second.
        """

        def look() -> frozenset[str]:
            if self._looking:
                raise TimeoutError
            self._looking = True
            try:
                return place.at_hand()
            finally:
                self._looking = False

        return await anyio.to_thread.run_sync(look, abandon_on_cancel=True, limiter=self._disk)

    async def _reload_settings(self) -> failures.Critical | None:
        """Read the thread's options anew; return why they cannot be read.

        A file that cannot be used must not stop a machine that seals well: what was read last stays in force, and the
        file's error is shown with the thread (and so becomes an alert) until it is mended.
        """
        try:
            with self._display.meanwhile("Waiting", "its options (config.toml)"):
                # Given up only when the worker ends, which must not wait for a disk that hangs.
                now = await anyio.to_thread.run_sync(self.settings, abandon_on_cancel=True, limiter=self._disk)
        except (failures.Critical, OSError) as error:
            failure = error if isinstance(error, failures.Critical) else failures.Critical(str(error))
            unread = f"{failure.text}; the options from before stay in force until the file is mended"
            if unread != self._unread:
                log.error("thread options not read", location=str(self.location), error=str(failure))
            self._unread = unread
            return failure
        if now != self._now and self._has_read:
            log.info("thread options changed", location=str(self.location), plan=now.plan)
        self._now, self._unread, self._has_read = now, None, True
        return None

    async def _lacking(self, store: sealing.SealingStore) -> str | None:
        """Say what the store lacks for another sector, or `None` if one fits; old trash takes no room from it."""
        plan, allowed = self._now.plan, self._now.options.allowed_proofs
        attached = self.around.persist_stores.values()
        if planner.PLANS[plan].persists and attached and all(one.read_only for one in attached):
            return f"a persist store that is not readonly ([[attached]]): the plan {plan} needs one"

        def look() -> str | None:
            self._empty_trash(store)
            return room.lacking(plan, allowed, self.location, self.around.trash_retention_seconds)

        return await anyio.to_thread.run_sync(look)

    def _empty_trash(self, store: sealing.SealingStore) -> None:
        """Delete what is old in the trash; what cannot be deleted keeps nobody from working."""
        try:
            store.empty_trash(self.around.trash_retention_seconds)
        except OSError as error:
            if str(error) != self._unemptied:
                log.warning("trash not emptied", location=str(self.location), error=str(error))
            self._unemptied = str(error)

    def _ask(self, event: events.Event, *, now: bool) -> None:
        """Apply `event` at the next boundary, or with `now` end the running handler for it."""
        self._asked = event
        self._interrupt(now=now)

    def _is_asked_during(self, action: planner.Action) -> bool:
        return self._asked is not None or (self._pausing and not _is_end(action))

    def _interrupt(self, *, now: bool) -> None:
        self.wake()
        if now and self._handler is not None:
            self._handler.cancel(reason="something else was asked for")

    def wake(self) -> None:
        """Let a waiting thread look again at what it waits for."""
        self._nudge.set()

    async def moved(self) -> None:
        """Return after the next change of the sector."""
        await self._moved.wait()

    async def _nudged(self, wanted: Callable[[], bool]) -> None:
        """Return once `wanted` holds; `_Stopped` if the worker ends first."""
        while not wanted():
            if self._stopping:
                raise _Stopped
            self._nudge = anyio.Event()
            await self._nudge.wait()


def _is_end(action: planner.Action) -> bool:
    """Whether the sector is over, and needs no more than this."""
    return isinstance(action, planner.Finalize | planner.Discard)


def _failed(failure: failures.Failure) -> events.Failed:
    return events.Failed(failure.level.value, str(failure), away=isinstance(failure, failures.Away))


def _defect(error: Exception) -> failures.Critical:
    """Return the failure for what a thread cannot go on with; what nobody expected leaves its traceback in the log."""
    if isinstance(error, sealing.StoreError | identity.NotTheStore | journal.JournalError | planner.UnexpectedEvent):
        return failures.Critical(str(error))
    log.error("unexpected error", exc_info=error)
    return failures.Critical(f"{type(error).__name__}: {error}")


class _Stopped(BaseException):  # like a cancellation: no handler takes it for an error
    """The worker ends: leave everything as it is in the journal."""
