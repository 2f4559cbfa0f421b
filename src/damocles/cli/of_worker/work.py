"""`damocles-worker worker` drain, undrain, logs and history: what a worker has in progress, and what it did."""

import time
from typing import Annotated

from cyclopts import Parameter

from damocles import methods
from damocles.cli.connecting import calls, worker_at
from damocles.cli.terminal import exits, watching
from damocles.cli.threads import drains, options, views
from damocles.cli.threads import logs as fleet_logs
from damocles.operating import dialogues, selection
from damocles.rpc.calling import sync
from damocles.wire import codec, control

Index = Annotated[int | None, Parameter(name=["--index", "-i"], help="The thread's number in the list.")]
Thread = Annotated[int | None, Parameter(help="The same as --index.")]


def drain(
    *,
    deadline: options.Deadline = None,
    wait: options.Wait = False,
    reason: options.Reason = "",
    json: options.AsJson = False,
    at: worker_at.At = worker_at.USUAL,
) -> int:
    """Finish the sectors in progress and begin no new ones."""
    deadline_seconds = None if deadline is None else options.seconds(deadline, "--deadline")
    with at.call() as worker:
        state = worker.call(methods.worker.drain(True, deadline_seconds, reason))
        if not wait:
            return drains.show(state, as_json=json)
        return drains.wait(state, lambda: _state(worker), as_json=json)


def undrain(
    *,
    reason: options.Reason = "",
    json: options.AsJson = False,
    at: worker_at.At = worker_at.USUAL,
) -> int:
    """Begin new sectors again."""
    with at.call() as worker:
        state = worker.call(methods.worker.drain(False, None, reason))
    return drains.show(state, as_json=json)


def logs(
    thread: Thread = None,
    /,
    *,
    index: Index = None,
    sector: options.LogSector = None,
    stage: options.LogStage = None,
    follow: options.Follow = False,
    json: options.AsJson = False,
    at: worker_at.At = worker_at.USUAL,
) -> int:
    """Print the latest log lines of a thread's stages, with --json one object per line. With --sector, no thread is needed."""
    given = index if thread is None else thread
    if (given is None and sector is None) or (index is not None and thread is not None):
        raise exits.WrongUsage("which thread? give its number in the list, like: logs 0, or --sector")
    sector = None if sector is None else options.sector(sector)
    options.check_stage(stage)
    with at.call(views.LOG_WAIT_SECONDS if follow else 0.0) as worker:
        number = _index_of(worker, sector or "") if given is None else given

        def read(after: int, wait_seconds: float) -> list[control.LogLine]:
            return worker.call(methods.worker.logs(number, after, wait_seconds))

        return views.print_log(views.follow(read, on=follow), sector=sector, stage=stage, as_json=json)


@watching.watchable
def history(
    sector: options.Sector,
    /,
    *,
    full: options.Full = False,
    json: options.AsJson = False,
    at: worker_at.At = worker_at.USUAL,
) -> int:
    """Show every step of a sector on this worker, from the journals of its stores."""
    name = options.sector(sector)
    with at.call() as worker:
        entries = worker.call(methods.worker.history(name))
    if json:
        exits.print_json(codec.to_builtins(entries))
    elif entries:
        views.print_history(entries, full=full)
    if not entries:
        raise exits.NothingSelected(f"{name} has never been on this worker")
    return exits.OK


def _index_of(worker: sync.Client, sector: str) -> int:
    def threads(chosen: control.Selection) -> list[control.ThreadDetail]:
        details = calls.hold(worker, dialogues.threads(time.time()))
        return [thread for thread in details if selection.holds(chosen, thread)]

    def history(name: str) -> list[control.HistoryEntry]:
        return worker.call(methods.worker.history(name))

    return fleet_logs.thread_of(sector, threads, history).info.index


def _state(worker: sync.Client) -> control.Drain:
    return worker.call(methods.worker.drain_state())
