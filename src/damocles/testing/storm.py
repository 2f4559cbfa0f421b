"""Keep a farm alive while failpoints kill its processes at every durable step, each once.

cells = storm.ride(farm, storm.FAMILIES["answers lost"], done=lambda: ..., seconds=120)
"""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from damocles import failpoints, methods
from damocles.rpc import errors
from damocles.stores import identity
from damocles.testing import farm
from damocles.testing.farm import Farm
from damocles.wire import control

_DISK = {"eio", "enospc"}
_POLL_SECONDS = 0.03
_LOOK_SECONDS = 0.5
_AWAY_SECONDS = 0.7


@dataclass(frozen=True)
class Family:
    """Points that belong together, what happens at each of them, and which daemon they are in (children: the worker).

    With `away` a daemon that died is started while the disk of the sealing store, or of the persist store, is not mounted.
    """

    points: Sequence[str]
    daemon: Literal["worker", "manager"] = "worker"
    action: str = "kill"
    away: Literal["sealing", "persist"] | None = None


FAMILIES = {
    "worker dies before a handler": Family(["handler.before:*"]),
    "worker dies after a handler": Family(["handler.after:*"]),
    "worker dies before a record": Family(["journal.before:*"]),
    "worker dies in a record": Family(["journal.commit:*"]),
    "worker dies after a record": Family(["journal.after:*"]),
    "worker dies before a call": Family(["rpc.before:*"]),
    "worker dies before it has heard the answer": Family(["rpc.after:*"]),
    "worker dies while it moves files": Family(["pc2:*", "link.*", "clear:*", "discard:*"]),
    "child dies before a stage": Family(["stage.before:*"]),
    "child dies before its answer": Family(["stage.after:*"]),
    "child dies before a sync": Family(["sync:*"]),
    "power cut tears a file": Family(["sync:*"], action="torn"),
    "child dies around a rename": Family(["rename.*", "fence:*"]),
    "manager dies before a method": Family(["answer.before:*"], "manager"),
    "manager dies before its answer": Family(["answer.after:*"], "manager"),
    "manager dies before a commit": Family(["database.before:*"], "manager"),
    "manager dies after a commit": Family(["database.after:*"], "manager"),
    "worker's disk is full": Family(["journal.*"], action="enospc"),
    "child's disk breaks": Family(["sync:*", "rename.*"], action="eio"),
    "manager's disk breaks": Family(["database.*"], "manager", action="eio"),
    "handlers break": Family(["handler.*"], action="raise"),
    "child hangs": Family(["stage.*"], action="hang"),
    "sealing store is away after a death": Family(["handler.after:*"], away="sealing"),
    "persist store is away after a death": Family(["handler.before:*"], away="persist"),
    "manager's store is away after a death": Family(["answer.before:*"], "manager", away="persist"),
}


def ride(
    f: Farm,
    family: Family,
    marks: Path,
    done: Callable[[], bool],
    seconds: float,
    *,
    meanwhile: Callable[[], object] = lambda: None,
) -> list[str]:
    """Run until `done`, with each point of the family striking once; return the names of the points that struck.

    Killed daemons are started again, threads that paused for an injected error are resumed, a stage that hangs is ended by a
    pause. At the end the worker is stopped and the manager runs without failpoints. `marks` is a folder to be made.
    `meanwhile` is called each time that a daemon has died or stands still, before it goes on.
    """
    marks.mkdir()
    _know_stores(f)
    armed = {
        failpoints.VARIABLE: ";".join(f"{point}={family.action}" for point in family.points),
        failpoints.ONCE_VARIABLE: str(marks),
    }
    env = {name: armed if name == family.daemon else {} for name in ("worker", "manager")}
    if family.daemon == "manager" and f.manager is not None:
        farm.stop(f.manager)
        f.launch_manager(**env["manager"])
    f.start_worker(wait=False, **env["worker"])
    deadline, look, hung = time.monotonic() + seconds, time.monotonic(), 0
    while not done():
        if time.monotonic() > deadline:
            struck = "\n".join(sorted(path.name for path in marks.iterdir()))
            raise AssertionError(f"not at the end within {seconds:g} s; struck so far:\n{struck}\n{f.logs()}")
        for process in (f.manager, f.worker):
            if process is not None and _stands_still(process):
                meanwhile()
                process.send_signal(signal.SIGCONT)
        if _died(f, f.manager, family):
            meanwhile()
            with _away(f, family, "manager"):
                f.launch_manager(**env["manager"])
        if _died(f, f.worker, family):
            meanwhile()
            with _away(f, family, "worker"):
                f.start_worker(wait=False, **env["worker"])
        if time.monotonic() > look:
            if family.action == "hang" and len(list(marks.iterdir())) > hung:
                hung += _pause(f)
            _resume(f)
            look = time.monotonic() + _LOOK_SECONDS
        time.sleep(_POLL_SECONDS)
    for process in (f.worker, f.manager):
        if process is not None:
            farm.stop(process, kill=True)
    f.worker = None
    f.start_manager(*f.manager_options)
    return sorted(path.name for path in marks.iterdir())


