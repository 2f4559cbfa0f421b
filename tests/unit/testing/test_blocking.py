"""Code of ours that waits for the disk in the event loop fails the test in which it does."""

import asyncio
from pathlib import Path

import anyio
import blockbuster

from damocles import durable


async def seen_by(loop: asyncio.AbstractEventLoop, path: Path) -> list[BaseException | None]:
    """Write a file in the loop, behind the test's back, and return what was raised there."""
    seen: list[BaseException | None] = []
    loop.set_exception_handler(lambda _, context: seen.append(context.get("exception")))
    loop.call_soon(durable.write, path, b"content")
    await anyio.sleep(0.001)
    loop.set_exception_handler(None)
    return seen


async def test_a_blocking_call_in_the_event_loop_is_an_error(tmp_path: Path) -> None:
    """Where it stands in code of ours, whoever scheduled it."""
    (error,) = await seen_by(asyncio.get_running_loop(), tmp_path / "file")
    assert isinstance(error, blockbuster.BlockingError)


async def test_the_same_call_in_a_thread_is_none(tmp_path: Path) -> None:
    """Only the event loop is watched."""
    await anyio.to_thread.run_sync(durable.write, tmp_path / "file", b"content")
    assert b"content" == (tmp_path / "file").read_bytes()
