"""The child that carries the tasks of a group to a Ray cluster: `python -m damocles.stages.far.helper`.

To the worker it is a processor like any other (`protocol`). It is ready at once; tasks wait in it, and say for what, while there is no
cluster that can be used. It ends with its standard input, and everything that it has started on the cluster ends with it: by its own
word, by Ray's, or by the lease.
"""

import os
import signal
from typing import NoReturn

import anyio
import anyio.abc
import anyio.to_thread
import msgspec

from damocles import pulse
from damocles.stages import host, processes, protocol
from damocles.stages.far import attempts, cluster, near, settings, shares, slots, workplace
from damocles.stages.processor import runner

_LEAVE_SECONDS = 2.0
_LOOK_SECONDS = 0.5
_SEEN_SECONDS = 120.0  # NFS keeps what it knows of a folder for up to a minute
_START_SECONDS = 60.0  # that a task waits for the first place on a cluster, where it may run here instead


class Helper:
    """Takes requests, finds a slot for each, and writes what comes of it."""

    def __init__(self, group: settings.Group, requests: int, answers: int) -> None:
        self._group = group
        self._requests = requests
        self._answers = answers
        self._writing = anyio.Lock()
        self._open: dict[int, anyio.CancelScope] = {}
        self._free: list[slots.Slot] = []
        self._slots: list[slots.Slot] = []  # free and taken, and those here
        self._news = pulse.Pulse()
        self._cluster = cluster.Cluster(group, self._changed)
        self._tasks: anyio.abc.TaskGroup

    def _changed(self) -> None:
        if self._cluster.why:
            runner.say(self._cluster.why)
        self._news.beat()

    async def serve(self) -> None:
        """Serve until standard input ends, or somebody asks for an end."""
        await self._write(protocol.ready_line(self._group.stage))
        async with anyio.create_task_group() as self._tasks:
            self._tasks.start_soon(self._obey)
            self._tasks.start_soon(self._obey_again)
            self._tasks.start_soon(self._cluster.run)
            self._tasks.start_soon(self._leave_without_head)
            for _ in range(self._group.slots):
                self._tasks.start_soon(self._keep_slot)
            lines = protocol.Lines()
            async for data in processes.chunks(self._requests):
                for line in lines.feed(data):
                    self._take(line)
            await self._leave("got empty line, parent might be out")

    async def _obey_again(self) -> None:
        # Ray has put a handler of its own in place of ours, which writes a page to the log.
        await self._cluster.joined.wait()
        await self._obey()

    async def _obey(self) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
            async for _ in received:
                await self._leave("asked to end")

    async def _leave(self, why: str) -> NoReturn:
        """End what runs, by a word of ours where that is heard in time: Ray and the leases would do it later."""
        with anyio.move_on_after(_LEAVE_SECONDS, shield=True):
            async with anyio.create_task_group() as tasks:
                for slot in self._slots:
                    tasks.start_soon(slot.stop_now)
        runner.leave(why)

    async def _leave_without_head(self) -> None:
        """End once the head is gone and nothing runs: the worker starts another helper, and that joins again."""
        while not (self._cluster.is_headless and all(slot.attempt is None for slot in self._slots)):
            await self._news.wait()
        await self._leave(self._cluster.why)

    async def _keep_slot(self) -> None:
        while True:
            slot = await self._cluster.slot()
            self._slots.append(slot)
            self._give_back(slot)
            await slot.watch()
            runner.say(f"{slot.host} is lost: {slot.trouble}")
            self._slots.remove(slot)
            await anyio.to_thread.run_sync(slot.place.close)

    def _give_back(self, slot: slots.Slot) -> None:
        self._free.append(slot)
        self._news.beat()

    def _take(self, line: bytes) -> None:
        try:
            request = protocol.read_request(line)
        except ValueError as error:
            runner.say(f"request skipped: {error}: {protocol.excerpt(line)}")
            return
        if not request.cancel:
            self._tasks.start_soon(self._work, request, line + b"\n")
        elif (scope := self._open.get(request.id)) is not None:
            scope.cancel()

    async def _work(self, request: protocol.Request, line: bytes) -> None:
        answer = protocol.failure(request.id, "cancelled: nobody waits for this task any more")
        with anyio.CancelScope() as scope:
            self._open[request.id] = scope
            answer = await self._carried(request, line)
        del self._open[request.id]
        await self._write(answer)
        self._news.beat()

    async def _carried(self, request: protocol.Request, line: bytes) -> bytes:
        slot = await self._slot(request.id)
        if slot is None:
            return await self._carried_here(request, line)
        try:
            await self._write(protocol.progress(request.id, protocol.Progress(0)))  # it waits for nothing any more
            attempt = attempts.of(self._group.stage, request.task)
            paths = [*shares.paths(msgspec.json.decode(request.task)), *([str(attempt.data)] if attempt else [])]
            if (problem := await shares.problem(self._group, paths, slot, writes=attempt is not None)) is not None:
                return protocol.failure(request.id, problem)
            return await self._attempted(slot, attempt, request, line)
        finally:
            self._give_back(slot)

    async def _attempted(
        self, slot: slots.Slot, attempt: attempts.Attempt | None, request: protocol.Request, line: bytes
    ) -> bytes:
        """Make an attempt, and take the files that it has made; those of one that is lost, or ended, are over before this returns."""
        if attempt is None:
            return await slot.carry(request.id, line, self._write)

        async def emit(line: bytes) -> None:
            await self._write(attempt.told(line))

        try:
            await anyio.to_thread.run_sync(attempt.begin)
            # What others have left may be the layers of a sector: nobody waits until they are deleted.
            self._tasks.start_soon(anyio.to_thread.run_sync, attempt.sweep)
            sent = protocol.request(request.id, attempt.task, request.stage)
            answer = attempt.told(await slot.carry(request.id, sent, emit))
            if protocol.is_success(answer):
                if unseen := await self._unseen(slot, attempt):
                    return protocol.lost(request.id, f"the files of an attempt on {slot.host} are lost: {unseen}")
                await anyio.to_thread.run_sync(attempt.take)
                await anyio.to_thread.run_sync(attempt.remove)
        except OSError as error:
            reason = f"{error.strerror or type(error).__name__}: {error.filename}"
            return protocol.failure(request.id, f"the files of an attempt on {slot.host} cannot be moved: {reason}")
        else:
            return answer
        finally:
            with anyio.CancelScope(shield=True):
                if await anyio.to_thread.run_sync(attempt.end):
                    self._tasks.start_soon(anyio.to_thread.run_sync, attempt.sweep)

    async def _unseen(self, slot: slots.Slot, attempt: attempts.Attempt) -> str:
        """Wait until what was made there is seen here: a shared disk may take its time. Return why it is not, or nothing."""
        unseen = ""
        try:
            made = await slot.place.listed(str(attempt.root))
            with anyio.move_on_after(_SEEN_SECONDS):
                while unseen := await anyio.to_thread.run_sync(attempt.unseen, made):  # noqa: ASYNC110 - of a disk
                    await anyio.sleep(_LOOK_SECONDS)
        except Exception as error:  # noqa: BLE001 - Ray's errors are many, and mean the same here
            return type(error).__name__
        return f"{unseen} is not seen here after {_SEEN_SECONDS:g}s" if unseen else ""

    async def _slot(self, number: int) -> slots.Slot | None:
        """Return a slot as soon as one is free; `None` if the task is to run here."""
        told = ""
        may_run_here = self._group.away == "local"
        deadline = anyio.current_time() + (_START_SECONDS if may_run_here else float("inf"))
        while True:
            self._free = [slot for slot in self._free if not slot.lost.is_set()]
            if self._free:
                return self._free.pop()
            left = deadline - anyio.current_time()
            if may_run_here and (self._cluster.is_refused or left <= 0):
                return None
            why = self._cluster.why or "a place on the Ray cluster"
            if why != told:
                told = why
                await self._write(protocol.progress(number, protocol.Progress(0, waiting=why)))
            else:
                with anyio.move_on_after(left):
                    await self._news.wait()

    async def _carried_here(self, request: protocol.Request, line: bytes) -> bytes:
        number = request.id
        why = self._cluster.why or "no place on the Ray cluster came free"
        await self._write(protocol.progress(number, protocol.Progress(0)))
        await self._write(protocol.log(number, f"runs on this machine: {why}"))
        slot = await slots.at(near.Near(workplace.of(self._group)), self._group.lease_seconds)
        self._slots.append(slot)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(slot.watch)
                attempt = attempts.of(self._group.stage, request.task)
                answer = await self._attempted(slot, attempt, request, line)
                tasks.cancel_scope.cancel()
            return answer
        finally:
            self._slots.remove(slot)
            slot.place.close()

    async def _write(self, line: bytes) -> None:
        with anyio.CancelScope(shield=True):
            async with self._writing:
                await anyio.to_thread.run_sync(runner.write_whole, self._answers, line)


def main() -> NoReturn:
    """Run the helper of the group that the environment names; ends by leaving, whatever its threads do."""
    host.end_with_parent()
    group = msgspec.json.decode(os.environ.pop(settings.VARIABLE), type=settings.Group)
    requests, answers = runner.take_over_pipes()
    os.set_blocking(requests, False)
    anyio.run(Helper(group, requests, answers).serve)
    runner.leave("has nothing to do")


if __name__ == "__main__":
    main()
