"""What the manager keeps of sectors: questions, and what operators do to a record."""

from damocles.methods import rules
from damocles.methods.declaring import declared
from damocles.wire import control, exports, proving, records, seal
from damocles.wire.codec import CID
from damocles.wire.sectors import SectorID


@declared("Venus.ListSectors", rules.READ)
def list_sectors(state: exports.State, job: records.Job, /) -> list[records.SectorState] | None:
    """Return the records of a state and job class, by miner and number."""


@declared("Damocles.SectorTimes", rules.READ)
def times(after: SectorID | None = None, /) -> list[control.SectorTimes]:
    """Return since when sectors are in their states, by miner and number: the first 5000, or the first of those that follow one."""


@declared("Venus.FindSector", rules.READ)
def find_sector(state: exports.State, sector: SectorID, /) -> records.SectorState:
    """Return the record of a sector that is in a state."""


@declared("Venus.FindSectorInAllStates", rules.ASKED)
def find_sector_in_all_states(sector: SectorID, /) -> records.SectorState:
    """Return the record of a sector."""


@declared("Venus.FindSectorsWithDeal", rules.READ)
def find_sectors_with_deal(state: exports.State, deal: int, /) -> list[records.SectorState] | None:
    """Return the sectors in a state that hold a deal of the built-in market; null if there are none."""


@declared("Venus.FindSectorWithPiece", rules.READ)
def find_sector_with_piece(state: exports.State, piece: CID, /) -> records.SectorState | None:
    """Return the last sector in a state that holds a piece."""


@declared("Venus.SectorIndexerFind", rules.READ)
def sector_indexer_find(kind: proving.FilesOf, sector: SectorID, /) -> proving.Location:
    """Return in which persist stores the files of a sector, or of its upgrade, are."""


@declared("Venus.ProvingSectorInfo", rules.READ)
def proving_sector_info(sector: SectorID, /) -> proving.SectorInfo:
    """Return what the chain and the stores have of a proven sector; what the chain does not keep is zero."""


@declared("Venus.CheckProvable", rules.READ)
def check_provable(
    miner: int, post_proof: int, infos: list[proving.Extended] | None, strict: bool, state_check: bool, /
) -> dict[str, str]:
    """Return by number why sectors cannot be proved: a file is missing, or the record contradicts the chain."""


@declared("Venus.ImportSector", rules.ADMIN)
def import_sector(_state: exports.State, sector: records.SectorState, override: bool, /) -> bool:
    """Take over one record, as the original's `import` and `state import-json` send it; false if it is here already."""


@declared("Venus.RestoreSector", rules.OPERATE)
def restore_sector(sector: SectorID, forced: bool, /) -> None:
    """Bring an aborted sector back into progress; by force any that has ended."""


@declared("Venus.FinalizeSector", rules.OPERATE, has_result=False)
def finalize_sector(sector: SectorID, /) -> None:
    """End a sector that is on the chain, whatever its worker thinks."""


@declared("Venus.RemoveSector", rules.ADMIN, has_result=False)
def remove_sector(sector: SectorID, /) -> None:
    """Delete the files of a sector that is over and not alive on the chain; again for the same one does nothing."""


@declared("Venus.TerminateSector", rules.ADMIN)
def terminate_sector(sector: SectorID, /) -> seal.Submitted:
    """Order the message that ends a sector on the chain, for a fee."""


@declared("Venus.PollTerminateSectorState", rules.READ)
def poll_termination(sector: SectorID, /) -> records.TerminateInfo:
    """Return how a termination stands; zeros if there is none."""


@declared("Venus.StoreReleaseReserved", rules.OPERATE)
def release_reserved(sector: SectorID, /) -> bool:
    """Release a sector's reservation; return whether there was one."""


@declared("Damocles.SectorsExport", rules.READ)
def export(query: exports.Query, /) -> list[exports.Kept]:
    """Return a page of what this manager keeps of its sectors, by miner and number."""


@declared("Damocles.SectorsImportBatch", rules.LOOKING_ADMIN)
def put_aside(batch: exports.Batch, /) -> None:
    """Check some lines of an import and put them aside."""


@declared("Damocles.SectorsImport", rules.ADMIN)
def take_over(request: exports.Import, /) -> exports.Imported:
    """Import all lines that were staged under an id, or predict the outcome."""
