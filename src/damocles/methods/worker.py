"""The control API of a worker: `VenusWorker.*` is the original's, `Damocles.*` is ours."""

from damocles.methods import rules
from damocles.methods.declaring import declared
from damocles.wire import capacity, control, fleet, stores


@declared("VenusWorker.WorkerList", rules.READ)
def list_threads() -> list[fleet.ThreadInfo] | None:
    """Return every thread, in the order of the configuration."""


@declared("VenusWorker.WorkerPause", rules.OPERATE)
def pause(index: int, /) -> bool:
    """Pause a thread at its next boundary."""


@declared("VenusWorker.WorkerResume", rules.OPERATE)
def resume(index: int, state: str | None = None, /) -> bool:
    """Resume a paused thread; false if it is not paused."""


@declared("VenusWorker.WorkerSetEnv", rules.OPERATE)
def set_env(name: str, value: str, /) -> None:
    """Set a variable; children that are started from now on inherit it."""


@declared("VenusWorker.WorkerRemoveEnv", rules.OPERATE)
def remove_env(name: str, /) -> None:
    """Remove a variable, if it is there."""


@declared("VenusWorker.WorkerVersion", rules.READ)
def version() -> str:
    """Return the version in the form of the original's."""


@declared("Damocles.Threads", rules.READ)
def threads() -> list[control.ThreadDetail]:
    """Return every thread with what it waits for, since when, and which process works for it."""


@declared("Damocles.ActOn", rules.OPERATE)
def act_on(chosen: control.Selection, act: control.Act, asked_by: str = "", /) -> list[control.Outcome]:
    """Pause, resume or abort the selected threads, or predict that; return one outcome for each, in order."""


@declared("Damocles.Drain", rules.OPERATE)
def drain(
    on: bool, deadline_seconds: control.Seconds | None = None, reason: str = "", asked_by: str = "", /
) -> control.Drain:
    """Begin or end a drain."""


@declared("Damocles.DrainState", rules.READ)
def drain_state() -> control.Drain:
    """Return whether the worker drains, and what is left to do."""


@declared("Damocles.Logs", rules.READ)
def logs(index: int, after: int = 0, wait_seconds: control.Seconds = 0.0, /) -> list[control.LogLine]:
    """Return the lines of a thread's stages after number `after`; wait up to half a minute for the next one."""


@declared("Damocles.History", rules.READ)
def history(sector: str | None = None, /) -> list[control.HistoryEntry]:
    """Return what the journals know: of one sector, or of all."""


@declared("Damocles.Stores", rules.READ)
def stores_of() -> list[stores.StoreSeen]:
    """Return every store that the worker uses, sealing stores first."""


@declared("Damocles.ChangeStore", rules.OPERATE)
def change_store(wanted: stores.StoreChange, asked_by: str = "", /) -> control.Outcome:
    """Add a store to the worker, or release one; a dry run predicts that."""


@declared("Damocles.Managers", rules.READ)
def managers() -> list[control.ManagerSeen]:
    """Return the managers that the worker may call, and which one it uses."""


@declared("Damocles.Capacity", rules.READ)
def report() -> capacity.Report:
    """Return what the machine has and has granted, and how long the stages of finished sectors have taken."""


@declared("Damocles.Settings", rules.READ)
def settings() -> dict[str, str]:
    """Return the settings of the proofs library that children inherit, among them where its files are."""
