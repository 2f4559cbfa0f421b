"""A sealing thread: carries out the decisions of its mind for one store, until it is stopped.

What the thread is, and does next, is a value (`sealing.thread.Thread`), which `sealing.shift` leads from event to event;
everything that must survive is in its sector, and that is in the journal before anything follows from it. Requests from
people (`pause`, `resume`, `stop`) are events like the results of stages: they never wait for the thread.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

from damocles import pulse
from damocles.sealing import events, failures, foresight, shift, thread
from damocles.sealing.foresight import ResumeRefused
from damocles.sealing.sectors import Sector
from damocles.sealing.states import State
from damocles.stores import sealing
from damocles.stores.layout import Layout
from damocles.wire import control, fleet, seal
from damocles.wire import sectors as wire_sectors
from damocles.worker.thread import display, hands, heartbeats, reports, views
from damocles.worker.thread.surroundings import Settings, Surroundings, opened

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 1.0  # with a disk that an operator's request has to look at


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
    mind: thread.Thread = field(init=False)
    remedy: str | None = field(init=False, default=None)  # what a pause waits for, if more is known than "resume"

    def __post_init__(self) -> None:
        self.mind = thread.Thread(
            sector=Sector(plan=self.plan), plan=self.plan, orders=self.around.gate.orders(), since=self.clock()
        )
        self._display = display.Display(self.clock)
        # A disk that hangs takes one thread of the process here, and none of those that all threads share.
        self._disk = anyio.CapacityLimiter(1)
        self._looking = False  # at the files, for `check_target`; changed by the thread of the process that looks
        self._changed = pulse.Pulse()  # with every change of the mind
        self._moved = pulse.Pulse()  # when listings change
        self._handling: anyio.CancelScope | None = None  # of the task that the hands are at
        self._manager = self.around.manager.for_one_thread()
        self._reports = reports.Reporter(
            self._manager,
            seal.WorkerIdentifier(self.around.instance, str(self.location)),
            self._on_withdrawn,
            self._on_overtaken,
        )

    # What is to be seen.

    @property
    def sector(self) -> Sector:
        """The sector as it is recorded, or the absence of one."""
        return self.mind.sector

    @property
    def activity(self) -> display.Activity:
        """What the thread does right now, for people."""
        return self._display.now

    @property
    def trouble(self) -> str | None:
        """What keeps the thread from working and is not in the journal."""
        return self.mind.trouble

    @property
    def paused(self) -> bool:
        """Whether the thread waits for `resume`."""
        return self.mind.is_paused

    @property
    def takes_resume(self) -> bool:
        """Whether the thread can be resumed: while it is paused, and while it is recorded that it stays so."""
        return shift.takes_resume(self.mind)

    @property
    def pausing(self) -> bool:
        """Whether a pause is pending."""
        return self.mind.is_pausing

    def info(self) -> fleet.ThreadInfo:
        """Return the thread as the original's listings show it."""
        return views.info(self, self.clock())

    def detail(self) -> control.ThreadDetail:
        """Return the thread with everything that helps to understand it."""
        return views.detail(self, self.around.instance, self.clock())

    # Requests: called from the control API, never block.

    def pause(self, *, now: bool = False) -> bool:
        """Pause at the next boundary; true, since a pause can always be asked for.

        A thread that only waits for a slot pauses at once. With `now` a running stage is killed as well; nothing of
        its work is kept, and `resume` runs it again.
        """
        self.hear(events.PauseWanted(now))
        return True

    def resume(self, target: State | None) -> bool:
        """Go on, if given from a state that `check_target` has just allowed, or without a pause that has not come yet.

        Returns:
            False if the thread is not paused.
        """
        return self.hear(events.Resume(target))

    def abort(self, reason: str) -> None:
        """Abort the sector: kill a running stage, report to the manager, move the files to the trash."""
        self.hear(thread.Asked(events.Abort(reason), now=True))

    def stop(self, *, now: bool = False) -> None:
        """Begin no further stage and end as soon as the running one is done; one that waits for its turn never runs.

        With `now` a running stage is killed; whoever next uses the store runs it again.
        """
        self.hear(thread.Stop(now))

    def leave(self) -> None:
        """Finish the sector, begin no other one, and end."""
        self.hear(thread.Leave())

    def wake(self) -> None:
        """Let the thread look at the gate again."""
        self.hear(self.around.gate.orders())

    async def moved(self) -> None:
        """Return after the next change that listings show."""
        await self._moved.wait()

    async def check_target(self, state: str) -> State:
        """Return the state to `resume` at, which has to follow at once: a sector that goes on has other files.

        Raises:
            ResumeRefused: The plan or the files at hand do not allow it, or the disk does not answer.
        """
        sector = self.sector
        at_hand: frozenset[str] = frozenset()
        if sector.id is not None and self.trouble is None:
            place = Layout(self.location / "data", sector.id, sector.proof_type.size)
            try:
                with anyio.fail_after(PATIENCE_SECONDS):
                    at_hand = await self._look(place)
            except TimeoutError:
                raise ResumeRefused(f"cannot resume at {state}: its disk does not answer ({self.location})") from None
            # What is recorded of a thread that stays paused, as its restart, moves no files.
            if not self.takes_resume or (self.sector.id, self.sector.state) != (sector.id, sector.state):
                raise ResumeRefused(f"cannot resume at {state}: it has moved on meanwhile")
        return foresight.target(self.mind, state, at_hand)

    async def _look(self, place: Layout) -> frozenset[str]:
        """Return which parts of a sector are at hand; `TimeoutError` while an earlier look hangs.

        A look that timed out goes on in its thread of the process: another one would only occupy a second.
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

    # The thread itself.

    def hear(self, event: thread.Event) -> bool:
        """Let something happen to the thread; return whether that changes anything."""
        before, self.mind = self.mind, self.mind
        self.mind, instructions = shift.step(before, event, self.clock())
        for each in instructions:
            match each:
                case shift.Send(sector, report):
                    self._reports.send(sector, report)
                case shift.Keep(sector, attempt):
                    self._manager.hold(sector, attempt)
        if self.mind is before:
            return False
        self._display.draw(self.mind)
        self._say(before, event)
        if self.mind.halting and self._handling is not None:
            self._handling.cancel(reason="something else was requested")
        self._changed.beat()
        if _shows_more(before, self.mind):
            self._moved.beat()
            self.around.gate.changed()
        return True

    async def run(self) -> None:
        """Work until stopped."""
        structlog.contextvars.bind_contextvars(thread=self.index)
        self.wake()
        self._display.draw(self.mind)
        with ExitStack() as stack:
            self._hands = hands.Hands(self, self._manager, self._reports.sent, stack, self._disk)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._reports.run)
                tasks.start_soon(self._beat)
                tasks.start_soon(self._write)
                await self._work()
                log.info("thread stopped", sector=str(self.sector.job_id), state=self.sector.state)
                tasks.cancel_scope.cancel()

    async def _work(self) -> None:
        """Keep the hands at the mind's task."""
        hands.show_calls(self.hear, self.clock)  # not of reports and heartbeats, which go on beside
        while not isinstance(task := self.mind.doing, thread.End):
            if task is None:
                await self._changed.wait()  # for the pen
                continue
            answer: thread.Event = thread.Interrupted()
            if not self.mind.halting:
                with anyio.CancelScope() as self._handling:
                    answer = await self._hands.do(task)
                self._handling = None
            self.hear(answer)

    async def _write(self) -> None:
        """Keep the pen at the mind's entry."""
        while True:
            match entry := self.mind.writing:
                case thread.Entry():
                    self.hear(await self._hands.record(entry))
                case thread.Rest(seconds):
                    with anyio.move_on_after(seconds):
                        while self.mind.writing is entry:
                            await self._changed.wait()
                    if self.mind.writing is entry:
                        self.hear(thread.Rested())
                case None:
                    await self._changed.wait()

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
            lost=lambda why: self.hear(thread.Asked(events.Withdrawn(why), now=True)),
            interval_seconds=lambda: self._hands.now.options.heartbeat_seconds,
        )

    def _on_withdrawn(self, sector: wire_sectors.SectorID, reason: str) -> None:
        self.hear(thread.Asked(events.Withdrawn(reason), now=False, sector=sector))

    def _on_overtaken(self, sector: wire_sectors.SectorID, failure: failures.Stale) -> None:
        self.hear(thread.Asked(hands.failed(failure), now=True, sector=sector))

    def _say(self, before: thread.Thread, event: thread.Event) -> None:
        """Log what people want to find in the log."""
        mind = self.mind
        if mind.trouble is not None and mind.trouble != before.trouble:
            is_looked_for = isinstance(mind.doing, thread.Mend) and mind.doing.seconds is not None
            cause = mind.doing.cause if isinstance(mind.doing, thread.Mend) else None
            if is_looked_for:
                log.error("thread blocked, looking again until it is fixed", failure=mind.trouble)
            else:
                log.error("thread blocked, waiting for resume", failure=mind.trouble, exc_info=cause)
        if mind.wish_failure is not None and mind.wish_failure != before.wish_failure:
            log.warning(
                "pause not recorded yet: a restart would forget it",
                location=str(self.location),
                error=mind.wish_failure,
            )
        if isinstance(event, thread.Found):
            job, state = str(mind.sector.job_id), mind.sector.state
            log.info("thread started", location=str(self.location), sector=job, state=state)


def _shows_more(before: thread.Thread, after: thread.Thread) -> bool:
    """Whether a step changes what listings show, but for the course of a stage."""
    return (
        before.sector is not after.sector
        or before.is_paused != after.is_paused
        or before.is_pausing != after.is_pausing
        or before.is_unrecorded != after.is_unrecorded
        or before.action is not after.action
    )
