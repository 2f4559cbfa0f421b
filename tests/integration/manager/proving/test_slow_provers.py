"""A prover that hangs and goes on sending heartbeats, and who helps: another one, or this machine. Sectors, proofs and provers are fake."""

from pathlib import Path

from damocles.devnode import serving
from damocles.devnode.rules import Rules
from damocles.manager.plans import wdpost_loans
from damocles.manager.plans.wdpost_turns import MANAGERS_MACHINE
from damocles.manager.proving.machine import name_of
from damocles.testing.proving_chain.proofs import FakeVerifier, fake_proof
from damocles.wire import wdpost

from .farm import WINDOW, Farm, put, running
from .test_hundred_partitions import Clock
from .test_windows import CHALLENGE

DEADLINE = 3
_BEAT_SECONDS = 5.0


async def lent_here(farm: Farm, name: str = MANAGERS_MACHINE) -> list[wdpost.Job]:
    """Ask as this machine does."""
    return await farm.jobs.lend(wdpost.AllocateSpec(), 1, name, is_spare=True)


async def test_this_machine_helps_where_a_worker_hangs(tmp_path: Path) -> None:
    """It waits a share of the window, and then longer than an idle worker takes to ask; its proof is sent, once, and the hanging one's work ends."""
    clock, comm_rs = Clock(), {1: bytes([1]) * 32}
    async with serving.serving(Rules(window_epochs=WINDOW), accepts_any_proof=True) as devnode:
        await devnode.step(5)
        put(devnode, {DEADLINE: [[1]]}, comm_rs)
        async with running(
            tmp_path, {}, devnode=devnode, comm_rs=comm_rs, prove_here=0, clock=clock, fake_verifier=FakeVerifier()
        ) as farm:
            opens = farm.opens(DEADLINE)
            await farm.jump(opens - CHALLENGE // 2)
            await farm.proving.once()
            (job,) = await farm.jobs.lend(wdpost.AllocateSpec(), 1, "hangs")
            record = await farm.jobs.find(job.id)
            assert record is not None
            assert isinstance(record.alone_seconds, int), "it follows from the window"
            await farm.jobs.lend(wdpost.AllocateSpec(), 0, "idle")  # asks, and could therefore come for it
            until = clock() + record.alone_seconds
            while clock() <= until:
                assert [] == await lent_here(farm)
                clock.seconds += _BEAT_SECONDS
                await farm.jobs.prolong([job.id], "hangs")
            assert [] == await lent_here(farm), "it is left to the worker that asks"
            for _ in range(15):
                clock.seconds += _BEAT_SECONDS
                await farm.jobs.prolong([job.id], "hangs")
            assert [job] == await lent_here(farm)
            proof = fake_proof(job.input.miner, job.input.seed, [(1, comm_rs[1])])
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
    clock, comm_rs = Clock(), {1: bytes([1]) * 32}
    first, second = (name_of(tmp_path / home, is_shared=True) for home in ("first", "second"))
    async with serving.serving(Rules(window_epochs=WINDOW), accepts_any_proof=True) as devnode:
        await devnode.step(5)
        put(devnode, {DEADLINE: [[1]]}, comm_rs)
        async with running(
            tmp_path, {}, devnode=devnode, comm_rs=comm_rs, prove_here=0, clock=clock, fake_verifier=FakeVerifier()
        ) as farm:
            for name in (first, second):
                assert [] == await lent_here(farm, name)
            await farm.jump(farm.opens(DEADLINE) - CHALLENGE // 2)
            await farm.proving.once()
            (job,) = await lent_here(farm, first)
            assert [] == await lent_here(farm, second)
            clock.seconds += wdpost_loans.LEASE_SECONDS + 2
            assert [job] == await lent_here(farm, second)
