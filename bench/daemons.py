"""Memory, CPU, wakes, start-up and answers of idle daemons."""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench.figures import Figure
from damocles.rpc import errors
from damocles.testing.farm import Farm, program, wakes

SETTLE_SECONDS = 35.0  # the first ping and the first look at the alerts import and connect; later ones do not
IDLE_SECONDS = 60.0
# What a wake costs differs much between machines, so a loop that wakes ten times a second runs beside.
BARE_LOOP = """
import asyncio
async def main():
    print(flush=True)
    while True:
        await asyncio.sleep(0.1)
asyncio.run(main())
"""


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
        with _bare_loop() as bare:
            everything = {**processes, "loop": psutil.Process(bare.pid)}
            cpu = {name: _cpu(process) for name, process in everything.items()}
            woken = {name: wakes(process.pid) for name, process in everything.items()}
            time.sleep(IDLE_SECONDS)
            cpu = {name: (_cpu(process) - cpu[name]) / IDLE_SECONDS * 100 for name, process in everything.items()}
            woken_hz = {name: (wakes(process.pid) - woken[name]) / IDLE_SECONDS for name, process in everything.items()}
        for name, process in processes.items():
            yield Figure(
                name=f"{name}: resident memory",
                value=process.memory_info().rss / 1e6,
                unit="MB",
                at_most=80,
                against="original worker 35 MB",
            )
            yield Figure(
                name=f"{name}: CPU when idle / a bare loop with ten wakes a second",
                value=cpu[name] / cpu["loop"],
                unit="",
                at_most=1,
                against=f"{cpu[name]:.2g} % of a core, the loop {cpu['loop']:.2g} %; original worker 0.02 %",
            )
            yield Figure(
                name=f"{name}: wakes when idle",
                value=woken_hz[name],
                unit="per second",
                at_most=2,
                against=f"the loop {woken_hz['loop']:.3g}",
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


@contextlib.contextmanager
def _bare_loop() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([sys.executable, "-c", BARE_LOOP], stdout=subprocess.PIPE) as loop:
        assert loop.stdout is not None
        loop.stdout.readline()  # it has started
        try:
            yield loop
        finally:
            loop.kill()


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _answers(farm: Farm) -> bool:
    try:
        return bool(farm.all_threads())
    except errors.CallError:
        return False
