"""The worker's control API: list, pause and resume its sealing threads, and more.

`VenusWorker.*` is that of damocles v0.13: names, parameters, results and error texts; a resume at a state that the plan
or the files do not allow is refused with code -32602, where the original accepts any name. `Damocles.*` is ours
(`wire.control`).
"""

from collections.abc import Callable, Mapping, Sequence

import anyio
import anyio.to_thread

from damocles import WIRE_VERSION, __version__, methods
from damocles.operating import selection
from damocles.rpc import core, errors
from damocles.sealing import foresight
from damocles.stores import journal
from damocles.wire import control, fleet
from damocles.worker.serving import drain, logbook
from damocles.worker.thread import acts, loop

VERSION = f"{WIRE_VERSION}-damocles-py-{__version__}"

LONGEST_LOG_WAIT_SECONDS = 30.0
# With more threads an act answers what it asked of them: to see how a whole fleet goes on takes longer than people wait.
SETTLED_THREADS = 10


class Control:
    """Requests of operators to the threads of one worker. Nothing here waits for a stage."""

    def __init__(
        self,
        all_threads: Sequence[loop.SealingThread],
        draining: drain.Drain,
        logs: logbook.Logbook,
        managers: Callable[[], list[control.ManagerSeen]] = list,
    ) -> None:
        self._everyone = all_threads  # whoever is there when somebody asks
        self._drain = draining
        self._logs = logs
        self._managers = managers
        # Not the limit that all share: a disk that hangs must not use that up.
        self._histories = anyio.CapacityLimiter(4)

    @property
    def _threads(self) -> Mapping[int, loop.SealingThread]:
        return {thread.index: thread for thread in self._everyone}

    def register(self, service: core.Service) -> None:
        """Serve the API."""
        service.add(methods.worker.list_threads, self.list_threads)
        service.add(methods.worker.pause, self.pause)
        service.add(methods.worker.resume, self.resume)
        service.add(methods.worker.version, self.version)
        service.add(methods.worker.threads, self.details)
        service.add(methods.worker.act_on, self.act_on)
        service.add(methods.worker.drain, self.drain)
        service.add(methods.worker.drain_state, self.drain_state)
        service.add(methods.worker.logs, self.logs)
        service.add(methods.worker.history, self.history)
        service.add(methods.worker.managers, self.managers)

    # The original's.

    async def list_threads(self) -> list[fleet.ThreadInfo]:
        """Return every thread, in the order of the configuration."""
        return [thread.info() for thread in self._threads.values()]

    async def pause(self, index: int) -> bool:
        """Pause a thread at its next boundary."""
        thread = self._find(index)
        asked = thread.pause()
        await acts.settled(thread, control.Act(verb="pause"))
        return asked

    async def resume(self, index: int, state: str | None = None) -> bool:
        """Resume a paused thread; false if it is not paused."""
        thread = self._find(index)
        try:
            target = await thread.check_target(state) if state is not None and thread.takes_resume else None
        except foresight.ResumeRefused as refusal:
            raise errors.RpcError(errors.Code.INVALID_PARAMS, str(refusal)) from refusal
        resumed = thread.resume(target)
        if resumed:
            await acts.settled(thread, control.Act(verb="resume"))
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
        """Pause, resume or abort the selected threads, or predict that; return one outcome for each, in order."""
        try:
            selection.check(chosen)
        except selection.NothingSelected as error:
            raise errors.RpcError(errors.Code.INVALID_PARAMS, str(error)) from error
        if act.verb not in acts.VERBS:
            text = f"{act.verb!r} is not an act on threads: use pause, resume or abort"
            raise errors.RpcError(errors.Code.INVALID_PARAMS, text)
        targets = [thread for thread in self._threads.values() if selection.holds(chosen, thread.detail())]
        outcomes: dict[int, control.Outcome] = {}
        settle = len(targets) <= SETTLED_THREADS

        async def do(thread: loop.SealingThread) -> None:
            outcomes[thread.index] = await acts.act(thread, act, settle=settle)

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
                    hosts=list(entry.hosts),
                )
                for thread in self._threads.values()
                if (thread.location / "meta" / journal.FILE_NAME).exists()
                for entry in journal.read(thread.location, sector=sector)
            ]

        entries = await anyio.to_thread.run_sync(read, abandon_on_cancel=True, limiter=self._histories)
        return sorted(entries, key=lambda entry: entry.at)

    async def managers(self) -> list[control.ManagerSeen]:
        """Return the managers that the worker may call."""
        return self._managers()

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

    def _find(self, index: int) -> loop.SealingThread:
        thread = self._threads.get(index)
        if thread is None:
            raise errors.RpcError(errors.Code.INVALID_PARAMS, f"worker #{index} not found")
        return thread
