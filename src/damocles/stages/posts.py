"""Prove a window PoSt on this machine: a worker's thread and a manager do it alike.

A sector that cannot be read is named, never the reason why all the others are not proved; a disk that is gone is this machine's trouble, and
none of its sectors'.
"""

from collections.abc import Awaitable, Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from damocles.sealing import failures
from damocles.stages.supervision import executor
from damocles.wire import sectors, tasks, wdpost

_NO_REASON = "its files do not match its commitment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine that proves.

    Attributes:
        name: By which it is known to the manager.
        run: Runs a stage and returns its output; raises `failures.Failure`.
        path: Returns where a persist store is; raises `failures.Failure` if it is none of this machine's.
        look: Returns if a persist store is there, and the one that was there before; raises `failures.Failure`.
        sector_seconds: How long one sector, or a look at a store, may take.
    """

    name: str
    run: Callable[[str, executor.Task], Awaitable[Any]]
    path: Callable[[str], Path]
    look: Callable[[str], Awaitable[None]]
    sector_seconds: float


async def prove(work: wdpost.Input, on: Machine) -> wdpost.Output:
    """Check the sectors, and prove them if there is none to name.

    Raises:
        failures.Failure: This machine, and not a sector, is the trouble.
    """
    replicas = {sector.number: replica_of(work.miner, sector, on) for sector in work.sectors or ()}
    lost = await lost_stores(work.sectors or (), on)
    there = [replica for number, replica in replicas.items() if number not in lost]
    checked: list[tasks.Fault] = []
    if there or not lost:
        checked = await on.run(
            "check_replicas", tasks.CheckReplicas(work.miner, work.proof_name, there, work.seed, on.sector_seconds)
        )
    if checked:
        await _still_there(work.sectors or (), lost, on)
    reasons = lost | {fault.sector_id: fault.reason for fault in checked}
    unread = lost | {fault.sector_id: fault.reason for fault in checked if not fault.was_read}
    if len(unread) == len(replicas) and (lost or len(replicas) > 1):
        # Rather a lost mount than so many lost sectors; naming them all would cost the miner dearly.
        number, reason = next(iter(unread.items()))
        raise failures.Critical(
            f"none of the {len(replicas)} sectors can be read here; the first one, {number}: {reason}"
        )
    if not reasons:
        task = tasks.WindowPoSt(work.miner, work.proof_name, there, work.seed)
        made: tasks.WindowPoStOutput = await on.run("window_post", task)
        if not made.faults:
            return wdpost.Output(made.proofs, [])
        await _still_there(work.sectors or (), lost, on)
        reasons = dict.fromkeys(made.faults, _NO_REASON)
    named = {str(number): reason for number, reason in reasons.items()}
    return wdpost.Output([], sorted(reasons), named, on.name)


async def _still_there(wanted: Sequence[wdpost.Sector], lost: Container[int], on: Machine) -> None:
    """Return if no disk but those of the `lost` sectors has gone since: what was missed there is no fault of a sector.

    Raises:
        failures.Lacking: One has.
    """
    for reason in (await lost_stores([sector for sector in wanted if sector.number not in lost], on)).values():
        raise failures.Lacking(f"a disk went away while its sectors were read: {reason}")


async def lost_stores(wanted: Sequence[wdpost.Sector], on: Machine) -> dict[int, str]:
    """Return the sectors whose persist store is not there, by number, each with the reason."""
    reasons: dict[str, str] = {}

    async def look(name: str) -> None:
        try:
            with anyio.fail_after(on.sector_seconds):
                await on.look(name)
        except failures.Failure as error:
            reasons[name] = str(error)
        except TimeoutError:
            reasons[name] = f"persist store {name}: {on.path(name)} does not answer"

    async with anyio.create_task_group() as group:
        for name in sorted({name for sector in wanted for name in _stores_of(sector)}):
            group.start_soon(look, name)
    return {sector.number: reasons[name] for sector in wanted for name in _stores_of(sector) if name in reasons}


def _stores_of(sector: wdpost.Sector) -> tuple[str, str]:
    return sector.accesses.cache_dir, sector.accesses.sealed_file


def replica_of(miner: int, sector: wdpost.Sector, on: Machine) -> tasks.Replica:
    """Return where a sector's files are; those of an upgraded one have folders of their own."""
    name = str(sectors.SectorID(miner, sector.number))
    sealed_folder, cache_folder = ("update", "update-cache") if sector.upgraded else ("sealed", "cache")
    return tasks.Replica(
        sector.number,
        sector.comm_r,
        str(on.path(sector.accesses.cache_dir) / cache_folder / name),
        str(on.path(sector.accesses.sealed_file) / sealed_folder / name),
    )
