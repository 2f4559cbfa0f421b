"""A thread without a store: window PoSts between a scripted manager and scripted stages."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
import structlog.testing

from damocles.rpc import errors
from damocles.sealing import failures, planner
from damocles.stages import protocol
from damocles.stages.supervision import executor
from damocles.stores import nowhere
from damocles.stores.pieces import PieceStores
from damocles.wire import control, tasks, wdpost
from damocles.worker import upstream
from damocles.worker.plans import job
from damocles.worker.thread import loop, surroundings

from ..conftest import ZERO, ScriptedCaller

POST = wdpost.Job("job-1", wdpost.Input([], 10000, "StackedDrgWindow2KiBV1_2", ZERO))


@dataclass
class ScriptedStages:
    """Fake: the check of sectors tells how far it is and waits until the test lets it go; nothing is faulty."""

    may_go: anyio.Event = field(default_factory=anyio.Event)
    may_go_on: anyio.Event = field(default_factory=anyio.Event)
    fails: int = 0  # so many proofs

    def __post_init__(self) -> None:
        """Only a test that looks makes it wait a second time."""
        self.may_go_on.set()

    async def run(self, stage: str, task: Any, *, on_progress: Callable[[protocol.Progress], None], **_: Any) -> Any:
        """Run a stage."""
        await executor.made(task)
        if stage == "check_replicas":
            on_progress(protocol.Progress(3, 10, "sectors"))
            await self.may_go.wait()
            on_progress(protocol.Progress(5, 10, "sectors", "the disk, which is slow"))
            await self.may_go_on.wait()
            return []
        if self.fails:
            self.fails -= 1
            raise failures.Permanent("no GPU")
        return tasks.WindowPoStOutput([b"proof"], [])


@dataclass
class Scene:
    """A running thread and what it talks to."""

    caller: ScriptedCaller
    stages: ScriptedStages
    thread: loop.SealingThread = field(init=False)
    lacking: str | None = None  # what window PoSts need here

    def asked(self, method: str) -> list[list[Any]]:
        """Return the parameters of the calls of a method."""
        return [params for name, params in self.caller.asked if name == f"Venus.{method}"]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something to become true."""
        with anyio.fail_after(30):
            while not condition():
                await anyio.sleep(0.001)

    async def quiet(self, method: str) -> None:
        """Wait until a method is not called any more."""
        with anyio.fail_after(30):
            before = -1
            while before != len(self.asked(method)):
                before = len(self.asked(method))
                await anyio.sleep(0.05)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """Return a thread that was lent one job."""
    caller, stages = ScriptedCaller(), ScriptedStages()
    scene = Scene(caller, stages)
    caller.answers |= {
        "WdPoStAllocateJobs": [[POST], []],
        "WdPoStHeartbeatJobs": [None],
        "WdPoStFinishJob": [None],
    }
    around = surroundings.Surroundings(
        instance="worker-1",
        manager=upstream.Manager(caller),
        stages=stages,  # type: ignore[arg-type]
        persist_stores={},
        static_tree_d={},
        pieces=PieceStores(origin="http://manager"),
        trash_retention_seconds=1.0,
        lacking_for_post=lambda _: scene.lacking,
    )
    settings = surroundings.Settings(
        plan="wdpost",
        options=job.Options(heartbeat_seconds=0.005),
        limits=planner.Limits(seal_interval_seconds=0.01, recover_interval_seconds=0.01),
    )
    thread = scene.thread = loop.SealingThread(0, nowhere.LOCATION, around, lambda: settings, open_store=nowhere.opened)
    has_ended = anyio.Event()

    async def run() -> None:
        await thread.run()
        has_ended.set()

    async with anyio.create_task_group() as running:
        running.start_soon(run)
        yield scene
        thread.stop()
        stages.may_go.set()
        with anyio.move_on_after(5):
            while thread.activity.state == "Running" and not has_ended.is_set():
                await anyio.sleep(0.001)
        running.cancel_scope.cancel()


async def test_a_window_post_is_proved_without_a_store(scene: Scene) -> None:
    """The job is shown with its progress while it is worked on, heartbeats go out, and the proof is handed in."""
    await scene.until(lambda: scene.thread.activity.progress)
    info, detail = scene.thread.info(), scene.thread.detail()
    assert ("-", "wdpost", "job-1", "Allocated", "Generate") == (
        info.location,
        info.plan,
        info.job_id,
        info.job_state,
        info.job_stage,
    )
    assert (control.Progress(3, 10, "sectors"), "job-1") == (detail.progress, detail.sector)
    await scene.until(lambda: len(scene.asked("WdPoStHeartbeatJobs")) >= 2)
    scene.stages.may_go.set()
    await scene.until(lambda: scene.asked("WdPoStFinishJob"))


async def test_a_stage_that_stands_still_says_what_it_waits_for(scene: Scene) -> None:
    """It is shown as what the thread waits for, while it runs, and no longer."""
    await scene.until(lambda: scene.thread.activity.progress)
    assert scene.thread.detail().waiting is None
    scene.stages.may_go_on = anyio.Event()
    scene.stages.may_go.set()
    await scene.until(lambda: scene.thread.detail().waiting)
    detail = scene.thread.detail()
    assert detail.waiting is not None
    assert ("Running", "the disk, which is slow") == (detail.info.thread_state.state, detail.waiting.what)
    await scene.until(lambda: scene.asked("WdPoStHeartbeatJobs"))
    scene.stages.may_go_on.set()
    await scene.until(lambda: scene.asked("WdPoStFinishJob"))
    assert [["job-1", wdpost.Output([b"proof"], []), ""]] == scene.asked("WdPoStFinishJob")
    await scene.until(lambda: scene.thread.info().job_id is None)
    assert None is scene.thread.detail().progress
    assert {"WdPoStAllocateJobs", "WdPoStHeartbeatJobs", "WdPoStFinishJob"} == {
        method.removeprefix("Venus.") for method, _ in scene.caller.asked
    }, "nothing else is reported"


