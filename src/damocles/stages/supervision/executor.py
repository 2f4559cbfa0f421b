"""Run stages: pick a child, wait for what the task needs, send it, and clean up after whatever happens.

Where a stage runs:

*   in the children of its configured groups, if there are any;
*   else, if it keeps Groth16 parameters in memory, in a child of ours for this stage, which all lanes share;
*   else in the lane's own child. A lane is a sealing thread: it does one task at a time, and what is ended with it is
    its own.
"""

import contextlib
import functools
import types
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import anyio
import anyio.abc
import anyio.lowlevel
import msgspec

from damocles.stages import descriptors, errors, protocol
from damocles.stages.admission import grants, policy
from damocles.stages.processor import child
from damocles.stages.supervision import limits, pool
from damocles.wire import codec

# What a stage works on, or what makes it once the stage has its turn: some of it ages while it waits.
Task = msgspec.Struct | Callable[[], Awaitable[msgspec.Struct]]


async def made(task: Task) -> msgspec.Struct:
    """Return a task, made now if it is to be made."""
    return task if isinstance(task, msgspec.Struct) else await task()


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a run does: it waits for something, or a child works on it."""

    state: Literal["waiting", "running"]
    what: str  # `slot of c2 (limit 1)`, `lock gpu0`; `ext(pid: 4711)` while running
    pid: int | None = None
    host: str = ""  # another machine, on which the process is


class Stages:
    """Owns all children. Enter it, then `run`.

    Args:
        groups: Configured processors by stage; `sealing_daemons` are only kept alive.
        concurrent: How many tasks of a stage may run at a time.
        staggered: Seconds between two starts of a stage.
        locks: Capacities of the named locks.
        admitted_by: What the machine has for stages, and what they cost; without it nothing of that counts.
        envs: Variables for our own children, beside those of this process; groups have theirs.
        log: Takes the children's stderr; without it they write to ours.
        now: Clock of `staggered` and of the pauses between restarts.
        sleep: Waits on that clock.

    Raises:
        ValueError: A name, a lock or a limit makes no sense.
    """

    def __init__(
        self,
        *,
        groups: Mapping[str, Sequence[pool.ProcessorGroup]] | None = None,
        concurrent: Mapping[str, int] | None = None,
        staggered: Mapping[str, float] | None = None,
        locks: Mapping[str, int] | None = None,
        admitted_by: policy.Policy | None = None,
        envs: Mapping[str, str] | None = None,
        log: pool.LogSink | None = None,
        now: Callable[[], float] = anyio.current_time,
        sleep: limits.Sleep = anyio.sleep,
    ) -> None:
        self._groups = groups or {}
        self._concurrent = dict(concurrent or {})
        for stage in descriptors.STAGES.values():
            if stage.default_concurrency is not None and stage.name not in self._groups:
                self._concurrent.setdefault(stage.name, stage.default_concurrency)
        self._envs = envs or {}
        self._log = log
        self._sleep = sleep
        self._policy = admitted_by or policy.Policy(capacity={})
        self._desk = limits.Desk(
            concurrent=self._concurrent,
            staggered=staggered or {},
            locks=locks or {},
            capacity=self._policy.limits,
            now=now,
            sleep=sleep,
        )
        self._seats: dict[str, list[pool.Seat]] = {}
        self._lanes: dict[Hashable, pool.Seat] = {}
        self._tasks: anyio.abc.TaskGroup
        self._stack = contextlib.AsyncExitStack()
        self._check()

    def _check(self) -> None:
        for stage, groups in self._groups.items():
            if stage != pool.DAEMONS:
                descriptors.named(stage)
            if not groups:
                raise ValueError(
                    f"no subs section found: processors.{stage} is empty, leave it out to use the built-in processor"
                )
            for index, group in enumerate(groups):
                group.command(stage, index)
                self._desk.check_locks(group.locks)
                if group.concurrent is not None and group.concurrent < 1:
                    raise ValueError(
                        f"{pool.seat_name(stage, index)}: concurrent = {group.concurrent}: use 1 or more, or leave it out"
                    )

    async def __aenter__(self) -> Self:
        """Start the configured children.

        Raises:
            ChildNotReady: Some of them do not come up; the message holds a line for each.
        """
        self._tasks = await self._stack.enter_async_context(anyio.create_task_group())
        try:
            await self._start_configured()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def _start_configured(self) -> None:
        problems: list[errors.ChildNotReady] = []

        async def start(seat: pool.Seat, group: pool.ProcessorGroup) -> None:
            try:
                await self._tasks.start(
                    functools.partial(seat.keep_filled, restart=group.auto_restart, sleep=self._sleep)
                )
            except errors.ChildNotReady as error:
                problems.append(error)

        async with anyio.create_task_group() as starts:
            for stage, groups in self._groups.items():
                for index, group in enumerate(groups):
                    seat = self._configured_seat(stage, index, group)
                    self._seats.setdefault(stage, []).append(seat)
                    starts.start_soon(start, seat, group)
        if problems:
            text = "\n".join(f"processors.{problem.stage}: {problem}" for problem in problems)
            raise errors.ChildNotReady(problems[0].stage, text, detail=problems[0].detail)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all children."""
        self._tasks.cancel_scope.cancel()
        await self._stack.aclose()

    async def run(
        self,
        stage: str,
        task: Task,
        *,
        lane: Hashable,
        on_status: Callable[[Status], None],
        on_progress: Callable[[protocol.Progress], None] | None = None,
        errand: policy.Errand | None = None,
    ) -> Any:
        """Run a task and return its output, of the type that `descriptors` names.

        Without an `errand` with a size, the cost of a task is unknown: it takes nothing of the machine.

        A task given as a function is made once everything it needs is held, right before a child gets it.

        May be cancelled at any time: it returns once no process works on the task and everything it held is
        released. Only in a child that serves others at that moment, and cannot be made to stop, the task goes on;
        its place and locks stay taken as long.

        Raises:
            StageFailed: The task failed; the text is the child's error.
            StageDied: The child is gone without an answer, or none could be started.
            ValueError: There is no such stage.
            Exception: Whatever the making of the task raises.
        """
        facts = descriptors.named(stage)
        seats = self._seats_of(facts, lane)
        seat, worker, claim = await self._child_for(stage, seats, on_status, errand)
        try:
            body = codec.encode(await made(task))
        except BaseException:
            claim.release()
            raise
        entry = (lane, stage)
        seat.works_on.append(entry)

        def settled() -> None:
            seat.works_on.remove(entry)
            claim.release()

        at = protocol.At("", worker.pid)

        def on_log(line: str) -> None:
            if self._log is not None:
                self._log(lane, stage, at.pid, line, at.host)

        def on_at(news: protocol.At) -> None:
            nonlocal at
            at = news
            on_status(Status(state="running", what=f"ray({at.host}, pid: {at.pid})", pid=at.pid, host=at.host))

        on_status(Status(state="running", what=f"ext(pid: {worker.pid})", pid=worker.pid))
        try:
            output = await worker.run(stage, body, settled=settled, on_progress=on_progress, on_log=on_log, on_at=on_at)
        except errors.StageError as error:
            error.scratch = seat.command().scratch
            raise
        if facts.output is msgspec.Raw:
            return output
        try:
            return codec.decode(output, facts.output)
        except msgspec.DecodeError as error:
            text = f"output of {stage} cannot be read: {error}"
            raise errors.StageFailed(stage, text, worker.pid, protocol.excerpt(bytes(output))) from error

    async def _child_for(
        self,
        stage: str,
        seats: Sequence[pool.Seat],
        on_status: Callable[[Status], None],
        errand: policy.Errand | None,
    ) -> tuple[pool.Seat, child.Child, limits.Claim]:
        needs = self._policy.needs(stage, errand.size if errand is not None else None)
        label = errand.label if errand is not None else ""

        def on_wait(what: str) -> None:
            on_status(Status(state="waiting", what=what))

        while True:
            try:
                places = [seat.place for seat in seats]
                claim = await self._desk.claim(stage, places, on_wait, needs=needs, label=label)
            except limits.NeverFits as error:
                text = f"{error}, so {stage} can never start here (processors.admission)"
                raise errors.StageFailed(stage, text) from None
            except limits.PlacesGone:
                text = f"no child of {stage} is left, and none is started again (auto_restart = false)"
                raise errors.StageDied(stage, text) from None
            seat = next(seat for seat in seats if seat.place is claim.place)
            try:
                if not seat.place.warm:
                    on_wait(f"start of a child for {stage}")
                worker = await seat.filled(self._tasks)
            except BaseException:
                claim.release()
                raise
            if worker is not None:
                return seat, worker, claim
            claim.release()  # it died this very moment, and its place is closed until the next one is up
            await anyio.lowlevel.checkpoint()

    async def warm(self, lane: Hashable) -> int:
        """Start the lane's own child, if it does not run; return its pid."""
        worker = await self._lane(lane).filled(self._tasks)
        assert worker is not None
        return worker.pid

    def occupancy(self) -> limits.Occupancy:
        """Return how the limits of the stages are used at the moment."""
        return self._desk.occupancy()

    @property
    def admitted_by(self) -> policy.Policy:
        """What the machine has for stages, and what they cost."""
        return self._policy

    def granted(self) -> list[grants.Request]:
        """Return what runs at the moment and takes something of the machine."""
        return self._desk.granted()

    def pid(self, lane: Hashable) -> int | None:
        """Return the pid of the lane's own child, if it runs."""
        seat = self._lanes.get(lane)
        return None if seat is None or seat.occupant is None or seat.occupant.is_over else seat.occupant.pid

    async def dismiss(self, lane: Hashable) -> None:
        """End the lane's own child permanently: the lane is closed."""
        seat = self._lanes.pop(lane, None)
        if seat is not None and seat.occupant is not None:
            seat.occupant.stop("its lane is closed")
            await seat.occupant.gone.wait()

    def _seats_of(self, facts: descriptors.Stage, lane: Hashable) -> Sequence[pool.Seat]:
        if facts.name in self._groups:
            return self._seats[facts.name]
        if not facts.keeps_parameters:
            return [self._lane(lane)]
        if facts.name not in self._seats:
            count = self._concurrent[facts.name]
            gpus = int(self._policy.capacity.get("gpus", 0))
            self._seats[facts.name] = [
                self._own_seat(facts.name, f"{facts.name}[{i}]", pool.gpus_of(i, count, gpus)) for i in range(count)
            ]
        return self._seats[facts.name]

    def _lane(self, lane: Hashable) -> pool.Seat:
        if lane not in self._lanes:
            self._lanes[lane] = self._own_seat(descriptors.ALL, f"lane {lane}")
        return self._lanes[lane]

    def _own_seat(self, stage: str, name: str, envs: Mapping[str, str] = types.MappingProxyType({})) -> pool.Seat:
        return pool.Seat(
            stage=stage,
            place=limits.Place(name=name, state="open"),
            is_filled_by_need=True,
            command=functools.partial(pool.own_command, stage, {**envs, **self._envs}),
            desk=self._desk,
            sink=self._log,
        )

    def _configured_seat(self, stage: str, index: int, group: pool.ProcessorGroup) -> pool.Seat:
        name = pool.seat_name(stage, index)
        return pool.Seat(
            stage=stage,
            place=limits.Place(name=name, capacity=group.concurrent, locks=group.locks),
            command=functools.partial(group.command, stage, index),
            desk=self._desk,
            sink=self._log,
        )
