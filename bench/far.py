"""What Ray costs: to hand a stage over, to a child here and through a cluster of this machine alone; C2 both ways; a worker without it.

The cluster's head is started for it, on the loopback address, with a token of its own.
"""

import contextlib
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import msgspec

from bench import prove
from bench.figures import Figure
from damocles.stages.far import node, settings
from damocles.stages.supervision import executor, pool
from damocles.testing.farm import Farm
from damocles.wire import codec, sectors, tasks

ROUNDS = 300
READY_SECONDS = 60.0
C2_ROUNDS = 3  # beside the first one, which reads the parameters
PORT = 6390  # not of 10002 to 19999, from which Ray gives ports to its workers

# Answers with the moment in which a native call would begin, by the clock that all processes of a machine share.
PROCESSOR = """
import json, sys, time
print("c1 processor ready", flush=True)
for line in sys.stdin:
    began = time.monotonic()
    print(json.dumps({"id": json.loads(line)["id"], "err_msg": None, "output": began}), flush=True)
"""


class Nothing(msgspec.Struct):
    """A task without data."""


def figures() -> Iterator[Figure]:
    """Measure."""
    yield _imports()
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "processor.py")
        program.write_text(PROCESSOR)
        command = (sys.executable, str(program))
        here = anyio.run(_handed_over, pool.ProcessorGroup(bin=command[0], args=command[1:]))
        yield _figure("hand-over of a stage to a child here, warm, p50", here, 5.0)
        task = _c2(Path(folder, "inputs"))
        token = Path(folder, "token")
        node.make_token(token)
        temp = Path("/tmp", f"r{secrets.token_hex(3)}")  # Ray's sockets have no room for a longer path
        start = node.Start(listen="127.0.0.1", port=PORT, token_file=token, folder=temp)
        try:
            node.up(start)
            group = settings.Group(
                stage="c1",
                address=f"127.0.0.1:{PORT}",
                argv=command,
                token_file=str(token),
                ready_seconds=READY_SECONDS,
            )
            there = anyio.run(_handed_over, pool.ProcessorGroup(ray=group, concurrent=1))
            yield _figure("hand-over of a stage through Ray, warm, p50", there, 20.0)
            far = pool.ProcessorGroup(ray=msgspec.structs.replace(group, stage="c2", argv=()), concurrent=1)
            near = pool.ProcessorGroup(stable_wait_seconds=READY_SECONDS)
            ours, theirs = anyio.run(_proved, task, (near, far))
            yield Figure(
                name="C2 of 2KiB through Ray, of the throughput here",
                value=statistics.median(ours) / statistics.median(theirs),
                unit="",
                at_least=0.97,
                against=f"{statistics.median(theirs):.1f} s against {statistics.median(ours):.1f} s, of {C2_ROUNDS} in turns",
            )
        finally:
            node.down(start.mark)


def _imports() -> Figure:
    """Start a worker that sends nothing to a cluster, and look at what it imports."""
    with tempfile.TemporaryDirectory() as folder, Farm(Path(folder), threads=1, max_sectors=0) as farm:
        farm.start_manager()
        farm.start_worker(PYTHONPROFILEIMPORTTIME="1")
        names = [line.rpartition("|")[2].strip() for line in farm.log().splitlines() if line.startswith("import time:")]
        of_ray = [
            name for name in names if name.partition(".")[0] == "ray" or name.startswith("damocles.stages.far.driver")
        ]
        return Figure(
            name="modules of Ray in a worker that uses none",
            value=len(of_ray),
            unit="",
            at_most=0,
            against=f"{len(names)} modules in all",
        )


def _c2(file: Path) -> tasks.C2:
    subprocess.run([sys.executable, "-m", "bench.prove", "inputs", str(file)], check=True)
    inputs = msgspec.msgpack.decode(file.read_bytes(), type=prove.Inputs)
    return tasks.C2(msgspec.Raw(inputs.c1), codec.Bytes32(sectors.prover_id(1000)), 1, 1000)


async def _proved(task: tasks.C2, groups: tuple[pool.ProcessorGroup, ...]) -> tuple[list[float], ...]:
    """Return the seconds of each proof by a processor of each group, in turns: one at a time, and each in every part of the run."""
    taken: tuple[list[float], ...] = tuple([] for _ in groups)
    async with contextlib.AsyncExitStack() as stack:
        made = [await stack.enter_async_context(executor.Stages(groups={"c2": [group]})) for group in groups]
        for number in range(C2_ROUNDS + 1):
            for stages, seconds in zip(made, taken, strict=True):
                began = time.monotonic()
                await stages.run("c2", task, lane=0, on_status=lambda _: None)
                if number:
                    seconds.append(time.monotonic() - began)
    return taken


async def _handed_over(group: pool.ProcessorGroup) -> list[float]:
    """Return the milliseconds from each request to the start of its work."""
    taken = []
    async with executor.Stages(groups={"c1": [group]}) as stages:
        for number in range(ROUNDS + 20):
            began = time.monotonic()
            output: Any = await stages.run("c1", Nothing(), lane=0, on_status=lambda _: None)
            if number >= 20:
                taken.append((msgspec.json.decode(output) - began) * 1000)
    return taken


def _figure(name: str, taken: list[float], at_most: float) -> Figure:
    highest = statistics.quantiles(taken, n=100)[98]
    return Figure(
        name=name, value=statistics.median(taken), unit="ms", at_most=at_most, against=f"p99 {highest:.1f} ms"
    )
