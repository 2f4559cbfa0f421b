"""What can happen to a sector.

Events of a plan carry results: each field has the name of the `Sector` field it fills, so that applying one is the
same for all. The names of the classes are what `ReportState` and the journals show. Control events come from people,
clocks and the manager; any state may see them.
"""

from typing import ClassVar

import msgspec

from damocles.sealing.sectors import UnsealPiece
from damocles.sealing.states import State
from damocles.wire import seal, tasks, wdpost
from damocles.wire.codec import NumberList


class Event(msgspec.Struct, frozen=True):
    """Something happened."""

    # Whether it is recorded under the attempt that it begins, and not under the one that it ends.
    begins_attempt: ClassVar[bool] = False

    @property
    def failure(self) -> str | None:
        """The error that ended a handler, as it is recorded."""
        return None

    @property
    def name(self) -> str:
        """The name in reports and journals."""
        return type(self).__name__


class PlanEvent(Event, frozen=True):
    """A handler is done; fields are the changes to the sector, but for `why`."""

    # Seconds to wait before the next state's handler runs; people are told `why`.
    then_wait_seconds: ClassVar[float] = 0.0


class Allocate(PlanEvent, frozen=True):
    """The manager handed out a sector, under an attempt if it knows attempts."""

    allocated: seal.AllocatedSector
    claim: int | None = None


class AcquireDeals(PlanEvent, frozen=True):
    """The sector's deals are known; null is a sector of committed capacity."""

    deals: list[seal.SectorPiece] | None


class AddPiece(PlanEvent, frozen=True):
    """The staged file is written."""

    pieces: list[tasks.PieceInfo]


class BuildTreeD(PlanEvent, frozen=True):
    """Tree-d is built."""


class AssignTicket(PlanEvent, frozen=True):
    """Forget any old ticket, so that PC1 fetches a fresh one; a pre-commit with the old one has to be replaced."""

    resubmit_pre_commit: bool
    ticket: seal.Ticket | None = None


class PC1(PlanEvent, frozen=True):
    """Labels are computed with this ticket."""

    ticket: seal.Ticket
    pc1out: msgspec.Raw


class PC2(PlanEvent, frozen=True):
    """The replica is encoded."""

    pc2out: tasks.PC2Output


class PC2NeedSyntheticProof(PlanEvent, frozen=True):
    """The replica is encoded, and its proof type wants synthetic proofs."""

    pc2out: tasks.PC2Output


class SyntheticPoRep(PlanEvent, frozen=True):
    """Synthetic proofs are stored and the layers gone."""


class SubmitPC(PlanEvent, frozen=True):
    """The manager accepted the pre-commit."""

    resubmit_pre_commit: bool = False


class ReSubmitPC(PlanEvent, frozen=True):
    """The pre-commit's message failed: submit again."""

    then_wait_seconds: ClassVar[float] = 30.0
    resubmit_pre_commit: bool = True
    why: str = ""


class CheckPC(PlanEvent, frozen=True):
    """The pre-commit is on chain."""


class Persist(PlanEvent, frozen=True):
    """The files are in this persist store."""

    persist_instance: str


class SubmitPersistance(PlanEvent, frozen=True):
    """The manager knows where the files are."""


class AssignSeed(PlanEvent, frozen=True):
    """The interactive randomness is here."""

    seed: seal.Seed


class C1(PlanEvent, frozen=True):
    """Vanilla proofs are collected."""

    c1out: msgspec.Raw


class C2(PlanEvent, frozen=True):
    """The Groth16 proof is made."""

    proof: NumberList


class SubmitProof(PlanEvent, frozen=True):
    """The manager accepted the proof."""

    resubmit_proof: bool = False


class ReSubmitProof(PlanEvent, frozen=True):
    """The proof's message failed: submit again."""

    then_wait_seconds: ClassVar[float] = 30.0
    resubmit_proof: bool = True
    why: str = ""


class AllocatedSnapUpSector(PlanEvent, frozen=True):
    """The manager handed out a sector to upgrade with these deals."""

    allocated: seal.AllocatedSector
    deals: list[seal.SectorPiece] | None
    upgrade_from: seal.SectorPublic
    access_instance: str
    claim: int | None = None


