"""A verifier that verifies nothing, for tests of what is around it."""

from damocles.wire import tasks


class Believing:
    """Fake: takes every proof for valid, and aggregates them to nothing that anybody could verify."""

    async def verify(self, _: tasks.VerifySeal) -> bool:
        """Believe."""
        return True

    async def verify_update(self, _: tasks.SnapVerify) -> bool:
        """Believe."""
        return True

    async def verify_window_post(self, _: tasks.VerifyWindowPoSt) -> bool:
        """Believe."""
        return True

    async def aggregate(self, claim: tasks.AggregateSeals) -> bytes:
        """Return as many bytes as a small aggregate has."""
        return bytes([len(claim.proofs)]) * 8212
