"""Work on sectors that are proven: upgrades, rebuilds, pieces that are unsealed."""

from damocles.methods import rules
from damocles.methods.declaring import declared
from damocles.wire import control, seal
from damocles.wire.codec import CID
from damocles.wire.sectors import SectorID


@declared("Venus.AllocateSanpUpSector", rules.SEALING)
def allocate_upgrade(spec: seal.AllocateSnapUpSpec, /) -> seal.AllocatedSnapUpSector | None:
    """Hand out a candidate to upgrade; the spelling of the name is the original's."""


@declared("Damocles.AllocateSanpUpSector", rules.SEALING)
def hand_out_upgrade(spec: seal.AllocateSnapUpSpec, store: control.Store, /) -> control.Handed | None:
    """Hand out a candidate to upgrade to the sealing store with this identity, under an attempt."""


@declared("Damocles.WhyNoUpgrade", rules.ASKED)
def why_no_upgrade(spec: seal.AllocateSnapUpSpec, /) -> str:
    """Return why there is no sector to upgrade, for threads that wait for one; empty if there is one."""


@declared("Venus.SubmitSnapUpProof", rules.SEALING)
def submit_upgrade(sector: SectorID, content: seal.SnapUpProof, /) -> seal.Submitted:
    """Check and verify an upgrade, and hand it to the chain."""


@declared("Venus.SnapUpPreFetch", rules.OPERATE)
def fetch_candidates(miner: int, deadline: int | None = None, /) -> seal.SnapUpFetchResult:
    """Make candidates of all sectors of a miner that are proven, hold no deals and are not in progress."""


@declared("Venus.SnapUpCandidates", rules.READ)
def candidates(miner: int, /) -> list[list[int] | None]:
    """Return the candidates of each deadline as a bitfield, null where there are none."""


@declared("Venus.SnapUpCancelCommitment", rules.OPERATE, has_result=False)
def cancel_upgrade(sector: SectorID, /) -> None:
    """Follow the message of an upgrade no more, until the manager is started again or the proof handed in again."""


@declared("Venus.AllocateRebuildSector", rules.SEALING)
def allocate_rebuild(spec: seal.AllocateSectorSpec, /) -> seal.SectorRebuildInfo | None:
    """Hand out a sector whose files have to be made again."""


@declared("Damocles.AllocateRebuildSector", rules.SEALING)
def hand_out_rebuild(spec: seal.AllocateSectorSpec, store: control.Store, /) -> control.Handed | None:
    """Hand out a sector whose files have to be made again to the sealing store with this identity, under an attempt."""


@declared("Venus.SectorSetForRebuild", rules.OPERATE)
def set_for_rebuild(sector: SectorID, options: seal.RebuildOptions, /) -> bool:
    """Put a sector into the queue; also again for one that waits, or that was handed out without any report."""


@declared("Venus.AllocateUnsealSector", rules.SEALING)
def allocate_unseal(spec: seal.AllocateSectorSpec, /) -> seal.SectorUnsealInfo | None:
    """Hand out a piece to get out of a sector."""


@declared("Damocles.AllocateUnsealSector", rules.SEALING)
def hand_out_unseal(spec: seal.AllocateSectorSpec, store: control.Store, /) -> control.Handed | None:
    """Hand out a piece to get out of a sector to the sealing store with this identity, under an attempt."""


@declared("Venus.AcquireUnsealDest", rules.SEALING)
def acquire_destinations(sector: SectorID, piece: CID, /) -> list[str] | None:
    """Return the destinations of a piece, only to the worker that unseals it, for the URLs may hold secrets."""


@declared("Venus.AchieveUnsealSector", rules.SEALING)
def achieve_unseal(sector: SectorID, piece: CID, error: str, /) -> None:
    """End a task, with an error if it cannot be done."""


@declared("Venus.UnsealPiece", rules.OPERATE)
def unseal_piece(sector: SectorID, piece: CID, offset_bytes: int, size_bytes: int, dest: str, /) -> None:
    """Ask for a range of a sector's data, in unpadded bytes, to be brought to a URL."""


@declared("Damocles.UnsealTasks", rules.READ)
def unseal_tasks() -> list[seal.SectorUnsealInfo]:
    """Return all tasks, the oldest first, destinations without their secrets."""
