"""Stages on a second machine of a real Ray cluster: nothing outlives its worker, its lease or its order, whatever dies.

The processor is a script that waits or answers: what is tested is who ends what. Machines are network namespaces of this one.
"""

import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import msgspec
import psutil
import pytest
from tests.integration.stages.conftest import FOREIGN, Deed
from tests.integration.stages.far import two_machines

from damocles.stages import errors, processes, protocol
from damocles.stages.far import settings
from damocles.stages.supervision import executor, pool
from damocles.wire import codec, tasks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("ray"),
    pytest.mark.skipif(not two_machines.can_be_made(), reason="machines are made by root, with iproute2"),
    pytest.mark.timeout(900),
]
LEASE_SECONDS = 6.0
PROOF = tasks.C2Output(codec.NumberList(b"\7"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[two_machines.Pair]:
    """Return two machines whose cluster runs."""
    with two_machines.machines(tmp_path_factory.mktemp("ray")) as made:
        made.start_head()
        made.start_prover()
        yield made


class Run:
    """What became of one task, and its process there as soon as that is known."""

    def __init__(self) -> None:
        self.began = anyio.Event()
        self.status: list[executor.Status] = []
        self.progress: list[protocol.Progress] = []
        self.log: list[tuple[str, int, str]] = []
        self.output: object = None
        self.error: Exception | None = None

    def on_status(self, status: executor.Status) -> None:
        """Take what a thread would show."""
        self.status.append(status)
        if status.host:
            self.began.set()

    @property
    def process(self) -> psutil.Process:
        """The process that works on it."""
        return psutil.Process(self.status[-1].pid)

    @property
    def waits(self) -> list[str]:
        """What it has waited for."""
        return [each.waiting for each in self.progress if isinstance(each.waiting, str)]


class Worker:
    """The stages of a worker on the first machine."""

    def __init__(self, stages: executor.Stages, tasks: anyio.abc.TaskGroup, folder: Path) -> None:
        self.stages = stages
        self.tasks = tasks
        self.folder = folder

    @property
    def helper(self) -> psutil.Process:
        """The child that is the driver of Ray."""
        (seat,) = self.stages._seats["c2"]
        assert seat.occupant is not None
        return psutil.Process(seat.occupant.pid)

    async def run(self, **task: Any) -> Run:
        """Run a task to its end."""
        run = Run()
        await self._run(run, Deed(**task))
        return run

    async def started(self) -> Run:
        """Start a task that waits; return when a process works on it."""
        run = Run()
        wait = Deed(do="wait", started=str(self.folder / "started"), until=str(self.folder / "until"))
        self.tasks.start_soon(self._run, run, wait)
        await run.began.wait()
        return run

    async def _run(self, run: Run, deed: Deed) -> None:
        try:
            run.output = await self.stages.run(
                "c2", deed, lane=0, on_status=run.on_status, on_progress=run.progress.append
            )
        except errors.StageError as error:
            run.error = error


Made = Callable[..., AbstractAsyncContextManager[Worker]]


@pytest.fixture
def worker(pair: two_machines.Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Made:
    """Return a context of a worker on the first machine whose C2 goes to the cluster."""
    command = pool._helper

    def there(group: settings.Group) -> processes.Command:
        made = command(group)
        return replace(made, argv=tuple(pair.head.command(*made.argv)))

    monkeypatch.setattr(pool, "_helper", there)

    @asynccontextmanager
    async def make(**fields: Any) -> AsyncIterator[Worker]:
        group = settings.Group(
            **{
                "stage": "c2",
                "address": pair.address,
                "resources": {"prover": 1},
                "token_file": str(pair.token),
                "argv": (sys.executable, str(FOREIGN), "c2"),
                "ready_seconds": 60.0,
                "lease_seconds": LEASE_SECONDS,
                "shared": (str(tmp_path),),
                **fields,
            }
        )
        with anyio.fail_after(400):
            groups = {"c2": [pool.ProcessorGroup(ray=group, concurrent=group.slots)]}
            async with executor.Stages(groups=groups) as stages, anyio.create_task_group() as running:
                yield Worker(stages, running, tmp_path)
                running.cancel_scope.cancel()

    return make


async def is_gone(process: psutil.Process, seconds: float = 60) -> bool:
    """Wait until a process is gone; return whether it is."""
    return not (await anyio.to_thread.run_sync(lambda: psutil.wait_procs([process], seconds)))[1]


async def ended(run: Run) -> str:
    """Wait until a task has ended; return why it was lost."""
    with anyio.fail_after(120):
        while run.error is None and run.output is None:
            await anyio.sleep(0.05)
    assert isinstance(run.error, errors.StageDied), (run.error, run.output)
    return str(run.error)


async def works(worker: Worker) -> bool:
    """Return whether a task of the worker is done on the other machine."""
    run = await worker.run(do="echo", value={"proof": [7]})
    return (run.output, {status.host for status in run.status if status.host}) == (PROOF, {"gpu1"})


def actor_of(process: psutil.Process) -> psutil.Process:
    """Return Ray's worker above a process of ours: its guard's parent."""
    guard = process.parent()
    assert guard is not None
    actor = guard.parent()
    assert actor is not None
    return actor


async def test_a_task_goes_to_the_other_machine(worker: Made, pair: two_machines.Pair) -> None:
    """A task is done there, by a process that belongs to that machine's node, and is shown with both."""
    async with worker() as here:
        assert await works(here)
        run = await here.started()
        assert run.process.pid in pair.prover.processes
        assert run.status[-1].what == f"ray(gpu1, pid: {run.process.pid})"
        (here.folder / "until").touch()
        with anyio.fail_after(60):
            while run.error is None:
                await anyio.sleep(0.05)
        assert "cannot be read" in str(run.error)  # true is no proof


async def test_a_cancelled_task_is_ended_there(worker: Made) -> None:
    """What `pause --now` and `abort` do: when the cancellation returns, its process is gone, and the place is good for the next."""
    async with worker() as here:
        run = await here.started()
        process = run.process
        here.tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            while run.status and here.stages.occupancy().running["c2"]:
                await anyio.sleep(0.05)
            assert not two_machines.is_running(process)
            assert await works(here)


async def test_a_killed_process_is_a_loss(worker: Made) -> None:
    """A process that is killed there loses its task, with the signal's name; the next task gets another process."""
    async with worker() as here:
        run = await here.started()
        run.process.kill()
        assert "was killed by SIGKILL" in await ended(run)
        assert await works(here)


@pytest.mark.whole  # the slice of the kill matrix has this strike
async def test_a_killed_actor_is_a_loss(worker: Made) -> None:
    """When Ray's worker is killed, its process ends, and the task is lost once nothing can go on."""
    async with worker() as here:
        run = await here.started()
        process = run.process
        actor_of(process).kill()
        assert await is_gone(process)
        assert "gpu1" in await ended(run)
        assert await works(here)


@pytest.mark.whole  # the slice of the kill matrix has this strike
async def test_a_killed_helper_is_a_loss(worker: Made) -> None:
    """When the driver of Ray is killed, its processes there end; the next helper joins anew."""
    async with worker() as here:
        run = await here.started()
        process = run.process
        here.helper.kill()
        assert "killed by SIGKILL" in await ended(run)
        assert await is_gone(process)
        assert await works(here)


async def test_the_workers_end_ends_its_processes(worker: Made) -> None:
    """When the stages of a worker end, so do their processes there."""
    async with worker() as here:
        run = await here.started()
        process = run.process
    assert await is_gone(process)


async def test_a_cut_cable_ends_the_process_behind_it(worker: Made, pair: two_machines.Pair) -> None:
    """Behind a cut, the process ends with its lease, before the task counts as lost here; silence is shown before that."""
    async with worker() as here:
        run = await here.started()
        process = run.process
        pair.prover.plug(is_in=False)
        try:
            assert "gpu1" in await ended(run)
            assert not two_machines.is_running(process)
            assert any("gpu1 has not answered for" in text for text in run.waits)
        finally:
            pair.prover.plug(is_in=True)
        with anyio.fail_after(180):
            assert await works(here)


def named(machine: two_machines.Machine, name: str) -> psutil.Process:
    """Return the process of a node with this name."""
    (found,) = [one for one in map(psutil.Process, machine.processes) if one.name() == name]
    return found


async def again(machine: two_machines.Machine, start: Callable[[], object]) -> None:
    """End what is left of a node, and start it again, whatever has come of the test: the others have the same cluster."""
    with anyio.CancelScope(shield=True):
        await anyio.to_thread.run_sync(machine.ray, "down")
        assert [] == machine.processes
        await anyio.to_thread.run_sync(start)


async def test_a_killed_raylet_is_a_loss(worker: Made, pair: two_machines.Pair) -> None:
    """When Ray's daemon there is killed, the process ends and the task is lost; a node that comes back is used again."""
    async with worker() as here:
        run = await here.started()
        process = run.process
        named(pair.prover, "raylet").kill()
        try:
            assert "gpu1" in await ended(run)
            assert not two_machines.is_running(process)
        finally:
            await again(pair.prover, pair.start_prover)
        assert await works(here)


@pytest.mark.whole
async def test_a_killed_head_is_a_loss(worker: Made, pair: two_machines.Pair) -> None:
    """When the head is killed, the task is lost within a minute or so, and its process gone; a new cluster is joined by itself."""
    async with worker() as here:
        run = await here.started()
        process = run.process
        named(pair.head, "gcs_server").kill()
        await ended(run)
        assert await is_gone(process)
        waiting = Run()
        here.tasks.start_soon(here._run, waiting, Deed(do="echo", value={"proof": [7]}))
        while not any("no Ray cluster answers" in text or "is gone" in text for text in waiting.waits):
            await anyio.sleep(0.05)
        for machine in (pair.prover, pair.head):
            await anyio.to_thread.run_sync(machine.ray, "down")
            assert [] == machine.processes
        await anyio.to_thread.run_sync(pair.start_head)
        await anyio.to_thread.run_sync(pair.start_prover)
        with anyio.fail_after(120):
            while waiting.output is None and waiting.error is None:
                await anyio.sleep(0.05)
        assert waiting.output == PROOF or await works(here)


async def test_folders_are_to_be_shared(worker: Made, pair: two_machines.Pair, tmp_path: Path) -> None:
    """A path outside of the shared folders, and a folder that is another one there, are refused by name."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    async with worker(shared=(str(hidden),)) as here:
        outside = await here.run(do="echo", started="/elsewhere/s-t01000-1")
        assert "/elsewhere/s-t01000-1 is in no folder that gpu1 shares" in str(outside.error)
        assert await works(here)


async def test_a_folder_that_is_another_one_there_is_named(
    worker: Made, pair: two_machines.Pair, tmp_path: Path
) -> None:
    """A disk that only one of the machines has under this path: the task fails with the path and both machines, and nothing is written."""
    own = tmp_path / "own"
    own.mkdir()
    pair.prover.run("mount", "-t", "tmpfs", "none", str(own))
    try:
        async with worker(shared=(str(own),)) as here:
            refused = await here.run(do="echo", started=str(own / "s-t01000-1"))
    finally:
        pair.prover.run("umount", str(own))
    assert f"{own} is not shared by sealer1 and gpu1: a file written here cannot be read there: No such file" in str(
        refused.error
    )
    assert [] == list(own.iterdir())


async def test_each_place_has_a_gpu_of_its_own(worker: Made) -> None:
    """Of two GPUs of a machine, Ray gives one to each of two places, and their processes know no other; there are none really."""
    async with worker(resources={"GPU": 1}, slots=2) as here:
        first, second = await here.started(), await here.started()
        told = {run.process.environ()["CUDA_VISIBLE_DEVICES"] for run in (first, second)}
    assert {"0", "1"} == told


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (
            {"resources": {"tape": 1}},
            "no node of the Ray cluster has tape = 1; its 2 nodes have CPU, GPU, memory, prover",
        ),
        ({"address": f"{two_machines.HEAD}:1"}, f"no Ray cluster answers at {two_machines.HEAD}:1: Connection refused"),
        ({"token_file": "/nowhere/token"}, "the cluster's token cannot be read: /nowhere/token: No such file"),
        ({"token_file": str(Path(__file__))}, "does not let us in: is its token another one than here?"),
        pytest.param(
            {"insecure": True}, "does not let us in: is its token another one than here?", marks=pytest.mark.whole
        ),
    ],
)
async def test_what_is_in_the_way_is_one_line(worker: Made, fields: dict[str, Any], why: str) -> None:
    """A task that cannot be sent waits, and says in one line for what."""
    async with worker(**fields) as here:
        run = Run()
        here.tasks.start_soon(here._run, run, Deed(do="echo", value=1))
        while not any(why in text for text in run.waits):
            await anyio.sleep(0.05)
        assert all("\n" not in text for text in run.waits)


async def test_without_a_cluster_a_task_may_run_here(worker: Made) -> None:
    """With `away = "local"` the task runs on this machine, under the same guard, while the cluster cannot be used."""
    async with worker(address=f"{two_machines.HEAD}:1", away="local") as here:
        run = await here.run(do="echo", value={"proof": [7]})
        assert run.output == PROOF
        assert {status.host for status in run.status if status.host} == {"sealer1"}


@pytest.mark.whole
async def test_a_cluster_without_a_token_is_refused(tmp_path: Path) -> None:
    """A cluster that lets in anybody is refused, unless the group says otherwise; one on the loopback address listens nowhere else."""
    with two_machines.machines(tmp_path) as alone:
        alone.head.run(
            "ip", "route", "add", "default", "dev", alone.head.cable
        )  # by which Ray finds an outward address
        up = ("--head", "--insecure", "--resource", "prover=1", "--temp-dir", str(alone.temp / "open"))
        assert [] == [each for each in alone.head.ray("up", *up)["sockets"] if each["open"]]
        token = tmp_path / "token"
        token.write_text("0" * 64)
        found = {}
        for insecure in (False, True):
            group = settings.Group(
                stage="c2",
                address=f"127.0.0.1:{two_machines.PORT}",
                resources={"prover": 1},
                argv=(sys.executable, str(FOREIGN), "c2"),
                ready_seconds=60.0,
                token_file=str(token),
                insecure=insecure,
            )
            command = [*alone.head.command(sys.executable, "-m", "damocles.stages.far.check")]
            env = {**os.environ, settings.VARIABLE: msgspec.json.encode(group).decode()}
            done = await anyio.run_process(command, env=env, check=False)
            found[insecure] = (done.returncode, done.stdout.decode())
        assert (0, "ok: prover = 1 on sealer1\n") == found[True]
        assert found[False][0] == 1
        assert "lets in anybody, without a token" in found[False][1]
