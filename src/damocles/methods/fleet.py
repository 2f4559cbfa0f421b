"""The workers of a manager, and what it asks of them."""

from damocles.methods import rules
from damocles.methods.declaring import declared
from damocles.wire import capacity, control, fleet, stores

TIMEOUT_SECONDS = 5.0  # that all workers together get, if nothing else is asked for


@declared("Venus.WorkerGetPingInfo", rules.READ)
def find_ping(name: str, /) -> fleet.PingInfo | None:
    """Return the last ping of a worker."""


@declared("Venus.WorkerPingInfoList", rules.READ)
def list_pings() -> list[fleet.PingInfo] | None:
    """Return the last pings of all workers by name."""


@declared("Venus.WorkerPingInfoRemove", rules.OPERATE, has_result=False)
def remove_ping(name: str, /) -> None:
    """Forget a worker."""


@declared("Damocles.Workers", rules.READ)
def workers(expiration_seconds: control.Seconds | None = None, /) -> list[control.WorkerStatus]:
    """Return the registry by name; a worker is lost after `expiration_seconds` without a ping."""


@declared("Damocles.FleetThreads", rules.READ)
def threads(chosen: control.Selection, timeout_seconds: control.Seconds = TIMEOUT_SECONDS, /) -> control.FleetThreads:
    """Return the selected threads by worker and index; naming workers selects all of theirs."""


@declared("Damocles.FleetCapacity", rules.READ)
def report(chosen: control.Selection, timeout_seconds: control.Seconds = TIMEOUT_SECONDS, /) -> capacity.Fleet:
    """Return what the selected workers can do, by worker."""


@declared("Damocles.FleetAct", rules.OPERATE)
def act(
    chosen: control.Selection, wanted: control.Act, timeout_seconds: control.Seconds = TIMEOUT_SECONDS, /
) -> list[control.Outcome]:
    """Do something to the selected threads; return what came of it, for each thread and each silent worker."""


@declared("Damocles.WorkerDrain", rules.OPERATE)
def drain(
    worker: str,
    on: bool,
    deadline_seconds: control.Seconds | None = None,
    reason: str = "",
    timeout_seconds: control.Seconds = TIMEOUT_SECONDS,
    /,
) -> control.Drain:
    """Begin or end a drain of a worker."""


@declared("Damocles.WorkerDrainState", rules.READ)
def drain_state(worker: str, timeout_seconds: control.Seconds = TIMEOUT_SECONDS, /) -> control.Drain:
    """Return whether a worker drains, and what is left to do."""


@declared("Damocles.FleetStores", rules.READ)
def stores_of(
    workers: control.WorkerNames, timeout_seconds: control.Seconds = TIMEOUT_SECONDS, /
) -> stores.FleetStores:
    """Return the stores of the named workers, or of all if none is named."""


@declared("Damocles.FleetChangeStore", rules.OPERATE)
def change_store(
    workers: control.WorkerNames,
    wanted: stores.StoreChange,
    timeout_seconds: control.Seconds = TIMEOUT_SECONDS,
    /,
) -> list[control.Outcome]:
    """Add a store to the named workers, or release it there; return what came of it, for each and each silent one."""


@declared("Damocles.WorkerLogs", rules.READ)
def logs(
    worker: str,
    index: int,
    after: int = 0,
    wait_seconds: control.Seconds = 0.0,
    timeout_seconds: control.Seconds = TIMEOUT_SECONDS,
    /,
) -> list[control.LogLine]:
    """Return the lines of a thread's stages after number `after`; wait up to half a minute for the next one."""


@declared("Damocles.SectorHistory", rules.READ)
def history(sector: str, timeout_seconds: control.Seconds = TIMEOUT_SECONDS, /) -> control.SectorHistory:
    """Return every step of a sector wherever it happened, oldest first."""
