"""Strikes at a stage that stands still on the other machine: whoever has a part in it is killed, frozen or cut off, once at each point.

The far child stands still by its failpoints, before its work and after it; that it stands there is seen by the mark.
"""

import ctypes
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from damocles import methods
from damocles.rpc import errors
from damocles.testing import farm
from damocles.testing.farm import Farm, cli, wait_until
from damocles.wire import control
from tests.integration.stages.far import two_machines

STAGES = ("pc1", "pc2", "c1")
POINTS = tuple(f"stage.{when}:{stage}" for stage in STAGES for when in ("before", "after"))
C2_POINTS = ("stage.before:c2", "stage.after:c2")
LEASE_SECONDS = 8
_LOOK_SECONDS = 0.1
_CLONE_NEWNET = 0x40000000
_WAIT_SECONDS = 240.0  # for a node to be up again on a busy machine


@dataclass
class Scene:
    """A farm on the first machine whose stages run on the second."""

    farm: Farm
    pair: two_machines.Pair
    marks: Path
    later: list[Callable[[], None]] = field(default_factory=list)

    def detail(self) -> control.ThreadDetail | None:
        """Return the thread with everything, as far as the worker answers."""
        with suppress(errors.CallError, OSError), self.farm.worker_client() as worker:
            (found,) = worker.call(methods.worker.threads())
            return found
        return None

    def standing(self) -> psutil.Process:
        """Wait until the worker shows the process that stands still on the other machine; return it."""

        def shown() -> control.ThreadDetail | None:
            found = self.detail()
            return found if found is not None and found.far_host else None

        found = wait_until(shown, "a stage runs on the other machine", _WAIT_SECONDS)
        assert found.far_host == "gpu1"
        return psutil.Process(found.pid)

    def ask(self, *command: str) -> str:
        """Run a command of the worker."""
        return cli("damocles-worker", "worker", "-c", str(self.farm.config), *command).stdout

    def look(self, process: psutil.Process) -> None:
        """Find the machine and the process where operators look for them."""
        manager = ("--listen", f"127.0.0.1:{self.farm.manager_port}", "--home", str(self.farm.base / "manager"))
        assert f"ray(gpu1, pid: {process.pid})" in self.ask("list", "--wide")  # off a terminal, the original's columns
        assert {"gpu1", str(process.pid)} <= set(self.ask("list", "--why").split())
        assert f"gpu1:{process.pid}" in cli("damocles-manager", "top", *manager).stdout.split()


def above(process: psutil.Process) -> tuple[psutil.Process, psutil.Process]:
    """Return the guard of a far child, and Ray's actor."""
    guard = process.parent()
    assert guard is not None
    actor = guard.parent()
    assert actor is not None
    return guard, actor


def named(machine: two_machines.Machine, name: str) -> psutil.Process:
    """Return the process of a node with this name."""
    (found,) = [one for one in map(psutil.Process, machine.processes) if one.name() == name]
    return found


def ours(machine: two_machines.Machine) -> list[str]:
    """Return the commands that we have started on a machine, beside Ray's."""
    commands = []
    for pid in machine.processes:
        with suppress(psutil.NoSuchProcess):
            commands.append(" ".join(psutil.Process(pid).cmdline()))
    return [command for command in commands if "damocles.stages" in command]


def is_gone(process: psutil.Process, seconds: float = 120) -> bool:
    """Wait until a process is gone; return whether it is."""
    return not psutil.wait_procs([process], seconds)[1]


def stands_still(process: psutil.Process) -> bool:
    """Return whether a process was stopped."""
    return bool(process.status() == psutil.STATUS_STOPPED)


def kill_child(scene: Scene, process: psutil.Process) -> None:
    """Kill the process that works."""
    process.kill()


def kill_actor(scene: Scene, process: psutil.Process) -> None:
    """Kill Ray's worker above it."""
    above(process)[1].kill()


def kill_raylet(scene: Scene, process: psutil.Process) -> None:
    """Kill Ray's daemon there; somebody starts the node again."""
    named(scene.pair.prover, "raylet").kill()
    assert is_gone(process)
    restart(scene)


def restart(scene: Scene) -> None:
    """Start the other machine's node again."""
    scene.pair.prover.ray("down")
    assert [] == scene.pair.prover.processes
    scene.pair.start_prover()


