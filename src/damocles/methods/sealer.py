"""The life of a sector, as sealing workers report it to the manager: the original's SealerAPI."""

from damocles.methods import rules
from damocles.methods.declaring import declared
from damocles.wire import fleet, seal
from damocles.wire.sectors import SectorID


@declared("Venus.AllocateSector", rules.SEALING)
def allocate_sector(spec: seal.AllocateSectorSpec, /) -> seal.AllocatedSector | None:
    """Hand out a new sector."""


@declared("Venus.AcquireDeals", rules.SEALING)
def acquire_deals(sector: SectorID, spec: seal.AcquireDealsSpec, /) -> list[seal.SectorPiece] | None:
    """Give deals to a sector: pieces that fill it, none if there are too few, null if this manager has no market."""


@declared("Damocles.WhyNoDeals", rules.ASKED)
def why_no_deals(spec: seal.AcquireDealsSpec, sector_bytes: int, /) -> str:
    """Return why there are no deals for a sector, for threads that wait for some; empty if there are."""


@declared("Venus.AssignTicket", rules.SEALING)
def assign_ticket(sector: SectorID, /) -> seal.Ticket:
    """Draw a ticket for the replica id and keep it; every call draws a new one, until a pre-commit is on its way."""


@declared("Venus.SubmitPreCommit", rules.ENDING)
def submit_pre_commit(allocated: seal.AllocatedSector, content: seal.PreCommit, hard_reset: bool, /) -> seal.Submitted:
    """Check a pre-commit and hand it to the chain."""


@declared("Venus.PollPreCommitState", rules.ASKED)
def poll_pre_commit(sector: SectorID, /) -> seal.Polled:
    """Return how far the pre-commit has come."""


@declared("Venus.SubmitPersisted", rules.SEALING)
def submit_persisted(sector: SectorID, store: str, /) -> bool:
    """Take note of a sector's files, as workers before the upgrades asked for it."""


@declared("Venus.SubmitPersistedEx", rules.SEALING)
def submit_persisted_ex(sector: SectorID, store: str, is_upgrade: bool, /) -> bool:
    """Check that a sector's files are in a store, and remember the store."""


@declared("Venus.WaitSeed", rules.SEALING)
def wait_seed(sector: SectorID, proof: int, /) -> seal.WaitSeedResp:
    """Return the seed, or how long to wait for it."""


@declared("Venus.SubmitProof", rules.ENDING)
def submit_proof(sector: SectorID, content: seal.Proof, hard_reset: bool, /) -> seal.Submitted:
    """Verify a proof and hand it to the chain."""


@declared("Venus.PollProofState", rules.ASKED)
def poll_proof(sector: SectorID, /) -> seal.Polled:
    """Return how far the proof has come."""


@declared("Venus.ReportState", rules.SEALING)
def report_state(sector: SectorID, report: seal.ReportStateReq, /) -> seal.SectorStateResp:
    """Keep a worker's report, and who it was; answer whether the sector has ended."""


@declared("Venus.ReportFinalized", rules.SEALING)
def report_finalized(sector: SectorID, /) -> None:
    """End a sector that is finished."""


@declared("Venus.ReportAborted", rules.ENDING)
def report_aborted(sector: SectorID, reason: str, /) -> None:
    """End an aborted sector; one that is on the chain is as it was before the work on it."""


@declared("Venus.StoreReserveSpace", rules.SEALING)
def reserve_space(
    sector: SectorID, size_bytes: seal.Bytes, candidates: list[str] | None, /
) -> seal.StoreBasicInfo | None:
    """Choose a store for a sector's files and keep the space for it; none has room for more than a sector can have."""


@declared("Venus.StoreBasicInfo", rules.ASKED)
def store_info(name: str, /) -> seal.StoreBasicInfo | None:
    """Return a store by name."""


@declared("Venus.WorkerPing", rules.SEALING)
def worker_ping(info: fleet.WorkerInfo, /) -> None:
    """Keep a ping, and the token by which the worker may be called."""
