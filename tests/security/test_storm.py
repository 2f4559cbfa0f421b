"""Many people pause and resume the same threads at once: nothing fails, and what was said last holds."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from damocles.rpc import core, dialects
from damocles.rpc.calling import client
from damocles.rpc.serving import asgi, server
from damocles.testing import fleet
from damocles.wire import control

CALLERS = 24
ROUNDS = 8
THREADS = 4
EVERYONE = control.Selection(all=True)


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[str]:
    """Run a worker with sham threads; return its address."""
    held = [fleet.made_up(0, index, THREADS) for index in range(THREADS)]
    ours, threads = fleet.sham_worker(
        "storm", held, tmp_path / "stores", tmp_path / "home", "http://127.0.0.1:1/rpc/v0"
    )
    service = core.Service(dialects.WORKER)
    ours.register(service)
    async with contextlib.AsyncExitStack() as stack:
        bound = await stack.enter_async_context(server.serve(asgi.worker_app(service), "127.0.0.1", 0, grace_seconds=1))
        tasks = await stack.enter_async_context(anyio.create_task_group())
        for thread in threads:
            tasks.start_soon(thread.run)
        yield bound.url("/")
        tasks.cancel_scope.cancel()


async def test_a_storm_of_pauses_and_resumes(worker: str) -> None:
    """Each call is answered with an outcome for every thread, and after the last pause every thread is paused."""

    async def call_again_and_again(number: int) -> None:
        async with client.connect(worker, timeout_seconds=60) as peer:
            for turn in range(ROUNDS):
                act = control.Act(verb="pause" if (number + turn) % 2 else "resume", reason=f"by {number}")
                outcomes = await peer.call("Damocles.ActOn", [EVERYONE, act], returns=list[control.Outcome])
                assert THREADS == len(outcomes)

    async with anyio.create_task_group() as callers:
        for number in range(CALLERS):
            callers.start_soon(call_again_and_again, number)
    async with client.connect(worker, timeout_seconds=60) as peer:
        await peer.call("Damocles.ActOn", [EVERYONE, control.Act(verb="pause")], returns=list[control.Outcome])
        with anyio.fail_after(60):
            while True:
                details = await peer.call("Damocles.Threads", returns=list[control.ThreadDetail])
                if all(detail.info.thread_state.state == "Paused" for detail in details):
                    break
                await anyio.sleep(0.05)
