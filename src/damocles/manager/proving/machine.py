"""This machine as one that reads sectors in its persist stores and proves them: for window PoSts and winning PoSts."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import anyio.to_thread

from damocles.manager.db import managers
from damocles.manager.plans.wdpost_turns import MANAGERS_MACHINE
from damocles.manager.sectors.stores import Stores
from damocles.sealing import failures
from damocles.stages import errors as stage_errors
from damocles.stages import posts
from damocles.stages.supervision import executor


def name_of(home: Path, *, is_shared: bool) -> str:
    """Return by what this machine is known as a prover: one of several managers is asked when another one's has failed."""
    return f"{MANAGERS_MACHINE} {managers.name_of(home)}" if is_shared else MANAGERS_MACHINE


def machine(
    stages: executor.Stages, persist: Stores, lane: Hashable, sector_seconds: float, name: str = MANAGERS_MACHINE
) -> posts.Machine:
    """Return this machine as what reads and proves in a lane of its own; a sector may take `sector_seconds` to be read."""

    async def run(stage: str, task: executor.Task) -> Any:
        try:
            return await stages.run(stage, task, lane=lane, on_status=lambda _: None)
        except stage_errors.StageError as error:
            raise failures.Critical(str(error)) from error

    def path(name: str) -> Path:
        found = persist.root(name)
        if found is None:
            raise failures.Critical(f"sectors are in the persist store {name!r}, which this manager does not have")
        return found

    async def look(name: str) -> None:
        try:
            await anyio.to_thread.run_sync(persist.in_order, name, abandon_on_cancel=True)
        except Exception as error:
            raise failures.Lacking(str(error)) from error

    return posts.Machine(name=name, run=run, path=path, look=look, sector_seconds=sector_seconds)