async def test_a_job_that_was_taken_away_is_dropped(scene: Scene) -> None:
    """When a heartbeat says that the job is another's, the work on it ends and nothing is handed in."""
    scene.caller.answers["WdPoStHeartbeatJobs"] = [errors.RpcError(1, "key not found")]
    await scene.until(lambda: scene.thread.activity.progress)
    await scene.until(lambda: scene.thread.info().job_id is None)
    assert [] == scene.asked("WdPoStFinishJob")
    await scene.until(lambda: len(scene.asked("WdPoStAllocateJobs")) >= 3)


async def test_a_job_that_is_given_up_is_told(scene: Scene) -> None:
    """The manager need not wait for the lease to run out."""
    await scene.until(lambda: scene.thread.activity.progress)
    scene.thread.abort("no time")
    await scene.until(lambda: scene.asked("WdPoStFinishJob"))
    assert [["job-1", None, "no time"]] == scene.asked("WdPoStFinishJob")


async def test_a_paused_thread_leaves_the_job_to_others(scene: Scene) -> None:
    """A pause stops the heart; whoever resumes the thread lets it try again."""
    await scene.until(lambda: scene.thread.activity.progress)
    scene.thread.pause(now=True)
    await scene.until(lambda: scene.thread.paused)
    await scene.quiet("WdPoStHeartbeatJobs")
    scene.thread.resume(None)
    scene.stages.may_go.set()
    await scene.until(lambda: scene.asked("WdPoStFinishJob"))


async def test_why_a_thread_cannot_prove_is_its_error(scene: Scene) -> None:
    """It asks for no job while its own check says that it cannot prove, and asks again when it can."""
    await scene.until(lambda: scene.thread.activity.progress)
    scene.lacking = "no parameters"
    scene.stages.may_go.set()
    await scene.until(lambda: scene.thread.info().last_error)
    await scene.quiet("WdPoStAllocateJobs")
    await scene.until(lambda: scene.thread.activity.state == "Idle")
    info, detail = scene.thread.info(), scene.thread.detail()
    assert ("no parameters", None, "Idle") == (info.last_error, info.job_id, info.thread_state.state)
    assert detail.waiting is not None
    assert "what window PoSts need (see the error)" == detail.waiting.what
    asked = len(scene.asked("WdPoStAllocateJobs"))
    scene.lacking = None
    await scene.until(lambda: len(scene.asked("WdPoStAllocateJobs")) > asked)
    await scene.until(lambda: scene.thread.info().last_error is None)


async def test_why_a_window_post_failed_is_shown_until_one_is_proved(scene: Scene) -> None:
    """The thread has no job any more, and whoever looks at it still sees what is wrong with it."""
    scene.caller.answers["WdPoStAllocateJobs"] = [[POST], [], [], [POST], []]
    scene.stages.fails = 1
    scene.stages.may_go.set()
    await scene.until(lambda: len(scene.asked("WdPoStAllocateJobs")) >= 3)
    assert (None, "no GPU") == ((info := scene.thread.info()).job_id, info.last_error)
    await scene.until(lambda: len(scene.asked("WdPoStFinishJob")) == 2)
    await scene.until(lambda: scene.thread.info().last_error is None)


async def test_a_manager_without_window_posts_is_shown_and_logged_once(scene: Scene) -> None:
    """The original's manager serves them only if it was started so: the thread waits, says why, and goes on with it."""
    await scene.until(lambda: scene.thread.activity.progress)
    unknown = "(error code -32601) method 'Venus.WdPoStAllocateJobs' not found"
    scene.caller.answers["WdPoStAllocateJobs"] = [errors.RpcError(errors.Code.METHOD_NOT_FOUND, unknown)]
    with structlog.testing.capture_logs() as logs:
        scene.stages.may_go.set()
        asked = len(scene.asked("WdPoStAllocateJobs"))
        await scene.until(lambda: len(scene.asked("WdPoStAllocateJobs")) > asked + 5)
        await scene.until(lambda: scene.thread.activity.state == "Idle")
        info, detail = scene.thread.info(), scene.thread.detail()
        scene.caller.answers["WdPoStAllocateJobs"] = [[]]
        await scene.until(lambda: scene.thread.info().last_error is None)
    why = (
        "the manager does not serve WdPoStAllocateJobs: the original's does if it was started with --worker-prover"
        f" ({unknown})"
    )
    assert (f"temporary: {why}", "Idle", None) == (info.last_error, info.thread_state.state, info.job_id)
    assert detail.waiting is not None
    assert f"a window PoSt from the manager ({why})" == detail.waiting.what
    assert ["the manager does not answer, asking again", "the manager answers again"] == [
        line["event"] for line in logs
    ]


async def test_a_manager_that_is_away_is_logged_once(scene: Scene) -> None:
    """However often a thread asks for work meanwhile; it is no error of the thread."""
    await scene.until(lambda: scene.thread.activity.progress)
    scene.caller.answers["WdPoStAllocateJobs"] = [errors.Unreachable("http://manager", "refused")]
    with structlog.testing.capture_logs() as logs:
        scene.stages.may_go.set()
        asked = len(scene.asked("WdPoStAllocateJobs"))
        await scene.until(lambda: len(scene.asked("WdPoStAllocateJobs")) > asked + 5)
    assert None is scene.thread.info().last_error
    assert ["the manager does not answer, asking again"] == [line["event"] for line in logs]
