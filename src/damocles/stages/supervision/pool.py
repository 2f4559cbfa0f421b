"""Places for children: which command sits where, when it is started, and when again.

A `Seat` holds one child at a time. Seats of configured groups are filled from the start and refilled when a child
dies; ours are filled when a task comes, and stay warm.
"""

import os
import re
import sys
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import anyio
import anyio.abc
import msgspec

from damocles.stages import errors, host, processes
from damocles.stages.far import settings
from damocles.stages.processor import child
from damocles.stages.supervision import limits

DAEMONS = "sealing_daemons"  # section of children that are kept alive and get no tasks
_DAEMON_STAGE = "EMPTY"  # what they must call themselves, in the original's words
_LONGEST_PAUSE_SECONDS = 60.0
HELPER = "damocles.stages.far.helper"  # by its name: what it imports is for those who use it
_CANCEL_SECONDS = 15.0  # beyond the lease, until a helper has answered a cancellation
_GPUS = "CUDA_VISIBLE_DEVICES"
_OF_TOKENS = re.compile(r"DAMOCLES_(\w+_)?TOKEN")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorGroup:
    """One configured processor: an entry of `[[processors.<stage>]]`, with the original's keys and defaults."""

    bin: str | None = None  # None: our own
    args: tuple[str, ...] | None = None  # None: ("processor", stage)
    stable_wait_seconds: float = 5.0
    envs: Mapping[str, str] = field(default_factory=dict)
    inherit_envs: bool = True
    concurrent: int | None = None  # None: any number of tasks at a time
    locks: tuple[str, ...] = ()
    auto_restart: bool = True
    numa_preferred: int | None = None
    cgroup_group_name: str = "vc-worker"
    cgroup_cpuset: str | None = None
    ray: settings.Group | None = None  # where its tasks go; all but `locks` and `auto_restart` is in there then

    def command(self, stage: str, index: int) -> processes.Command:
        """Return what to start as entry `index` of a stage, in the environment of this moment.

        Raises:
            ValueError: `args` without `bin` are not those of a processor.
        """
        if self.ray is not None:
            return _helper(self.ray)
        name = _DAEMON_STAGE if stage == DAEMONS else stage
        args = ("processor", name) if self.args is None else self.args
        if self.bin is not None:
            argv = (self.bin, *args)
        elif args[:1] == ("processor",) and stage != DAEMONS:
            argv = child.own_argv(*args[1:])
        else:
            raise ValueError(
                f"processors.{stage}: args = {list(args)} needs a bin: without one it must be ['processor', '{name}', …]"
            )
        env = inherited() if self.inherit_envs else {}
        if self.numa_preferred is not None:
            env[host.NUMA_VARIABLE] = str(self.numa_preferred)
        if self.cgroup_cpuset is not None:
            env[host.CGROUP_VARIABLE] = f"{self.cgroup_group_name}/sub-{name}-{os.getpid()}-{index}"
            env[host.CPUSET_VARIABLE] = self.cgroup_cpuset
        return processes.Command(
            stage=name, argv=argv, env={**env, **self.envs}, ready_seconds=self.stable_wait_seconds
        )


class LogSink(Protocol):
    """Takes lines that children write to stderr, or for the log of a task."""

    def __call__(self, lane: Hashable, stage: str, pid: int, line: str, host: str = "") -> None:
        """Take one line; `lane` is None where a child serves none or several at that moment, `host` names another machine."""


