"""What the manager is, and what it knows of its chain and its stores."""

from typing import Any

from damocles.methods import rules
from damocles.methods.declaring import declared
from damocles.wire import control, proving, records, seal
from damocles.wire.codec import CID


@declared("Venus.GetTicket", rules.READ)
def get_ticket(tipset: list[CID] | None, epoch: int, miner: int, /) -> seal.Ticket:
    """Return the sealing randomness of an epoch; it is that of the head, whichever tipset is named."""


@declared("Venus.GetSeed", rules.READ)
def get_seed(tipset: list[CID] | None, epoch: int, miner: int, /) -> seal.Seed:
    """Return the challenge randomness of an epoch."""


@declared("Venus.GetWindowPoStChanlleengeRand", rules.READ)
def window_challenge(tipset: list[CID] | None, epoch: int, miner: int, /) -> proving.Randomness:
    """Return the randomness of the window PoSts of a deadline with this challenge epoch."""


@declared("Venus.GetWindowPoStCommitRand", rules.READ)
def post_commit(tipset: list[CID] | None, epoch: int, /) -> proving.Randomness:
    """Return the randomness by which a window PoSt shows that it is of this chain."""


@declared("Venus.GetInfo", rules.READ)
def get_info(miner: int, /) -> records.MinerInfo:
    """Return a miner of this manager."""


@declared("Venus.GetMinerConfig", rules.READ)
def get_miner_config(miner: int, /) -> dict[str, Any]:
    """Return what the configuration of a miner would be."""


@declared("Venus.StoreList", rules.READ)
def list_stores() -> list[records.StoreDetails] | None:
    """Return the stores with their space."""


@declared("Damocles.Database", rules.ASKED)
def database() -> str:
    """Return the identity of the manager's database: managers that give the same one are of the same farm."""


@declared("Damocles.ManagersBeside", rules.READ)
def managers() -> list[control.ManagerBeside]:
    """Return the managers on the database, this one among them; of a database that is not shared none."""


@declared("Venus.Version", rules.ASKED)
def version() -> str:
    """Return the version in the original's form; `prod` is its word for real proofs."""


@declared("Damocles.ConfigReload", rules.ADMIN)
def reload_config(request: control.ReloadRequest, /) -> control.Reloaded:
    """Read the configuration again, and let what it says of miners take effect, all of it or nothing."""
