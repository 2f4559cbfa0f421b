"""Processes to run stages in, and a way to wait for what they do."""

import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from damocles.stages.supervision import pool

FOREIGN = Path(__file__).with_name("foreign.py")


class Deed(msgspec.Struct, omit_defaults=True):
    """A task of the foreign processor."""

    do: str
    value: Any = None
    text: str = ""
    code: int = 0
    bytes: int = 0
    started: str = ""
    until: str = ""


@pytest.fixture
def deed() -> type[Deed]:
    """Return the type of the foreign processor's tasks."""
    return Deed


@pytest.fixture
def foreign() -> Callable[..., pool.ProcessorGroup]:
    """Return a maker of configured groups whose program is the foreign processor."""

    def make(stage: str, *options: str, **fields: Any) -> pool.ProcessorGroup:
        return pool.ProcessorGroup(bin=sys.executable, args=(str(FOREIGN), stage, *options), **fields)

    return make


Eventually = Callable[[Callable[[], object]], Awaitable[Any]]


@pytest.fixture
def eventually() -> Eventually:
    """Return a function that waits until a condition holds, and fails when it does not within ten seconds."""

    async def wait(condition: Callable[[], object]) -> Any:
        deadline = time.monotonic() + 10
        while not (result := condition()):
            assert time.monotonic() < deadline, "the condition does not come true"
            await anyio.sleep(0.01)
        return result

    return wait


@pytest.fixture
def is_alive() -> Callable[[int], bool]:
    """Return a function that tells whether a process exists and is no zombie."""

    def check(pid: int) -> bool:
        try:
            os.kill(pid, 0)
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
        except (ProcessLookupError, FileNotFoundError):
            return False

    return check