class SnapEncode(PlanEvent, frozen=True):
    """The new replica is encoded."""

    snap_encoded: tasks.SnapEncodeOutput


class SnapProve(PlanEvent, frozen=True):
    """The upgrade is proven; a rebuild, of which nobody wants the proof, has only tried that it can be."""

    snap_proof: NumberList | None


class RePersist(PlanEvent, frozen=True):
    """The manager does not find the files where they were put: copy them once more."""

    repersisted: bool = True


class AllocatedRebuildSector(PlanEvent, frozen=True):
    """The manager handed out a sector to make again, with the ticket that it was sealed with."""

    allocated: seal.AllocatedSector
    deals: list[seal.SectorPiece] | None
    ticket: seal.Ticket
    upgrade_from: seal.SectorPublic | None
    claim: int | None = None


class CheckSealed(PlanEvent, frozen=True):
    """The replica is the one that the chain knows."""


class SkipSnap(PlanEvent, frozen=True):
    """The sector was never upgraded."""


class AllocatedUnsealSector(PlanEvent, frozen=True):
    """The manager wants a piece out of a sector."""

    allocated: seal.AllocatedSector
    ticket: seal.Ticket
    unseal_piece: UnsealPiece
    access_instance: str
    claim: int | None = None


class Unsealed(PlanEvent, frozen=True):
    """The bytes of the piece are in the sealing store."""


class Uploaded(PlanEvent, frozen=True):
    """One more destination has the piece. Not an event of the original, which uploads to all of them in one go."""

    uploaded: tuple[str, ...]


class UploadPieceDone(PlanEvent, frozen=True):
    """Every destination has the piece, and the manager knows."""


class AllocatePost(PlanEvent, frozen=True):
    """The manager lent us a window PoSt."""

    post: wdpost.Job


class Generate(PlanEvent, frozen=True):
    """The window PoSt is proved, or it reports faulty sectors, or the error explains why there is neither."""

    post_output: wdpost.Output | None
    post_error: str | None = None


class Finish(PlanEvent, frozen=True):
    """Nothing is left to do."""


class ControlEvent(Event, frozen=True):
    """From outside the plan."""


class Restart(ControlEvent, frozen=True):
    """The worker started and found the sector."""

    begins_attempt: ClassVar[bool] = True


class Claimed(ControlEvent, frozen=True):
    """The manager gave this worker the next attempt at the sector; calls under older ones are refused."""

    claim: int


class Idle(ControlEvent, frozen=True):
    """The manager has nothing for us, or we must not ask; `why` is what to wait for, `error` what is wrong.

    With `refused` the manager was asked, and answered something else or nothing at all.
    """

    why: str = "work from the manager"
    error: str | None = None
    refused: str | None = None


class Later(ControlEvent, frozen=True):
    """Not yet, but all is well: run the same handler again after `seconds`; `why` is shown to people."""

    seconds: float
    why: str


class Wake(ControlEvent, frozen=True):
    """A wait is over."""


class Failed(ControlEvent, frozen=True):
    """The handler failed; `level` is a `failures.Level` value. With `away` only because the manager cannot be reached."""

    level: str
    error: str
    away: bool = False

    @property
    def failure(self) -> str | None:
        """The error."""
        return self.error


class PauseWanted(ControlEvent, frozen=True):
    """Somebody asked for a pause, which takes effect at the next boundary; with `now` the running stage is killed for it."""

    now: bool = False


class PauseDropped(ControlEvent, frozen=True):
    """The pending pause is withdrawn."""


class Pause(ControlEvent, frozen=True):
    """The requested pause takes effect."""


class Resume(ControlEvent, frozen=True):
    """Somebody asked to go on, perhaps from another state (already checked)."""

    begins_attempt: ClassVar[bool] = True

    state: State | None = None


class Abort(ControlEvent, frozen=True):
    """Somebody decided to abort the sector."""

    reason: str


class Withdrawn(ControlEvent, frozen=True):
    """The manager's record of the sector is closed; `reason` may be empty."""

    reason: str


class Finalized(ControlEvent, frozen=True):
    """The manager knows that the sector is finished, the store is clear."""


class Discarded(ControlEvent, frozen=True):
    """The sector is aborted, its files are in the trash."""
