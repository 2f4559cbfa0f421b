"""A hundred partitions due at once, with fake provers of every sort: some fail, some hang, some lie, few do their work.

Sectors and proofs are fake, and so is what verifies them: a proof is right if it is the digest of all that it is about.
"""

import contextlib
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.manager.chain.provider import MINER

from damocles.devnode import serving
from damocles.devnode.rules import Rules
from damocles.manager.errors import ManagerError
from damocles.manager.proving import posts as records
from damocles.manager.proving.mind import Stage
from damocles.testing.on_chain import put
from damocles.testing.proving_chain.proofs import FakeVerifier, fake_proof
from damocles.testing.proving_chain.provers import Kind, output
from damocles.wire import wdpost

from .farm import WINDOW, Farm, running
from .test_windows import CHALLENGE

PARTITIONS, SECTORS, DEADLINE = 100, 2, 3
DAMAGED = {7: "its file is cut", 8: "its file is cut", 50: "its disk hangs", 121: "it has other bytes", 200: "no file"}
_STEP_SECONDS = 30.0  # two of them are an epoch
_PIECES = 2


class Clock:
    """A clock that the test moves on."""

    seconds = 1_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds


class FakeProver:
    """Fake: does with jobs what a prover of its kind does, `at_once` at a time; one that hangs or stalls takes ever more of them."""

    def __init__(self, kind: Kind, at_once: int) -> None:
        self.name = f"fake prover that {kind} {at_once}"
        self._kind = kind
        self._at_once = at_once
        self.tried: set[str] = set()

    async def turn(self, farm: Farm) -> None:
        """Ask for jobs, and do something about them."""
        if self._kind == "stalls" and self.tried:
            with contextlib.suppress(ManagerError):  # some are over by now
                await farm.jobs.prolong(sorted(self.tried), self.name)
        for job in await farm.jobs.lend(wdpost.AllocateSpec(), self._at_once, self.name):
            self.tried.add(job.id)
            record = await farm.jobs.find(job.id)
            assert record is not None
            if self._kind not in {"hangs", "stalls"}:
                came = output(self._kind, self.name, job.input, DAMAGED)
                await farm.jobs.end(record, came, "" if came else "fake: out of memory", self.name)


def provers() -> deque[FakeProver]:
    """Return all; those that fail or hang take every job that they can get."""
    many: tuple[Kind, ...] = ("fails", "hangs", "stalls", "lies about proofs")
    few: tuple[Kind, ...] = ("lies about faults", "works")
    return deque(
        [*(FakeProver(kind, 40) for kind in many), *(FakeProver(kind, 2) for kind in few), FakeProver("works", 3)]
    )


def groups() -> Iterator[list[int]]:
    """Yield the sectors of each partition."""
    for index in range(PARTITIONS):
        yield [1 + SECTORS * index + more for more in range(SECTORS)]


@pytest.mark.slow
async def test_a_hundred_partitions_are_submitted_once_and_in_time(tmp_path: Path) -> None:
    """Whatever provers do, each partition is in one right proof of its window; damaged sectors are left out, and no others."""
    clock, places = Clock(), {DEADLINE: list(groups())}
    comm_rs = {number: bytes([number % 251, 1]) * 16 for group in groups() for number in group}
    async with serving.serving(Rules(window_epochs=WINDOW), accepts_any_proof=True) as devnode:
        await devnode.step(5)
        put(devnode, places, comm_rs)
        async with running(
            tmp_path, {}, devnode=devnode, comm_rs=comm_rs, prove_here=0, clock=clock, fake_verifier=FakeVerifier()
        ) as farm:
            opens, staff = farm.opens(DEADLINE), provers()
            await farm.jump(opens - CHALLENGE)
            while farm.head < opens + WINDOW + 2:
                await farm.devnode.step()
                for _ in range(_PIECES):
                    await farm.proving.once()
                    for prover in staff:
                        await prover.turn(farm)
                    staff.rotate()  # each is the first one now and then, and the second one behind each other one
                    clock.seconds += _STEP_SECONDS
                await farm.chain.rounds.once()
            assert all(prover.tried for prover in staff), "a prover was never asked"
            await check(farm, opens)


async def check(farm: Farm, opens: int) -> None:
    """Check what is on the chain, and what is recorded."""
    landed = farm.landed()
    times = Counter(part.index for _, params in landed for part in params.partitions)
    assert dict.fromkeys(range(PARTITIONS), 1) == times
    assert all(opens <= epoch < opens + WINDOW for epoch, _ in landed)
    skipped = {number for _, params in landed for part in params.partitions for number in part.skipped}
    assert set(DAMAGED) == skipped
    posts = await farm.database.read(lambda tx: records.of_window(tx, MINER, opens))
    assert {Stage.SENT, Stage.OVER} >= {post.stage for post in posts}
    assert DAMAGED == {number: reason for post in posts for number, reason in post.skipped.items()}
    by_partitions = {tuple(sorted(post.partitions)): post for post in posts}
    sectors = list(groups())
    for _, params in landed:
        post = by_partitions[tuple(part.index for part in params.partitions)]
        proved = [number for index in post.partitions for number in sectors[index] if number not in DAMAGED]
        replicas = [(number, farm.comm_rs[number]) for number in proved]
        assert fake_proof(MINER, post.seed, replicas) == bytes(params.proofs[0].proof)
    assert set(DAMAGED) == {number for part in farm.miner.deadlines[DEADLINE].partitions for number in part.faulty}
