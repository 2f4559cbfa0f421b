"""Heartbeats of a window PoSt."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import anyio
import pytest
import structlog.testing

from damocles.rpc import errors
from damocles.worker import upstream
from damocles.worker.thread import heartbeats

from ..conftest import ScriptedCaller


@dataclass
class Thread:
    """A thread that has a job, or not, as the test says."""

    caller: ScriptedCaller = field(default_factory=ScriptedCaller)
    job: str | None = None
    change: anyio.Event = field(default_factory=anyio.Event)
    lost: list[str] = field(default_factory=list)

    def take(self, job: str | None) -> None:
        """Have this job from now on."""
        self.job = job
        self.change.set()
        self.change = anyio.Event()

    async def moved(self) -> None:
        """Wait for the next change."""
        await self.change.wait()

    @property
    def beats(self) -> list[str]:
        """The jobs that heartbeats were for."""
        return [params[0][0] for _, params in self.caller.asked]


@pytest.fixture
async def thread() -> AsyncIterator[Thread]:
    """Return a thread whose heart beats every 10 ms."""
    state = Thread()
    state.caller.answers["WdPoStHeartbeatJobs"] = [None]
    async with anyio.create_task_group() as tasks:

        async def beat() -> None:
            await heartbeats.run(
                upstream.Manager(state.caller),
                "worker-1",
                at_work=lambda: state.job,
                moved=state.moved,
                lost=state.lost.append,
                interval_seconds=lambda: 0.01,
            )

        tasks.start_soon(beat)
        yield state
        tasks.cancel_scope.cancel()


async def until(condition: Callable[[], object]) -> None:
    """Wait for something to become true."""
    with anyio.fail_after(30):
        while not condition():
            await anyio.sleep(0.001)


async def quiet(count: Callable[[], int]) -> None:
    """Wait until what is counted stays as it is for several intervals."""
    with anyio.fail_after(30):
        before = -1
        while before != count():
            before = count()
            await anyio.sleep(0.05)


async def test_the_heart_beats_while_there_is_a_job(thread: Thread) -> None:
    """Beats name the job that is worked on, and there are none without."""
    await quiet(lambda: len(thread.beats))
    assert [] == thread.beats
    thread.take("a")
    await until(lambda: len(thread.beats) >= 2)
    thread.take(None)
    await quiet(lambda: len(thread.beats))
    thread.take("b")
    await until(lambda: "b" in thread.beats)
    assert ["worker-1"] * len(thread.beats) == [params[1] for _, params in thread.caller.asked]


async def test_a_beat_that_fails_is_followed_by_the_next(thread: Thread) -> None:
    """A manager that is away is told again, and so it is after a defect of ours; the job goes on."""
    failed = [errors.TimedOut("u", 1), errors.RpcError(1, "busy"), OSError(28, "No space left on device")]
    thread.caller.answers["WdPoStHeartbeatJobs"] = [*failed, None]
    thread.take("a")
    await until(lambda: len(thread.beats) >= 5)
    assert [] == thread.lost


async def test_a_job_that_is_not_ours_any_more_is_lost(thread: Thread) -> None:
    """When the manager has given the job away or forgotten it, the thread hears of it."""
    thread.caller.answers["WdPoStHeartbeatJobs"] = [None, errors.RpcError(1, "key not found")]
    thread.take("a")
    await until(lambda: thread.lost)
    assert "the manager no longer expects a from us" in thread.lost[0]


async def test_heartbeats_that_are_not_delivered_are_logged_once(thread: Thread) -> None:
    """A manager that is away for an hour does not fill the log; that it is back is one more line."""
    away = errors.Unreachable("http://manager", "refused")
    thread.caller.answers["WdPoStHeartbeatJobs"] = [away] * 5 + [None]
    with structlog.testing.capture_logs() as logs:
        thread.take("job-1")
        await until(lambda: len(thread.beats) > 7)
    assert ["heartbeats not delivered", "heartbeats delivered again"] == [line["event"] for line in logs]
