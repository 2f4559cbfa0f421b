"""`damocles-worker worker` drain, undrain, logs and history: what a worker has in work, and what it did."""

import time
from typing import Annotated

from cyclopts import Parameter

from damocles.cli import common, fleet_calls, fleet_drains, fleet_logs, fleet_options, fleet_views, worker_at
from damocles.rpc import sync
from damocles.sealing import operations, selection
from damocles.wire import codec, control

Index = Annotated[int | None, Parameter(name=["--index", "-i"], help="The thread's number in the list.")]
Thread = Annotated[int | None, Parameter(help="The same as --index.")]


def drain(
    *,
    deadline: fleet_options.Deadline = None,
    wait: fleet_options.Wait = False,
    reason: fleet_options.Reason = "",
    json: fleet_options.AsJson = False,
    at: worker_at.At = worker_at.USUAL,
) -> int:
    """Finish the sectors in work and begin no new ones."""
    deadline_seconds = None if deadline is None else fleet_options.seconds(deadline, "--deadline")
    with at.call() as worker:
        state = worker.call("Damocles.Drain", [True, deadline_seconds, reason], returns=control.Drain)
        if not wait:
            return fleet_drains.show(state, as_json=json)
        return fleet_drains.wait(state, lambda: _state(worker), as_json=json)


def undrain(
    *,
    reason: fleet_options.Reason = "",
    json: fleet_options.AsJson = False,
    at: worker_at.At = worker_at.USUAL,
) -> int:
    """Begin new sectors again."""
    with at.call() as worker:
        state = worker.call("Damocles.Drain", [False, None, reason], returns=control.Drain)
    return fleet_drains.show(state, as_json=json)


def logs(
    thread: Thread = None,
    /,
    *,
    index: Index = None,
    sector: fleet_options.LogSector = None,
    stage: fleet_options.LogStage = None,
    follow: fleet_options.Follow = False,
    json: fleet_options.AsJson = False,
    at: worker_at.At = worker_at.USUAL,
) -> int:
    """Print what the stages of a thread wrote last; as JSON, one object a line. A sector is found without its thread."""
    given = index if thread is None else thread
    if (given is None and sector is None) or (index is not None and thread is not None):
        raise common.WrongUsage("which thread? give its number in the list, like: logs 0, or --sector")
    sector = None if sector is None else fleet_options.sector(sector)
    fleet_options.check_stage(stage)
    with at.call(fleet_views.LOG_WAIT_SECONDS if follow else 0.0) as worker:
        number = _index_of(worker, sector) if given is None and sector is not None else given

        def read(after: int, wait_seconds: float) -> list[control.LogLine]:
            return worker.call("Damocles.Logs", [number, after, wait_seconds], returns=list[control.LogLine])

        return fleet_views.print_log(fleet_views.follow(read, on=follow), sector=sector, stage=stage, as_json=json)


def history(
    sector: Annotated[str, Parameter(help="Like s-t010000-2.")],
    /,
    *,
    full: fleet_options.Full = False,
    json: fleet_options.AsJson = False,
    at: worker_at.At = worker_at.USUAL,
) -> int:
    """Show every step of a sector on this worker, from the journals of its stores."""
    name = fleet_options.sector(sector)
    with at.call() as worker:
        entries = worker.call("Damocles.History", [name], returns=list[control.HistoryEntry])
    if json:
        common.print_json(codec.to_builtins(entries))
    elif entries:
        fleet_views.print_history(entries, full=full)
    if not entries:
        raise common.NothingSelected(f"{name} was never on this worker")
    return common.OK


def _index_of(worker: sync.Client, sector: str) -> int:
    def threads(chosen: control.Selection) -> list[control.ThreadDetail]:
        told = fleet_calls.hold(worker, operations.threads(time.time()))
        return [thread for thread in told if selection.holds(chosen, thread)]

    def history(name: str) -> list[control.HistoryEntry]:
        return worker.call("Damocles.History", [name], returns=list[control.HistoryEntry])

    return fleet_logs.thread_of(sector, threads, history).info.index


def _state(worker: sync.Client) -> control.Drain:
    return worker.call("Damocles.DrainState", returns=control.Drain)
