"""The fleet from the manager: 200 sham workers with 10,000 threads, listings, a fleet-wide resume, hung workers, a death."""

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import psutil

from bench.figures import Figure
from damocles import methods
from damocles.cli.connecting import calls
from damocles.cli.threads import options
from damocles.rpc.calling import sync
from damocles.testing.farm import Farm, stop
from damocles.text import units
from damocles.wire import alerts, control
from damocles.wire.fleet import Summary, WorkerInfo

T = TypeVar("T")

PROCESSES = 4
WORKERS = 200
THREADS = 50
HUNG = 20
ROUNDS = 200
SLOW_ROUNDS = 10
PAUSED_AGAIN_SECONDS = 15.0  # until the threads that were resumed have failed as before
DEATH_SECONDS = 300


def figures() -> Iterator[Figure]:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        farm = stack.enter_context(Farm(Path(folder), threads=0, parameters=Path(folder), max_sectors=0))
        quiet = Path(folder) / "no-looks.toml"
        quiet.write_text('interval = "1h"\n')
        farm.start_manager("--alerts", str(quiet))
        url = f"http://127.0.0.1:{farm.manager_port}/rpc/v0"
        home = Path(folder) / "manager"
        share = WORKERS // PROCESSES
        fleets = [start(stack, url, home, first=number * share, workers=share) for number in range(PROCESSES)]
        for fleet in fleets:
            assert fleet.stdout is not None
            fleet.stdout.readline()
        yield load(farm, f"manager's CPU for the pings of {WORKERS} workers", at_most=5)
        yield Figure(name="pings", value=WORKERS / 30, unit="per second")
        assert farm.manager is not None
        stop(farm.manager)
        farm.start_manager()
        time.sleep(30)  # every worker has pinged again
        yield load(farm, f"the same, and the alerts look at all {WORKERS * THREADS} threads every 30 s")
        admin = (home / "token").read_text().strip()
        # As the command lines do it: with their usual time-out, of which workers get a part.
        seconds = units.parse_duration(options.DEFAULT_TIMEOUT)
        with calls.manager_at(sync.connect(url, token=admin, timeout_seconds=seconds), seconds) as peer:
            everyone = control.Selection(all=True)
            one = control.Selection(workers=["sham-007"])
            stuck = control.Selection(error="No cached parameters")

            def call(ask: methods.Ask[T]) -> Callable[[], T]:
                return lambda: peer.call(ask)

            def ask(chosen: control.Selection) -> Callable[[], Any]:
                return call(methods.fleet.threads(chosen, peer.worker_seconds))

            def act(wanted: control.Act) -> Callable[[], Any]:
                return call(methods.fleet.act(stuck, wanted, peer.worker_seconds))

            yield from times("list (registry)", call(methods.fleet.workers()))
            yield from times("info of one worker", ask(one))
            yield from times(f"top ({WORKERS * THREADS} threads)", ask(everyone), rounds=SLOW_ROUNDS)
            yield from times("resume --error, dry run", act(control.Act(verb="resume", dry_run=True)), SLOW_ROUNDS)
            yield from times(
                "resume --error of the fleet", act(control.Act(verb="resume")), SLOW_ROUNDS, PAUSED_AGAIN_SECONDS
            )
            hung = [_hang(stack) for _ in range(HUNG)]
            worker = (home / "worker-token").read_text().strip()
            with sync.connect(url, token=worker) as pinger:
                for number, port in enumerate(hung):
                    info = WorkerInfo(f"hung-{number}", f"127.0.0.1:{port}", "", Summary(1, 0, 0, running=1))
                    pinger.call(methods.sealer.worker_ping(info))
            yield from times(f"info of one worker, {HUNG} others hang", ask(one))
            yield from times(f"list, {HUNG} hang", call(methods.fleet.workers()))
            yield from times(f"top, {HUNG} hang (until their {peer.worker_seconds} s are over)", ask(everyone), 3)
            yield from times(
                f"resume --error of the fleet, {HUNG} hang", act(control.Act(verb="resume")), 3, PAUSED_AGAIN_SECONDS
            )
            yield from _death(fleets[0], call(methods.alerts.board()))


def load(farm: Farm, name: str, at_most: float | None = None) -> Figure:
    """Measure for a minute which part of a core the manager takes."""
    assert farm.manager is not None
    manager = psutil.Process(farm.manager.pid)
    before = sum(manager.cpu_times()[:2])
    time.sleep(60)
    share = (sum(manager.cpu_times()[:2]) - before) / 60 * 100
    return Figure(name=name, value=share, unit="% of a core", at_most=at_most)


def _death(fleet: "subprocess.Popen[bytes]", board: Callable[[], alerts.Board]) -> Iterator[Figure]:
    """Kill the first of the sham processes and wait for what the alerts say of its first worker."""
    os.kill(fleet.pid, signal.SIGKILL)
    died = time.monotonic()
    told: dict[str, float] = {}
    while "worker-late" not in told and time.monotonic() - died < DEATH_SECONDS:
        time.sleep(0.5)
        for alert in board().alerts:
            if alert.subject == "sham-000" and alert.rule.startswith("worker-"):
                told.setdefault(alert.rule, time.monotonic() - died)
    for rule, seconds in told.items():
        yield Figure(name=f"from a worker's death to its alert {rule}", value=seconds, unit="s")


def times(name: str, work: Callable[[], Any], rounds: int = ROUNDS, between_seconds: float = 0.0) -> Iterator[Figure]:
    """Measure how long some work takes."""
    taken = []
    for _ in range(rounds):
        time.sleep(between_seconds)
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1000)
    yield Figure(name=f"{name}: p50 of {rounds} rounds", value=statistics.median(taken), unit="ms")
    # Of fewer rounds than a hundred the worst stands for it.
    p99 = statistics.quantiles(taken, n=100, method="inclusive")[-1] if rounds >= 100 else max(taken)
    yield Figure(name=f"{name}: {'p99' if rounds >= 100 else 'worst'} of {rounds} rounds", value=p99, unit="ms")


def start(stack: ExitStack, url: str, home: Path, *, first: int, workers: int) -> "subprocess.Popen[bytes]":
    """Start a process of sham workers, which says when they are ready."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "damocles.testing.fleet", "--manager", url),
            *("--token-file", str(home / "worker-token"), "--first", str(first)),
            *("--workers", str(workers), "--threads", str(THREADS)),
        ],
        stdout=subprocess.PIPE,
    )
    stack.callback(process.wait)
    stack.callback(os.kill, process.pid, signal.SIGKILL)
    return process


def _hang(stack: ExitStack) -> int:
    """Listen, and stop in the middle of every answer."""
    listener = socket.create_server(("127.0.0.1", 0))
    stack.callback(listener.shutdown, socket.SHUT_RDWR)
    connections = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connections.append(connection)
                connection.recv(65536)
                connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{"jsonrpc":"2.0","result":[')

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])
