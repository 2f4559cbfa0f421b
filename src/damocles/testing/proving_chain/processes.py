"""Processes on one virtual clock, each of which can be frozen wherever it waits, as by SIGSTOP.

Whatever is scheduled in the context of a process belongs to it, the tasks that it starts too. While it is frozen nothing of that goes on; what came
meanwhile is there when it wakes up: answers first, and then the timers that are over by then.
"""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from damocles.testing.simulation import virtual

T = TypeVar("T")

_OUTSIDE = contextvars.Context()


class Process:
    """What runs in the contexts in which it has begun."""

    def __init__(self) -> None:
        self.is_frozen = False
        self._kept: list[_Step] = []

    def begin(self) -> None:
        """Let the present task be of this process from now on, and the tasks that it starts."""
        _PROCESS.set(self)

    def keep(self, step: "_Step") -> None:
        """Keep what is due while it is frozen."""
        self._kept.append(step)

    def thaw(self) -> None:
        """Let it go on with what it knew."""
        kept, self._kept = self._kept, []
        self.is_frozen = False
        for step in sorted(kept, key=lambda one: one.is_timer):
            step.again()


_PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


def current() -> Process | None:
    """Return the process of the present task; `None` outside of all."""
    return _PROCESS.get()


async def outside(work: Coroutine[Any, Any, T]) -> T:
    """Do something in no process, as a server does that is not frozen with its client."""
    if current() is None:
        return await work
    return await asyncio.get_running_loop().create_task(work, context=_OUTSIDE.copy())


def later(seconds: float, work: Callable[[], object]) -> None:
    """Do something in no process after some time."""
    asyncio.get_running_loop().call_later(seconds, work, context=_OUTSIDE.copy())


@dataclass(slots=True)
class _Step:
    """What is scheduled in a process."""

    process: Process
    run: Callable[[], object]
    again: Callable[[], object]
    is_timer: bool
    handle: asyncio.Handle | None = None

    def __call__(self) -> None:
        assert self.handle is not None
        if self.handle.cancelled():
            return
        if self.process.is_frozen:
            self.process.keep(self)
        else:
            self.run()


class Loop(virtual.Loop):
    """A virtual clock that keeps back what belongs to a frozen process."""

    def call_soon(self, callback: Any, *args: Any, context: contextvars.Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        """Run it as soon as its process is not frozen."""
        context = contextvars.copy_context() if context is None else context
        step = self._step(context, callback, args, is_timer=False)
        if step is None:
            return super().call_soon(callback, *args, context=context)
        step.handle = super().call_soon(step, context=context)
        return step.handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Run it at a time, or later, when its process is not frozen any more."""
        context = contextvars.copy_context() if context is None else context
        step = self._step(context, callback, args, is_timer=True)
        if step is None:
            return super().call_at(when, callback, *args, context=context)
        step.handle = handle = super().call_at(when, step, context=context)
        return handle

    def _step(self, context: contextvars.Context, callback: Any, args: Any, *, is_timer: bool) -> _Step | None:
        process = context.get(_PROCESS)
        if process is None:
            return None

        def again() -> None:
            super(Loop, self).call_soon(step, context=context)

        step = _Step(process, lambda: callback(*args), again, is_timer)
        return step
