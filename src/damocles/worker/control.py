"""The worker's control API: list, pause and resume its sealing threads, and more.

`VenusWorker.*` is that of damocles v0.13: names, parameters, results and error texts; a resume at a state that the plan
or the files do not allow is refused with code -32602, where the original accepts any name. `Damocles.*` is ours
(`wire.control`).
"""

from collections.abc import Sequence

import anyio
import anyio.to_thread

from damocles import WIRE_VERSION, __version__
from damocles.rpc import core, errors
from damocles.sealing import planner, selection
from damocles.sealing.states import State
from damocles.stores import journal
from damocles.wire import control, fleet
from damocles.worker import drain, logbook, threads

VERSION = f"{WIRE_VERSION}-damocles-py-{__version__}"

LONGEST_LOG_WAIT_SECONDS = 30.0
# Less than what the command lines leave to workers, so that an act that takes longer still has its answer.
ABORT_PATIENCE_SECONDS = 2.5
SETTLING_SECONDS = 0.5
# With more threads an act answers what it asked of them: to see how a whole fleet goes on takes longer than people wait.
SETTLED_THREADS = 10


class Control:
    """Requests of operators to the threads of one worker. Nothing here waits for a stage."""

    def __init__(
        self, all_threads: Sequence[threads.SealingThread], draining: drain.Drain, logs: logbook.Logbook
    ) -> None:
        self._threads = {thread.index: thread for thread in all_threads}
        self._drain = draining
        self._logs = logs
        # Not the limit that all share: a disk that hangs must not use that up.
        self._histories = anyio.CapacityLimiter(4)

    def register(self, service: core.Service) -> None:
        """Serve the API."""
        service.add("VenusWorker.WorkerList", self.list_threads)
        service.add("VenusWorker.WorkerPause", self.pause)
        service.add("VenusWorker.WorkerResume", self.resume)
        service.add("VenusWorker.WorkerVersion", self.version)
        service.add("Damocles.Threads", self.details)
        service.add("Damocles.ActOn", self.act_on)
        service.add("Damocles.Drain", self.drain)
        service.add("Damocles.DrainState", self.drain_state)
        service.add("Damocles.Logs", self.logs)
        service.add("Damocles.History", self.history)

    # The original's.

    async def list_threads(self) -> list[fleet.ThreadInfo]:
        """Return every thread, in the order of the configuration."""
        return [thread.info() for thread in self._threads.values()]

    async def pause(self, index: int) -> bool:
        """Pause a thread at its next boundary."""
        thread = self._find(index)
        asked = thread.pause()
        await _settled(thread, control.Act(verb="pause"))
        return asked

    async def resume(self, index: int, state: str | None = None) -> bool:
        """Resume a paused thread; false if it is not paused."""
        thread = self._find(index)
        try:
            target = await thread.check_target(state) if state is not None and thread.paused else None
        except threads.ResumeRefused as refusal:
            raise errors.RpcError(errors.Code.INVALID_PARAMS, str(refusal)) from refusal
        resumed = thread.resume(target)
        if resumed:
            await _settled(thread, control.Act(verb="resume"))
        return resumed

    async def version(self) -> str:
        """Return the version in the form of the original's."""
        return VERSION

    # Ours.

    async def details(self) -> list[control.ThreadDetail]:
        """Return every thread with what it waits for, since when, and which process works for it."""
        return [thread.detail() for thread in self._threads.values()]

    async def act_on(
        self,
        chosen: control.Selection,
        act: control.Act,
        asked_by: str = "",
    ) -> list[control.Outcome]:
        """Pause, resume or abort the selected threads, or say what that would do; one outcome for each, in order."""
        try:
            selection.check(chosen)
        except selection.NothingSelected as error:
            raise errors.RpcError(errors.Code.INVALID_PARAMS, str(error)) from error
        if act.verb not in {"pause", "resume", "abort"}:
            text = f"{act.verb!r} cannot be done to a thread: use pause, resume or abort"
            raise errors.RpcError(errors.Code.INVALID_PARAMS, text)
        targets = [thread for thread in self._threads.values() if selection.holds(chosen, thread.detail())]
        outcomes: dict[int, control.Outcome] = {}
        settle = len(targets) <= SETTLED_THREADS

        async def do(thread: threads.SealingThread) -> None:
            outcomes[thread.index] = await self._act(thread, act, settle=settle)

        async with anyio.create_task_group() as tasks:
            for thread in targets:
                tasks.start_soon(do, thread)
        return [*(outcomes[thread.index] for thread in targets), *selection.missing(chosen, self._threads)]

    async def drain(
        self,
        on: bool,
        deadline_seconds: control.Seconds | None = None,
        reason: str = "",
        asked_by: str = "",
    ) -> control.Drain:
        """Begin or end a drain."""
        return await self._drain.set(on=on, deadline_seconds=deadline_seconds, reason=reason)

    async def drain_state(self) -> control.Drain:
        """Return whether the worker drains, and what is left to do."""
        return self._drain.state()

    async def logs(self, index: int, after: int = 0, wait_seconds: control.Seconds = 0.0) -> list[control.LogLine]:
        """Return the lines of a thread's stages after number `after`; wait up to half a minute for the next one."""
        if index not in self._threads:
            raise errors.RpcError(errors.Code.UNKNOWN_THREAD, selection.no_thread([index], self._threads))
        return await self._logs.read(index, after, min(wait_seconds, LONGEST_LOG_WAIT_SECONDS))

    async def history(self, sector: str | None = None) -> list[control.HistoryEntry]:
        """Return what the journals know: of one sector, or of all."""

        def read() -> list[control.HistoryEntry]:
            return [
                control.HistoryEntry(
                    at=entry.at,
                    location=str(thread.location),
                    plan=entry.plan,
                    sector=entry.sector,
                    attempt=entry.attempt,
                    prev=entry.prev,
                    state=entry.state,
                    event=entry.event,
                    seconds=entry.seconds,
                    error=entry.failure,
                )
                for thread in self._threads.values()
                if (thread.location / "meta" / journal.FILE_NAME).exists()
                for entry in journal.read(thread.location, sector=sector)
            ]

        entries = await anyio.to_thread.run_sync(read, abandon_on_cancel=True, limiter=self._histories)
        return sorted(entries, key=lambda entry: entry.at)

    @property
    def draining(self) -> bool:
        """Whether the worker drains, for a ping."""
        return self._drain.state().on

    async def news(self) -> None:
        """Return when something may have changed that listings show."""
        await self._drain.news()

    def summary(self) -> fleet.Summary:
        """Count the threads for a ping."""
        listed = [thread.info() for thread in self._threads.values()]
        states = [info.thread_state.state for info in listed]
        return fleet.Summary(
            threads=len(listed),
            empty=sum(info.job_id is None for info in listed),
            paused=states.count("Paused"),
            running=states.count("Running"),
            waiting=states.count("Waiting"),
            errors=sum(info.last_error is not None for info in listed),
        )

    async def _act(self, thread: threads.SealingThread, act: control.Act, *, settle: bool) -> control.Outcome:
        info, before = thread.info(), _look(thread)
        expected = _expected(thread, act)
        if act.verb == "abort":
            ok, text = await self._abort(thread, act)
        else:
            ok, text = self._pause(thread, act) if act.verb == "pause" else await self._resume(thread, act)
            if ok and settle and not act.dry_run:
                await _settled(thread, act)
        return control.Outcome(
            index=thread.index,
            sector=info.job_id,
            state=info.job_state,
            before=before,
            after=expected if act.dry_run and ok else _look(thread),
            ok=ok,
            text=text,
        )

    def _pause(self, thread: threads.SealingThread, act: control.Act) -> tuple[bool, str]:
        if thread.paused:
            return True, "is paused already"
        running = thread.activity.state == "Running" and thread.activity.pid is not None
        if act.now and running:
            text = f"its running stage (pid {thread.activity.pid}) is killed and will be done again"
        else:
            text = "at the end of its running stage" if running else "at once"
        if not act.dry_run:
            thread.pause(now=act.now)
        return True, f"pauses {text}"

    async def _resume(self, thread: threads.SealingThread, act: control.Act) -> tuple[bool, str]:
        if thread.pausing and not thread.paused and act.state is None:
            if not act.dry_run:
                thread.resume(None)
            return True, "goes on without the pause that was asked for"
        if not thread.paused:
            return False, "is not paused"
        try:
            target = await thread.check_target(act.state) if act.state is not None else None
        except threads.ResumeRefused as refusal:
            return False, str(refusal)
        at = (target or thread.sector.state).value
        if not act.dry_run and not thread.resume(target):
            return False, "is not paused"
        return True, f"goes on from {at}"

    async def _abort(self, thread: threads.SealingThread, act: control.Act) -> tuple[bool, str]:
        sector = thread.sector.job_id
        if sector is None:
            return False, "holds no sector"
        refusal = planner.PLANS[thread.sector.plan].refusal(thread.sector, State.Aborted, frozenset())
        if refusal is not None:
            return False, refusal
        if act.dry_run:
            return True, f"gives up {sector}: its process is killed, its files go to {thread.location}/trash"
        thread.give_up(f"aborted by an operator: {act.reason}" if act.reason else "aborted by an operator")
        with anyio.move_on_after(ABORT_PATIENCE_SECONDS):
            while thread.sector.job_id == sector:
                await thread.moved()
            return True, f"gave up {sector}; the manager knows, its files are in {thread.location}/trash"
        return True, f"is giving up {sector}; see its state and last error"

    def _find(self, index: int) -> threads.SealingThread:
        thread = self._threads.get(index)
        if thread is None:
            raise errors.RpcError(errors.Code.INVALID_PARAMS, f"worker #{index} not found")
        return thread


def _look(thread: threads.SealingThread) -> str:
    """Say what a thread does and where its sector is."""
    then = ", then pauses" if thread.pausing else ", then goes on" if thread.resuming else ""
    return f"{thread.activity.state} {thread.sector.state}{then}"


def _expected(thread: threads.SealingThread, act: control.Act) -> str:
    """Say how a thread would look after an act, in the words of `_look`."""
    doing, state = thread.activity, thread.sector.state
    if act.verb == "abort":
        return f"Idle {State.Empty}"
    if act.verb == "resume":
        return f"{doing.state} {state}" if thread.pausing and not thread.paused else f"Running {act.state or state}"
    at_once = act.now or thread.paused or doing.state != "Running" or doing.pid is None
    return f"Paused {state}" if at_once else f"{doing.state} {state}, then pauses"


async def _settled(thread: threads.SealingThread, act: control.Act) -> None:
    """Wait a moment until what was asked for shows, so that the answer has it; not where a stage must end first."""

    def is_over() -> bool:
        if act.verb == "pause":
            return thread.paused or (thread.activity.pid is not None and not act.now)
        return thread.activity.state != "Paused"

    with anyio.move_on_after(SETTLING_SECONDS):
        while not is_over():
            await thread.moved()
