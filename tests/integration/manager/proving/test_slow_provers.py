"""A prover that hangs and goes on sending heartbeats, and who helps: another one, or this machine. Sectors, proofs and provers are fake."""

from pathlib import Path

from damocles.devnode import serving
from damocles.devnode.rules import Rules
from damocles.manager.proving.machine import NAME
from damocles.testing.proving_chain.proofs import FakeVerifier, fake_proof
from damocles.wire import wdpost

from .farm import WINDOW, Farm, put, running
from .test_hundred_partitions import Clock
from .test_windows import CHALLENGE

DEADLINE = 3
_BEAT_SECONDS = 5.0


async def lent_here(farm: Farm) -> list[wdpost.Job]:
    """Ask as this machine does."""
    return await farm.jobs.lend(wdpost.AllocateSpec(), 1, NAME, is_spare=True)


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
            for who in (NAME, "hangs"):
                record = await farm.jobs.find(job.id)
                assert record is not None
                await farm.jobs.end(record, wdpost.Output([proof], None, worker=who), "", who)
            while farm.head < opens + WINDOW:
                await farm.devnode.step()
                await farm.proving.once()
                await farm.chain.rounds.once()
            assert 1 == len(farm.landed())
