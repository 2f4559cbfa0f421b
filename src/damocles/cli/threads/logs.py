"""Find the thread whose log has the lines of a sector."""

from collections.abc import Callable, Sequence

from damocles.cli.terminal import exits
from damocles.wire import control

AskThreads = Callable[[control.Selection], Sequence[control.ThreadDetail]]
AskHistory = Callable[[str], Sequence[control.HistoryEntry]]


def thread_of(sector: str, threads: AskThreads, history: AskHistory) -> control.ThreadDetail:
    """Return the thread that has a sector, or else the one in whose store its last step was.

    Raises:
        common.NothingSelected: No thread has had it.
        common.WrongUsage: Several have it.
    """
    found = threads(control.Selection(sectors=[sector]))
    places = [(entry.worker, entry.location) for entry in reversed(history(sector))] if not found else []
    for worker, location in dict.fromkeys(places):
        if found:
            break
        chosen = control.Selection(all=True, workers=[worker] if worker else [])
        found = [thread for thread in threads(chosen) if thread.info.location == location]
    if not found:
        raise exits.NothingSelected(f"no thread that answers has, or had, {sector}")
    if len(found) > 1:
        several = " and ".join(f"{thread.worker} #{thread.info.index}".strip() for thread in found)
        raise exits.WrongUsage(f"{several} have {sector}: name the thread")
    return found[0]
