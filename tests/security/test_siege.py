"""Real daemons under attack by strangers, a hostile worker and leaked tokens at once."""

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Self

import pytest

from damocles import methods
from damocles.rpc.admission import tokens
from damocles.rpc.calling import sync
from damocles.testing.farm import Farm, wait_until
from damocles.wire import control

SECONDS = 10.0
LEAST_ACTS = 4
BESIEGED_FILES = 150  # that the manager has opened when the attackers are there
THREADS = 3
PATIENCE_SECONDS = 120.0  # for a call: how long it takes is measured, and not asserted


class Watch(threading.Thread):
    """Looks at the memory of processes while a block runs."""

    def __init__(self, pids: list[int]) -> None:
        super().__init__(daemon=True)
        self.most = dict.fromkeys(pids, 0)
        self._over = threading.Event()

    def run(self) -> None:
        """Look again and again."""
        while not self._over.wait(0.05):
            for pid in self.most:
                self.most[pid] = max(self.most[pid], resident(pid))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def resident(pid: int) -> int:
    """Return how much memory a process has, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def opened(pid: int) -> int:
    """Return how many files, connections among them, a process has opened."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def told(waits: list[float]) -> str:
    """Say how long somebody has waited."""
    return f"{len(waits)}, longest {max(waits):.2f} s, median {statistics.median(waits):.2f} s"


@contextmanager
def siege(f: Farm, leaked: Path, leaked_of_worker: Path) -> Iterator[None]:
    """Have both daemons besieged by another process while the block runs."""
    command = [
        *(sys.executable, "-m", "damocles.testing.siege"),
        *("--manager", f"127.0.0.1:{f.manager_port}", "--worker", f"127.0.0.1:{f.worker_port}"),
        *("--read", str(leaked), "--worker-read", str(leaked_of_worker)),
        *("--worker-token", str(f.base / "manager" / "worker-token")),
    ]
    with (f.base / "siege.log").open("ab") as out, subprocess.Popen(command, stdout=out, stderr=out) as attackers:
        try:
            yield
            assert attackers.poll() is None, (f.base / "siege.log").read_text()[-4000:]
        finally:
            attackers.kill()


def created(client: sync.Client, file: Path) -> Path:
    """Make a token with scope read and leave it in a file."""
    made = client.call("Damocles.AuthCreate", ["leaked", "read"], returns=control.NewToken)
    file.write_text(made.text)
    return file


def admin_of(f: Farm) -> AbstractContextManager[sync.Client]:
    """Return a connection to the manager for an admin with patience."""
    token = tokens.read_file(f.base / "manager" / "token")
    return sync.connect(f"http://127.0.0.1:{f.manager_port}/rpc/v0", token=token, timeout_seconds=PATIENCE_SECONDS)


def act(manager: sync.Client, verb: str) -> list[control.Outcome]:
    """Do something to all threads of the good worker."""
    chosen = control.Selection(all=True, workers=["test-worker"])
    return manager.call(methods.fleet.act(chosen, control.Act(verb=verb), PATIENCE_SECONDS))


@pytest.mark.timeout(300)
def test_a_siege(
    tmp_path: Path, record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Both daemons stay below twice the memory they rest at, an admin is answered, and what is asked for is done."""
    with Farm(tmp_path, threads=THREADS, parameters=tmp_path, max_sectors=0, ping_interval="1s") as f:
        f.start_manager()
        f.start_worker()
        assert f.manager is not None
        assert f.worker is not None
        pids = [f.manager.pid, f.worker.pid]
        with f.manager_client() as manager, f.worker_client() as worker:
            leaked, of_worker = created(manager, tmp_path / "leaked"), created(worker, tmp_path / "leaked-of-worker")
            wait_until(lambda: manager.call("Damocles.Workers", returns=list[control.WorkerStatus]), "a ping")
            for _ in range(30):  # what makes the audit large for whoever reads it
                manager.call("Venus.WorkerPingInfoRemove", ["x" * 240_000])
            for _ in range(3):
                assert all(outcome.ok for verb in ("pause", "resume") for outcome in act(manager, verb))
                manager.call("Damocles.FleetThreads", [control.Selection(all=True)], returns=control.FleetThreads)
                manager.call("Damocles.AuditList", [control.AuditQuery()], returns=list[control.AuditEntry])
        rest = {pid: resident(pid) for pid in pids}
        calls: list[float] = []
        waits: list[float] = []
        with Watch(pids) as watch, siege(f, leaked, of_worker):
            wait_until(lambda: opened(pids[0]) > BESIEGED_FILES, "the siege")
            began = time.monotonic()
            while time.monotonic() - began < SECONDS or len(waits) < LEAST_ACTS:
                for verb in ("pause", "resume"):
                    asked = time.monotonic()
                    with admin_of(f) as manager:  # a new connection each time, as the command line makes one
                        manager.call("Damocles.Workers", returns=list[control.WorkerStatus])
                        calls.append(time.monotonic() - asked)
                        asked = time.monotonic()
                        outcomes = act(manager, verb)
                        waits.append(time.monotonic() - asked)
                    assert [(True, False)] * THREADS == [(outcome.ok, outcome.silent) for outcome in outcomes], outcomes
        with admin_of(f) as manager, f.worker_client() as worker:
            threads = worker.call("Damocles.Threads", returns=list[control.ThreadDetail])
            assert [None] * THREADS == [thread.paused_at for thread in threads]
            for client in (manager, worker):
                client.call("Damocles.AuthRevoke", ["leaked"], returns=list[control.Token])
        figures = {
            "manager": f"{rest[pids[0]] / 1e6:.0f} -> {watch.most[pids[0]] / 1e6:.0f} MB",
            "worker": f"{rest[pids[1]] / 1e6:.0f} -> {watch.most[pids[1]] / 1e6:.0f} MB",
            "calls": told(calls),
            "acts": told(waits),
        }
        for name, figure in figures.items():
            record_property(name, figure)
        with capsys.disabled():
            print("", *(f"{name}: {figure}" for name, figure in figures.items()), sep="\n")  # noqa: T201 (for people)
        for pid in pids:
            assert watch.most[pid] < 2 * rest[pid], figures
