"""A prover that hangs and goes on sending heartbeats, and who helps: another one, or this machine. Sectors, proofs and provers are fake."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from damocles.devnode import serving
from damocles.devnode.rules import Rules
from damocles.manager.plans import wdpost_loans
from damocles.manager.plans.wdpost_turns import MANAGERS_MACHINE
from damocles.manager.proving.machine import name_of
from damocles.testing.on_chain import put
from damocles.testing.proving_chain.proofs import FakeVerifier, fake_proof
from damocles.wire import wdpost

from .farm import WINDOW, Farm, running
from .test_hundred_partitions import Clock
from .test_windows import CHALLENGE

DEADLINE = 3
_BEAT_SECONDS = 0.25


async def lent_here(farm: Farm, name: str = MANAGERS_MACHINE) -> list[wdpost.Job]:
    """Ask as this machine does."""
    return await farm.jobs.lend(wdpost.AllocateSpec(), 1, name, is_spare=True)


@asynccontextmanager
async def before_a_deadline(folder: Path, clock: Clock) -> AsyncIterator[Farm]:
    """Yield a farm at an epoch at which a deadline can be proved; windows are a few seconds long."""
    comm_rs = {1: bytes([1]) * 32}
    async with serving.serving(Rules(window_epochs=WINDOW), accepts_any_proof=True) as devnode:
        await devnode.step(5)
        put(devnode, {DEADLINE: [[1]]}, comm_rs)
        async with running(
            folder, {}, devnode=devnode, comm_rs=comm_rs, prove_here=0, clock=clock, fake_verifier=FakeVerifier()
        ) as farm:
            await farm.jump(farm.opens(DEADLINE) - CHALLENGE // 2)
            yield farm


async def alone_seconds(farm: Farm, job: wdpost.Job) -> int:
    """Return how long a prover has a job alone."""
    record = await farm.jobs.find(job.id)
    assert record is not None
    assert isinstance(record.alone_seconds, int), "it follows from the window"
    return record.alone_seconds


async def test_this_machine_helps_where_a_worker_hangs(tmp_path: Path) -> None:
    """It waits a share of the window, and as long again for a worker that asks; its proof is sent, once, and the hanging one's work ends."""
    clock = Clock()
    async with before_a_deadline(tmp_path, clock) as farm:
        opens = farm.opens(DEADLINE)
        await farm.proving.once()
        (job,) = await farm.jobs.lend(wdpost.AllocateSpec(), 1, "hangs")
        await farm.jobs.lend(wdpost.AllocateSpec(), 0, "idle")  # asks, and could therefore come for it
        alone = await alone_seconds(farm, job)
        until = clock() + alone
        while clock() <= until:
            assert [] == await lent_here(farm)
            clock.seconds += _BEAT_SECONDS
            await farm.jobs.prolong([job.id], "hangs")
        assert [] == await lent_here(farm), "it is left to the worker that asks"
        clock.seconds += alone
        await farm.jobs.prolong([job.id], "hangs")
        assert [job] == await lent_here(farm)
        proof = fake_proof(job.input.miner, job.input.seed, [(1, farm.comm_rs[1])])
        for who in (MANAGERS_MACHINE, "hangs"):
            record = await farm.jobs.find(job.id)
            assert record is not None
            await farm.jobs.end(record, wdpost.Output([proof], None, worker=who), "", who)
        while farm.head < opens + WINDOW:
            await farm.devnode.step()
            await farm.proving.once()
            await farm.chain.rounds.once()
        assert 1 == len(farm.landed())


async def test_the_machine_of_another_manager_goes_on_where_one_is_silent(tmp_path: Path) -> None:
    """Neither leaves a job to the other one, which would leave it to this one; and what the first has not proved, the second gets at once."""
    clock = Clock()
    first, second = (name_of(tmp_path / home, is_shared=True) for home in ("first", "second"))
    async with before_a_deadline(tmp_path, clock) as farm:
        for name in (first, second):
            assert [] == await lent_here(farm, name)
        await farm.proving.once()
        (job,) = await lent_here(farm, first)
        assert [] == await lent_here(farm, second)
        clock.seconds += wdpost_loans.LEASE_SECONDS + 2
        assert [job] == await lent_here(farm, second)


async def test_this_machine_helps_in_time_where_a_worker_has_gone(tmp_path: Path) -> None:
    """A worker that has asked is waited for, however long an idle one takes to ask, for no more than a share of the window."""
    clock = Clock()
    async with before_a_deadline(tmp_path, clock) as farm:
        assert [] == await farm.jobs.lend(wdpost.AllocateSpec(), 1, "gone")
        await farm.proving.once()
        assert [] == await lent_here(farm)
        (brief,) = (await farm.jobs.all_jobs()).jobs
        assert isinstance(brief.alone_seconds, int)
        clock.seconds += brief.alone_seconds
        (job,) = await lent_here(farm)
        assert job.id == brief.id
