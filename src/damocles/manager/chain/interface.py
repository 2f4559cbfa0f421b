"""What the manager asks a chain, real or simulated.

Questions are asynchronous, because a real chain answers over the network; they come before a transaction, never inside
one. Messages are handed over inside the caller's transaction: either the sector's record and the message are both
there afterwards, or neither. A real chain keeps them in an outbox and sends them from there.
"""

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from sqlalchemy import Connection

from damocles.wire import seal, tasks
from damocles.wire.codec import CID
from damocles.wire.sectors import SealProof, SectorID

Pieces: TypeAlias = Sequence[seal.SectorPiece]


class Refused(Exception):
    """The chain will never take this message; the text is the chain's reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Rules of a network, in epochs."""

    ticket_lookback: int  # a ticket is this much older than the head, so that no reorganisation takes it away
    ticket_max_age: int
    ni_ticket_max_age: int  # …of a sector with a non-interactive proof, which has no pre-commit
    challenge_delay: int  # from the landing of a pre-commit to its seed
    seed_confidence: int  # how deep a seed has to be before it is used
    block_seconds: float
    look_seconds: float = math.inf  # between two looks at a message that is under way, if not an epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class OnChain:
    """A sector whose pre-commit has landed; of one that is proven a chain may keep nothing of its pre-commit."""

    proof_type: SealProof
    comm_r: bytes
    proven: bool
    ticket_epoch: int | None = None
    pre_commit_epoch: int | None = None


class Verifier(Protocol):
    """Checks proofs."""

    async def verify_window_post(self, claim: tasks.VerifyWindowPoSt) -> bool:
        """Return whether a window PoSt is valid; raises as `verify`."""

    async def verify_update(self, claim: tasks.SnapVerify) -> bool:
        """Return whether the proof of an upgrade is valid; raises as `verify`."""

    async def verify(self, claim: tasks.VerifySeal) -> bool:
        """Return whether the proof of a sector is valid.

        Raises:
            Refused: It is no proof at all.
            errors.Unverifiable: It cannot be checked now.
        """


class Aggregator(Protocol):
    """Makes one proof of many."""

    async def aggregate(self, claim: tasks.AggregateSeals) -> bytes:
        """Return the aggregate of proofs; raises as `Verifier.verify`."""


class Chain(Protocol):
    """A chain."""

    @property
    def network(self) -> Network:
        """Its rules."""

    async def head(self) -> int:
        """Return the epoch of the head."""

    async def ticket(self, miner: int, epoch: int) -> bytes:
        """Return the sealing randomness of an epoch, 32 bytes."""

    async def seed(self, miner: int, epoch: int) -> bytes:
        """Return the challenge randomness of an epoch, 32 bytes."""

    async def window_challenge(self, miner: int, epoch: int) -> bytes:
        """Return the randomness of a deadline's window PoSts, 32 bytes."""

    async def post_commit(self, epoch: int) -> bytes:
        """Return the randomness by which a window PoSt shows that it is of this chain, 32 bytes."""

    async def sector(self, sector: SectorID) -> OnChain | None:
        """Return what is on the chain of a sector; `None` if its pre-commit has not landed."""

    async def lives(self, sector: SectorID) -> bool:
        """Return whether the files of a sector may still be needed to prove it, reorganisations of the chain regarded."""

    async def allocated(self, miner: int) -> Container[int]:
        """Return the sector numbers of a miner that the chain has seen."""

    async def check_pieces(self, sector: SectorID, pieces: Pieces) -> None:
        """Return if the chain lets a sector have these pieces.

        Raises:
            Refused: It does not: an allocation is another one's, or too old.
        """

    async def message(self, cid: CID) -> seal.Polled:
        """Return how far a message has come."""

    async def check_proof(self, sector: SectorID, proof: bytes) -> None:
        """Verify a proof as the chain would.

        Raises:
            Refused: It is not valid, or there is nothing to prove.
            errors.Unverifiable: It cannot be checked now.
        """

    async def check_non_interactive(self, allocated: seal.AllocatedSector, content: seal.Proof) -> None:
        """Verify a non-interactive proof for the commitments that came with it; raises as `check_proof`."""

    async def check_update(self, allocated: seal.AllocatedSector, comm_r_old: bytes, content: seal.SnapUpProof) -> None:
        """Verify the proof of an upgrade as the chain would; raises as `check_proof`."""

    def send_update(
        self, tx: Connection, allocated: seal.AllocatedSector, content: seal.SnapUpProof, pieces: Pieces
    ) -> CID:
        """Hand over a checked proof of an upgrade, as `send_pre_commit` does with a pre-commit."""

    def send_pre_commit(
        self, tx: Connection, allocated: seal.AllocatedSector, content: seal.PreCommit, pieces: Pieces
    ) -> CID:
        """Hand over a pre-commit, with the pieces of its sector, and return the id by which `message` knows it.

        The same content again is the same; other content replaces what has not left.

        Raises:
            Refused: Another one has landed, or is on its way.
        """

    def send_proof(self, tx: Connection, allocated: seal.AllocatedSector, content: seal.Proof, pieces: Pieces) -> CID:
        """Hand over a checked proof, likewise; a non-interactive one brings its commitments onto the chain."""

    async def handed_in(self, sector: SectorID) -> None:
        """Hear that something of a sector was handed over, and that the transaction is over; where it lands within seconds, return after that."""
