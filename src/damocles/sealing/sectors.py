"""The record of a sector: everything a worker needs to go on after a crash."""

import msgspec

from damocles.sealing.states import State
from damocles.wire import seal, sectors, tasks, wdpost
from damocles.wire.codec import CID, Bytes32, NumberList


class UnsealPiece(msgspec.Struct, frozen=True):
    """What is wanted of a sector: the bytes of a piece, or a part of them. Offset and size count unpadded bytes."""

    cid: CID
    offset_bytes: int
    size_bytes: int
    comm_d: Bytes32  # of the sector as it was sealed first


class Sector(msgspec.Struct, frozen=True, kw_only=True):
    """A sector in progress, or the absence of one (`job_id is None`).

    Outputs of stages stay here until the sector is finished, so that it can be resumed from every state. Times are unix
    seconds.
    """

    plan: str
    state: State = State.Empty
    prev_state: State | None = None

    allocated: seal.AllocatedSector | None = None
    deals: list[seal.SectorPiece] | None = None
    pieces: list[tasks.PieceInfo] | None = None
    ticket: seal.Ticket | None = None
    pc1out: msgspec.Raw | None = None
    pc2out: tasks.PC2Output | None = None
    resubmit_pre_commit: bool = False
    persist_instance: str | None = None
    seed: seal.Seed | None = None
    c1out: msgspec.Raw | None = None
    proof: NumberList | None = None
    resubmit_proof: bool = False
    upgrade_from: seal.SectorPublic | None = None  # an upgrade, or the rebuild of one: what the sector was before
    access_instance: str | None = None  # the persist store that has the files to work from
    snap_encoded: tasks.SnapEncodeOutput | None = None
    snap_proof: NumberList | None = None
    unseal_piece: UnsealPiece | None = None
    uploaded: tuple[str, ...] = ()  # destinations that have the piece
    repersisted: bool = False  # the files were copied once more, since the manager did not find them
    post: wdpost.Job | None = None  # a window PoSt has this in place of a sector
    post_output: wdpost.Output | None = None
    post_error: str | None = None
    path: tuple[State, ...] = ()  # the states it came through to the present one
    entered_at: float | None = None  # when it came to this state
    visited: tuple[State, ...] = ()  # every state it has ever been in, also before a step back

    claim: int | None = None  # the number under which calls for the sector are made
    attempt: int = 1  # of the present state's handler: failures, resumes and restarts count
    retries: int = 0  # temporary failures in a row; a success resets it
    unreached: int = 0  # times in a row that the manager could not be reached; not in the budget of retries
    retry_at: float | None = None
    paused_at: float | None = None
    last_error: str | None = None
    given_up: str | None = None  # why; failures on the way to its end do not hide it

    pause_wanted: bool = False  # of the thread, which pauses at the next boundary; it outlives the sector
    idles: int = 0  # requests in a row that the manager had nothing for; not worth a journal entry

    @property
    def id(self) -> sectors.SectorID | None:
        """The sector's id once one is allocated."""
        return self.allocated.id if self.allocated else None

    @property
    def job_id(self) -> str | None:
        """What people call the work: the sector's name, or the id of the window PoSt; none if there is no work."""
        if self.allocated is not None:
            return str(self.allocated.id)
        return self.post.id if self.post is not None else None

    @property
    def proof_type(self) -> sectors.SealProof:
        """The seal proof; asking before a sector is allocated is a programming error."""
        assert self.allocated is not None
        return sectors.SealProof(self.allocated.proof)


# Outputs of megabytes: stored apart, so that they are written once and not with every later state.
LARGE_FIELDS = ("pc1out", "c1out")
