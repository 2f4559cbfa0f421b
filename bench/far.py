"""What it costs to hand a stage over: to a child here, and through a Ray cluster of this machine alone.

The cluster's head is started for it, on the loopback address, with a token of its own.
"""

import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import msgspec

from bench.figures import Figure
from damocles.stages.far import node, settings
from damocles.stages.supervision import executor, pool

ROUNDS = 300
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
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "processor.py")
        program.write_text(PROCESSOR)
        command = (sys.executable, str(program))
        here = anyio.run(_handed_over, pool.ProcessorGroup(bin=command[0], args=command[1:]))
        yield _figure("hand-over of a stage to a child here, warm, p50", here, 5.0)
        token = Path(folder, "token")
        node.make_token(token)
        temp = Path("/tmp", f"r{secrets.token_hex(3)}")  # Ray's sockets have no room for a longer path
        start = node.Start(listen="127.0.0.1", port=PORT, token_file=token, folder=temp)
        node.up(start)
        try:
            group = settings.Group(
                stage="c1", address=f"127.0.0.1:{PORT}", argv=command, token_file=str(token), ready_seconds=60.0
            )
            there = anyio.run(_handed_over, pool.ProcessorGroup(ray=group, concurrent=1))
            yield _figure("hand-over of a stage through Ray, warm, p50", there, 20.0)
        finally:
            node.down(start.mark)


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