@dataclass(slots=True, kw_only=True, eq=False)
class Seat:
    """A place with the child that sits there now, if any."""

    stage: str
    place: limits.Place
    command: Callable[[], processes.Command]
    desk: limits.Desk
    is_filled_by_need: bool = False
    sink: LogSink | None = None
    occupant: child.Child | None = None
    works_on: list[tuple[Hashable, str]] = field(default_factory=list)  # lane and stage of each open task
    pause_seconds: float = 1.0  # before the first restart; doubles while children die without having answered
    _starting: anyio.Lock = field(default_factory=anyio.Lock)

    async def filled(self, tasks: anyio.abc.TaskGroup) -> child.Child | None:
        """Return the child; one of ours is started in `tasks` if there is none, a configured one comes back by itself.

        Raises:
            ChildNotReady: It cannot be started.
        """
        if not self.is_filled_by_need:
            return None if self.occupant is None or self.occupant.is_over else self.occupant
        async with self._starting:
            if self.occupant is not None and self.occupant.is_over:
                await self.occupant.gone.wait()
                self.occupant = None
            if self.occupant is None:
                await tasks.start(self._keep_one)
            return self.occupant

    async def _keep_one(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        def on_ready(ready: child.Child) -> None:
            self.occupant = ready
            self.place.warm = True
            task_status.started()

        def on_end() -> None:
            self.place.warm = False
            self.desk.changed()

        await child.keep(self.command(), on_ready=on_ready, on_end=on_end, log=self._log)

    async def keep_filled(self, *, restart: bool, sleep: limits.Sleep, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Keep a child here for as long as this runs; the first one must come up.

        Raises:
            ChildNotReady: The first one does not.
        """
        failures, has_started = 0, False

        def on_ready(ready: child.Child) -> None:
            nonlocal has_started
            self.occupant = ready
            self.place.state, self.place.warm = "open", True
            self.desk.changed()
            if not has_started:
                has_started = True
                task_status.started()

        def on_end() -> None:
            self.place.state, self.place.warm = "closed", False
            self.desk.changed()

        while True:
            try:
                past = await child.keep(self.command(), on_ready=on_ready, on_end=on_end, log=self._log)
                what = f"pid {past.pid}: {past.end_text()}"
                failures = 0 if past.answers or past.was_ended else failures + 1
                # Ended by us, it is missed by the next task already.
                pause = 0.0 if past.was_ended else self._pause(failures)
                self.say(past.pid, f"{self.place.name} has lost its child ({what}), next one in {pause:g}s")
            except errors.ChildNotReady as error:
                if not has_started:
                    raise
                failures += 1
                pause = self._pause(failures)
                self.say(error.pid or 0, f"{self.place.name}: {error}; next try in {pause:g}s")
            self.occupant = None
            if not restart:
                self.place.state = "gone"
                self.desk.changed()
                return
            await sleep(pause)

    def _pause(self, failures: int) -> float:
        return float(min(_LONGEST_PAUSE_SECONDS, self.pause_seconds * 2 ** max(0, failures - 1)))

    @property
    def _log(self) -> Callable[[int, str], None] | None:
        return None if self.sink is None else self.say

    def say(self, pid: int, line: str) -> None:
        """Pass a line on to the log, with what the child is at."""
        lane, stage = self.works_on[0] if len(self.works_on) == 1 else (None, self.stage)
        if self.sink is not None:
            self.sink(lane, stage, pid, line)
        else:
            sys.stderr.write(line + "\n")


def _helper(group: settings.Group) -> processes.Command:
    """Return the command of the child that carries a group's tasks to a Ray cluster."""
    env = {**inherited(), settings.VARIABLE: msgspec.json.encode(group).decode()}
    return processes.Command(
        stage=group.stage,
        argv=(sys.executable, "-m", HELPER),
        env=env,
        ready_seconds=60.0,
        cancel_seconds=group.lease_seconds + _CANCEL_SECONDS,
    )


def own_command(stage: str, envs: Mapping[str, str]) -> processes.Command:
    """Return the command of our own child for a stage, or for all of them, in the environment of this moment."""
    return processes.Command(stage=stage, argv=child.own_argv(stage), env={**inherited(), **envs}, ready_seconds=60.0)


def gpus_of(number: int, children: int, gpus: int, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables by which one of several children that serve the same stage has its own of this machine's GPUs.

    One child alone has all of them. Where there are more children than GPUs, some have the same one.

    Args:
        number: Of the child, from 0 on.
        children: How many there are.
        gpus: How many this machine has.
        environment: This process', where an operator may have named those that count.
    """
    said = environment.get(_GPUS)
    named = (
        [str(i) for i in range(gpus)] if said is None else [name.strip() for name in said.split(",") if name.strip()]
    )
    if children < 2 or len(named) < 2:
        return {}
    its = named[number % len(named) :: children]
    # By bus, as `nvidia-smi` counts them; otherwise the fastest would be the first.
    return {_GPUS: ",".join(its), **({} if said else {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"})}


def inherited() -> dict[str, str]:
    """Return the environment of this process for a child, who has no use for the tokens in it, and may be others' work."""
    return {name: value for name, value in os.environ.items() if not _OF_TOKENS.fullmatch(name)}


def seat_name(stage: str, index: int) -> str:
    """Name a seat in messages, as the configuration names it."""
    return f"processors.{stage}[{index}]"
