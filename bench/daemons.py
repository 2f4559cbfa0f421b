"""Memory, CPU, start-up and answers of idle daemons."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench.figures import Figure
from damocles.rpc import errors
from damocles.testing.farm import Farm, program

SETTLE_SECONDS = 35.0  # the first ping and the first look at the alerts import and connect; later ones do not
IDLE_SECONDS = 60.0


def figures() -> Iterator[Figure]:
    """Measure a manager and a worker with three threads that have nothing to do."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Farm(
            Path(folder),
            parameters=Path(folder),
            max_sectors=0,
            ping_interval="30s",
            seal_interval="1h",
            recover_interval="1h",
        ) as farm,
    ):
        began = time.perf_counter()
        farm.start_manager()
        yield Figure(name="manager: start until it answers", value=time.perf_counter() - began, unit="s")
        began = time.perf_counter()
        farm.start_worker()
        while not _answers(farm):
            time.sleep(0.005)
        yield Figure(
            name="worker: start until it answers",
            value=time.perf_counter() - began,
            unit="s",
            against="original 0.07 s",
        )
        time.sleep(SETTLE_SECONDS)
        daemons = {"manager": farm.manager, "worker": farm.worker}
        processes = {name: psutil.Process(process.pid) for name, process in daemons.items() if process is not None}
        before = {name: _cpu(process) for name, process in processes.items()}
        time.sleep(IDLE_SECONDS)
        for name, process in processes.items():
            yield Figure(
                name=f"{name}: resident memory",
                value=process.memory_info().rss / 1e6,
                unit="MB",
                at_most=80,
                against="original worker 35 MB",
            )
            yield Figure(
                name=f"{name}: CPU when idle",
                value=(_cpu(process) - before[name]) / IDLE_SECONDS * 100,
                unit="% of a core",
                at_most=0.1,
                against="original worker 0.02 %",
            )
        children = processes["worker"].children(recursive=True)
        yield Figure(
            name=f"worker: its {len(children)} children",
            value=sum(child.memory_full_info().pss for child in children) / 1e6,
            unit="MB (proportional)",
            against="original's seven: 160 MB resident",
        )
        times = []
        for _ in range(10):
            began = time.perf_counter()
            subprocess.run(
                [program("damocles-worker"), "worker", "-c", str(farm.config), "list"], check=True, capture_output=True
            )
            times.append(time.perf_counter() - began)
        yield Figure(
            name="`worker list`, median of 10",
            value=sorted(times)[5],
            unit="s",
            at_most=0.35,
            against="original 0.11 s",
        )


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _answers(farm: Farm) -> bool:
    try:
        return bool(farm.all_threads())
    except errors.CallError:
        return False
