"""What a handler gets to do its work with."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from damocles.sealing.sectors import Sector
from damocles.stages.supervision import executor
from damocles.stores import identity
from damocles.stores.layout import Layout
from damocles.stores.outlets import Outlets
from damocles.stores.persist import PersistStore
from damocles.stores.pieces import PieceStores
from damocles.wire import seal, sectors
from damocles.worker import upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The `[sealing]` options that handlers read, as they are for this thread now."""

    allowed_miners: tuple[int, ...] = ()
    allowed_proofs: tuple[int, ...] = ()
    enable_deals: bool = False
    disable_cc: bool = False
    max_deals: int | None = None
    min_deal_bytes: int | None = None
    rpc_polling_seconds: float = 180.0
    ignore_proof_check: bool = False
    verify_after_pc2: bool = False
    post_sector_seconds: float = 60.0
    heartbeat_seconds: float = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A sector in a state, and the means to bring it to the next one.

    Attributes:
        run: Runs a stage in a child process and returns its decoded output; raises `failures.Failure`.
        place: The sector's working files; only once a sector is allocated.
        static_tree_d: Ready-made tree-d of an empty sector, by sector size.
        pieces: Where the payloads of deals are.
        outlets: Where requested pieces may be put.
        lacking_for_post: Returns why this machine cannot make window PoSts of some sizes, `None` for one that it can.
    """

    sector: Sector
    options: Options
    manager: upstream.Manager
    run: Callable[[str, executor.Task], Awaitable[Any]]
    worker: str  # name of this worker
    store: str  # identity of the sealing store
    data: Path
    persist_stores: Mapping[str, PersistStore]
    memory: identity.Memory
    static_tree_d: Mapping[sectors.SectorSize, Path]
    pieces: PieceStores
    outlets: Outlets
    lacking_for_post: Callable[[Iterable[sectors.SectorSize]], Awaitable[dict[sectors.SectorSize, str | None]]]

    @property
    def id(self) -> sectors.SectorID:
        """The sector's id."""
        return self.allocated.id

    @property
    def allocated(self) -> seal.AllocatedSector:
        """The sector as handed out."""
        assert self.sector.allocated is not None
        return self.sector.allocated

    def having(self, **changes: Any) -> "Job":
        """Return the same with these fields of the sector, for what is done on the way and not recorded."""
        return replace(self, sector=msgspec.structs.replace(self.sector, **changes))

    @property
    def place(self) -> Layout:
        """Where the sector's working files are."""
        return Layout(self.data, self.id, self.sector.proof_type.size)