def _know_stores(f: Farm) -> None:
    """Let the daemons have seen the stores before anything strikes: a place that was never seen is taken as it is."""
    for home in (f.base / "worker", f.base / "manager"):
        home.mkdir(mode=0o700, exist_ok=True)
        for store in (f.stores[0], f.base / "persist"):
            identity.Memory(home).admit(store)


@contextmanager
def _away(f: Farm, family: Family, daemon: str) -> Iterator[None]:
    """Let the store of a family be away while the block starts a daemon, and until it has had the time to miss it."""
    if family.away is None or daemon != family.daemon:
        yield
        return
    folder = f.stores[0] if family.away == "sealing" else f.base / "persist"
    away = folder.rename(folder.with_name(f"{folder.name} away"))
    if family.away == "persist":
        folder.mkdir()
    yield
    _wait_for_listening(f, daemon)
    time.sleep(_AWAY_SECONDS)
    # Folders, and a half-made copy that was under way, may be left behind; nothing that somebody takes for a sector's file.
    left = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    taken = [str(path) for path in left if not any(part.startswith(".") for part in path.parts)]
    if taken:
        raise AssertionError(f"the bare mount point {folder} was taken for a store: {', '.join(taken)}")
    shutil.rmtree(folder, ignore_errors=True)
    away.rename(folder)


def _wait_for_listening(f: Farm, daemon: str) -> None:
    """Wait until a daemon that was started can do something, or has died anew."""
    process, port = (f.worker, f.worker_port) if daemon == "worker" else (f.manager, f.manager_port)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process is not None and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(_POLL_SECONDS)


def _died(f: Farm, process: "subprocess.Popen[bytes] | None", family: Family) -> bool:
    ended = None if process is None else process.poll()
    # A daemon that cannot write when it starts says so in a line and ends; whatever supervises it tries again.
    says_so = family.action in _DISK and ended == 1 and "Traceback" not in f.logs()
    if ended not in {None, -signal.SIGKILL} and not says_so:
        raise AssertionError(f"a daemon ended with {ended} instead of dying\n{f.logs()}")
    return ended is not None


def _stands_still(process: "subprocess.Popen[bytes]") -> bool:
    """Tell whether a daemon was stopped by a failpoint, for as long as nobody lets it go on."""
    if process.poll() is not None:
        return False
    status = Path(f"/proc/{process.pid}/stat").read_text()  # there is one as long as nobody has asked how it ended
    return status.rpartition(")")[2].split()[0] == "T"


def _pause(f: Farm) -> bool:
    """Pause at once, which kills the processes of running stages, as an operator would who sees that one stands still."""
    try:
        with f.worker_client() as worker:
            worker.call(methods.worker.act_on(control.Selection(all=True), control.Act(verb="pause", now=True)))
    except (errors.CallError, OSError):
        return False  # the next look does it
    return True


def _resume(f: Farm) -> None:
    """Resume what has paused on the way, as an operator would: an injected error, a child that died too often."""
    try:
        for thread in f.all_threads():
            if thread.thread_state.state == "Paused":
                f.resume(thread.index)
    except (errors.CallError, OSError):
        return  # it is being started: the next look will tell
