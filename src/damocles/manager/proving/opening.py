"""Put together what proves the miners of a chain."""

import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Hashable
from dataclasses import dataclass

import structlog

from damocles.manager.chain.rounds import Rounds
from damocles.manager.chain.terms import Miner
from damocles.manager.db.engine import Database
from damocles.manager.plans import wdpost
from damocles.manager.plans.wdpost_turns import MANAGERS_MACHINE
from damocles.manager.proving.day import Days
from damocles.manager.proving.here import Prover
from damocles.manager.proving.loop import Proving
from damocles.manager.proving.reviews import Means as ReviewMeans
from damocles.manager.proving.reviews import Reviews
from damocles.manager.proving.upcoming import Upcoming
from damocles.manager.proving.windows import Means as WindowMeans
from damocles.manager.proving.windows import Windows
from damocles.manager.roster import Mapped
from damocles.manager.sectors.stores import Stores
from damocles.stages.supervision import executor

_BLOCKS_AT_ONCE = 4  # winning PoSts; there is no time to wait for another miner's

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What miners are proved with: the chain's rounds, the children that read and prove here, how many proofs at a time.

    `name` is by what this machine is known as a prover.
    """

    rounds: Rounds
    miners: Collection[Miner]  # asked at each turn: they may be others by then
    block_seconds: float
    stages: executor.Stages
    prove_here: int
    name: str = MANAGERS_MACHINE


@contextlib.asynccontextmanager
async def open_stages(prove_here: int) -> AsyncIterator[executor.Stages]:
    """Yield children that prove on this machine; they start with the first proof."""

    def tell(lane: Hashable, stage: str, pid: int, line: str, host: str = "") -> None:
        log.info(line, lane=lane, stage=stage, pid=pid, host=host)

    async with executor.Stages(
        log=tell, concurrent={"window_post": max(1, prove_here), "winning_post": _BLOCKS_AT_ONCE}
    ) as stages:
        yield stages


def proving(
    means: Means, *, database: Database, jobs: wdpost.WdPoSt, persist: Stores, clock: Callable[[], float]
) -> Proving:
    """Return what proves the miners; its `run` has to run."""
    rounds = means.rounds
    days = Days(database=database, rounds=rounds, miners=means.miners, block_seconds=means.block_seconds, clock=clock)
    sizes = Mapped(means.miners, lambda miner: miner.proof.size)
    prover = Prover(
        jobs=jobs, persist=persist, stages=means.stages, count=means.prove_here, name=means.name, sizes=sizes
    )
    windows = Windows(
        WindowMeans(
            database=database,
            outbox=rounds.outbox,
            jobs=jobs,
            wake=rounds.wake,
            clock=clock,
            block_seconds=means.block_seconds,
        )
    )
    reviews = Reviews(
        ReviewMeans(
            database=database, nodes=rounds.nodes, machine=prover.machine("reviews"), wake=rounds.wake, clock=clock
        )
    )
    return Proving(
        rounds=rounds,
        days=days,
        upcoming=Upcoming(rounds.nodes, Mapped(means.miners, lambda miner: miner.id), means.block_seconds),
        miners=means.miners,
        windows=windows,
        reviews=reviews,
        prover=prover if means.prove_here else None,
        jobs_changed=jobs.changed,
        leases_free=database.leases.free,
        block_seconds=means.block_seconds,
    )
