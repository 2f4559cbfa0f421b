"""Proofs that are digests of what they are about, who verifies them, and disks with damaged sectors."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from damocles.manager.plans.wdpost_jobs import seed_of
from damocles.testing.believing import Believing
from damocles.wire import tasks


def fake_proof(miner: int, seed: bytes, replicas: Sequence[tuple[int, bytes]]) -> bytes:
    """Return what counts as the proof of some sectors, each with its CommR."""
    content = repr((miner, bytes(seed_of(seed)), sorted((number, bytes(comm_r)) for number, comm_r in replicas)))
    return hashlib.sha512(content.encode()).digest() * 3


def is_proof(claim: tasks.VerifyWindowPoSt) -> bool:
    """Return whether a proof is right."""
    replicas = [(replica.sector_id, replica.comm_r) for replica in claim.replicas]
    return claim.proof == fake_proof(claim.miner_id, claim.seed, replicas)


class FakeVerifier(Believing):
    """Fake: takes `fake_proof`s for proofs of window PoSts, and nothing else."""

    async def verify_window_post(self, claim: tasks.VerifyWindowPoSt) -> bool:
        """Compare."""
        return is_proof(claim)


@dataclass(slots=True)
class Disks:
    """When sectors are damaged, by miner and number: from a time until another one, in virtual seconds."""

    damaged: dict[tuple[int, int], tuple[float, float]] = field(default_factory=dict)

    def is_bad(self, miner: int, number: int, at: float) -> bool:
        """Return whether a sector cannot be proved at a time."""
        return self.was_bad(miner, number, at, at)

    def was_bad(self, miner: int, number: int, start: float, end: float) -> bool:
        """Return whether there was a time between two at which it could not."""
        since, until = self.damaged.get((miner, number), (float("inf"), 0.0))
        return since <= end and start < until

    def was_always_bad(self, miner: int, number: int, start: float, end: float) -> bool:
        """Return whether it could at no time between two."""
        since, until = self.damaged.get((miner, number), (float("inf"), 0.0))
        return since <= start and end < until