def cut(scene: Scene, process: psutil.Process) -> None:
    """Pull out the cable until the process behind it has ended by its lease; who follows the log hears of that afterwards.

    Ray takes a machine for dead that does not answer for eight seconds, which is as long as the lease here: then its node ends
    once the cable is in again, with what it had to say, and somebody starts it again.
    """
    command = [farm.program("damocles-worker"), "worker", "-c", str(scene.farm.config), "logs", "0", "-f"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as log:
        assert log.stdout is not None
        try:
            scene.pair.prover.plug(is_in=False)
            assert is_gone(process, LEASE_SECONDS + 60)
            raylet = named(scene.pair.prover, "raylet")
            scene.pair.prover.plug(is_in=True)
            if is_gone(raylet, 15):
                restart(scene)
            else:
                assert any(f"[gpu1:{process.pid}] guard: " in line for line in log.stdout)
        finally:
            scene.pair.prover.plug(is_in=True)
            log.terminate()


def kill_head(scene: Scene, process: psutil.Process) -> None:
    """Kill the head; somebody starts a new cluster."""
    named(scene.pair.head, "gcs_server").kill()
    for machine in (scene.pair.prover, scene.pair.head):
        machine.ray("down")
        assert [] == machine.processes
    scene.pair.start_head()
    scene.pair.start_prover()


def kill_helper(scene: Scene, process: psutil.Process) -> None:
    """Kill the driver of Ray beside the worker that has sent the task."""
    assert scene.farm.worker is not None
    for child in psutil.Process(scene.farm.worker.pid).children():
        if "damocles.stages.far.helper" in child.cmdline():
            child.kill()


def kill_worker(scene: Scene, process: psutil.Process) -> None:
    """Kill the daemon, and start it again."""
    assert scene.farm.worker is not None
    scene.farm.worker.kill()
    scene.farm.worker.wait()
    scene.farm.start_worker(wait=False)


def pause(scene: Scene, process: psutil.Process) -> None:
    """Pause at once: the process is gone when the thread is shown as paused."""
    scene.ask("pause", "--index", "0", "--now")
    wait_until(lambda: scene.farm.thread(0).thread_state.state == "Paused", "the thread is paused")
    assert not two_machines.is_running(process)
    scene.ask("resume", "--index", "0")


def abort(scene: Scene, process: psutil.Process) -> None:
    """Give the sector up; the thread takes the next one, which stands still at the next point."""
    scene.ask("abort", "--index", "0", "--yes")
    assert is_gone(process, 1)


def freeze_attempt(scene: Scene, process: psutil.Process) -> None:
    """Freeze the process, its guard and its actor; wake the process, and after it its guard, when the run is at its end."""
    guard, actor = above(process)
    for each in (actor, guard, process):
        each.suspend()

    def wake() -> None:
        process.resume()
        wait_until(lambda: not two_machines.is_running(process), "the process that has woken alone ends")
        guard.resume()
        assert is_gone(guard)
        assert is_gone(process)

    scene.later.append(wake)


def freeze_machine(scene: Scene, process: psutil.Process) -> None:
    """Freeze all that runs on the machine until its attempt counts as lost; then it goes on."""
    frozen = [psutil.Process(pid) for pid in scene.pair.prover.processes]
    for each in frozen:
        with suppress(psutil.NoSuchProcess):
            each.suspend()
    wait_until(lambda: (found := scene.detail()) is not None and not found.far_host, "the attempt is lost", 120)
    for each in frozen:
        with suppress(psutil.NoSuchProcess):
            each.resume()
    assert is_gone(process)


STRIKES: Mapping[str, Callable[[Scene, psutil.Process], None]] = {
    "child killed": kill_child,
    "actor killed": kill_actor,
    "raylet killed": kill_raylet,
    "cable cut": cut,
    "head killed": kill_head,
    "helper killed": kill_helper,
    "daemon killed": kill_worker,
    "paused at once": pause,
    "aborted": abort,
    "frozen and woken": freeze_attempt,
    "machine frozen": freeze_machine,
}


def groups(pair: two_machines.Pair, base: Path, marks: Path, stages: Sequence[str] = STAGES) -> str:
    """Return the configuration that sends stages to the other machine, where each stands still once at every point."""
    # A standing process that wakes goes on, rather than wait for ever.
    failpoints = {"DAMOCLES_FAILPOINTS": "stage.*=stop", "DAMOCLES_FAILPOINTS_ONCE": str(marks)}
    envs = ", ".join(f'{name} = "{text}"' for name, text in failpoints.items())
    return "".join(
        f'[[processors.{stage}]]\nexecutor = "ray"\naddress = "{pair.address}"\nresources = {{ prover = 0.25 }}\n'
        f'token_file = "{pair.token}"\nshared = ["{base}"]\nlease = "{LEASE_SECONDS}s"\nenvs = {{ {envs} }}\n'
        for stage in stages
    )


def ride(
    scene: Scene,
    strikes: Mapping[str, str],
    done: Callable[[], bool],
    seconds: float,
    points: Sequence[str] = POINTS,
    **env: str,
) -> Mapping[str, str]:
    """Run until `done`, with one strike at each point that is named; elsewhere what stands still goes on. Return what struck.

    The worker, which gets `env`, is stopped at the end, and what was frozen is woken.
    """
    struck: dict[str, str] = {}
    scene.farm.start_worker(wait=False, **env)
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, (
            f"not at the end within {seconds:g} s; struck: {struck}\n{scene.farm.logs()}"
        )
        for point in points:
            if point not in struck and (scene.marks / point).exists():
                process = scene.standing()
                wait_until(partial(stands_still, process), f"{point} is reached")
                if not struck:
                    scene.look(process)
                struck[point] = name = strikes.get(point, "")
                if name:
                    STRIKES[name](scene, process)
                else:
                    process.resume()
                if name and not name.startswith("frozen"):
                    assert is_gone(process), f"{name} at {point}"
        time.sleep(_LOOK_SECONDS)
    assert scene.farm.worker is not None
    farm.stop(scene.farm.worker)
    scene.farm.worker = None
    for wake in scene.later:
        wake()
    return {point: name for point, name in struck.items() if name}


@contextmanager
def at(machine: two_machines.Machine) -> Iterator[None]:
    """Have this thread, and the processes that it starts, in the network of a machine."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/self/ns/net").open() as home, Path(f"/proc/{machine.holder.pid}/ns/net").open() as there:
        assert libc.setns(there.fileno(), _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert libc.setns(home.fileno(), _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())


def left_on(pair: two_machines.Pair) -> list[str]:
    """Return what of ours still runs on either machine once it had time to end."""
    with suppress(AssertionError):
        wait_until(lambda: not ours(pair.prover) and not ours(pair.head), "nothing of ours is left", 120)
    return [*ours(pair.prover), *ours(pair.head)]
