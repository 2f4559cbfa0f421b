"""`damocles-manager util worker`: list and control the sealing threads of all workers from one place.

Everything goes through the manager, which calls the workers; no chain node is needed. The original's manager calls none:
there the workers of its list are called from here.
"""

from typing import Annotated

from cyclopts import App, Parameter
from msgspec import structs

from damocles import methods
from damocles.cli.connecting import calls, credentials, manager_at
from damocles.cli.terminal import exits, tables, watching
from damocles.cli.threads import acts, drains, options, views
from damocles.cli.threads import logs as fleet_logs
from damocles.operating import selection
from damocles.wire import codec, control

app = App(name="worker", version_flags=[])  # its help is in `cli.manager`, which shows it without this module
app.command("damocles.cli.of_manager.wdpost:app", name="wdpost", help="List, reset and remove window PoSt jobs.")
app.command(
    "damocles.cli.of_manager.attaching:app", name="store", help="List, add and release stores of running workers."
)

Pattern = Annotated[str | None, Parameter(help="The worker's name or address, or a pattern.")]
Name = Annotated[str, Parameter(help="The worker's name or address.")]
Indexes = Annotated[str | None, Parameter(help="The thread's number in its worker's list, or several: 0,2 or 0-3.")]
Wide = Annotated[bool, options.Flag(name=["--wide", "-w"], help="More columns.")]
Workers = Annotated[
    tuple[str, ...],
    options.Flag(name="--worker", help="Workers by name, address or pattern like 'gpu-*'; repeatable."),
]
_EXPIRATION, _EXPIRATION_SECONDS = "10m", 600.0
_RESUME = "damocles-manager util worker resume"
State = Annotated[str | None, Parameter(help="The state to resume from; default: the present one.")]


@app.command(
    name="list",
    help_epilogue=options.examples(
        "damocles-manager util worker list", "damocles-manager util worker list --wide --watch"
    ),
)
@watching.watchable
def list_(
    *,
    expiration: Annotated[
        str, Parameter(name="--expiration", help="Mark workers that have been silent for longer.")
    ] = _EXPIRATION,
    wide: Wide = False,
    full: options.Full = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """List the workers that have pinged the manager, and how long ago."""
    expiration_seconds = options.seconds(expiration, "--expiration")

    with at.call() as found:
        workers = found.call(methods.fleet.workers(expiration_seconds))
    if json:
        exits.print_json(codec.to_builtins(workers))
        return exits.OK
    tables.show(
        views.workers(expiration_seconds, wide=wide),
        workers,
        full=full,
        nothing="no worker has pinged this manager yet",
    )
    views.warn_of_shared_names(workers)
    return exits.OK


@app.command(
    help_epilogue=options.examples(
        "damocles-manager util worker info gpu-1",
        "damocles-manager util worker info --all --paused",
        "damocles-manager util worker info --sector s-t010000-2 --json",
    )
)
@watching.watchable
def info(
    worker: Pattern = None,
    /,
    *,
    which: options.Which = options.NONE,
    workers: Workers = (),
    wide: Wide = False,
    full: options.Full = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Show the sealing threads of a worker, or all that the options select."""
    chosen = options.selected(which, workers=_both(worker, workers))
    if not chosen.workers and chosen == control.Selection():
        raise _which_worker(at)
    one = len(chosen.workers) == 1 and not selection.is_pattern(chosen.workers[0])
    resume = [_RESUME, *credentials.repeated(at, manager_at.USUAL)]

    with at.call() as found:
        answer = found.call(methods.fleet.threads(chosen, found.worker_seconds))
    if one and answer.silent:
        raise exits.WorkerUnreachable(f"{answer.silent[0].worker}: {answer.silent[0].reason}")
    acts.check_words(chosen, answer.threads)
    if json:
        exits.print_json(codec.to_builtins(answer))
    elif answer.threads:
        views.show_threads(answer.threads, named=not one, wide=wide, full=full, resume=resume)
    for silence in answer.silent:
        exits.error(f"{silence.worker}: {silence.reason}")
    if answer.silent:
        return exits.FAILED
    return exits.OK if answer.threads else acts.show_nothing(chosen)


@app.command(
    help_epilogue=options.examples(
        "damocles-manager util worker pause gpu-1 0",
        "damocles-manager util worker pause 'gpu-*' --plan sealer --reason 'new disks'",
    )
)
def pause(
    worker: Pattern = None,
    index: Indexes = None,
    /,
    *,
    now: options.Now = False,
    which: options.Which = options.NONE,
    workers: Workers = (),
    how: options.How = options.PLAINLY,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Pause a sealing thread, or all that the options select, at the next boundary."""
    act = acts.wanted("pause", now=now, dry_run=how.dry_run, reason=how.reason)
    chosen = options.selected(which, workers=_both(worker, workers), index=index)
    outcomes = _act(chosen, act, at)
    if _is_plain(chosen, how):
        return acts.show_plain(outcomes, "pause", chosen, {})
    return acts.show(outcomes, dry_run=how.dry_run, as_json=how.json, chosen=chosen)


@app.command(
    help_epilogue=options.examples(
        "damocles-manager util worker resume gpu-1 0",
        "damocles-manager util worker resume gpu-1 0 PC1Done",
        "damocles-manager util worker resume --error 'No cached parameters' --dry-run",
    )
)
def resume(
    worker: Pattern = None,
    index: Indexes = None,
    state: State = None,
    /,
    *,
    to: Annotated[str | None, Parameter(name="--to", help="The same, where options select the threads.")] = None,
    yes: options.YesToAbort = False,
    which: options.Which = options.NONE,
    workers: Workers = (),
    how: options.How = options.PLAINLY,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Resume a paused sealing thread, or all that the options select, from the present state or another one."""
    if state is not None and to is not None:
        raise exits.WrongUsage(f"two states to resume from, {state} and {to}: pass one")
    target = state if to is None else to
    chosen = options.selected(which, workers=_both(worker, workers), index=index)
    unsure = acts.aborts(target, chosen) and not yes
    act = acts.wanted("resume", state=target, dry_run=how.dry_run or unsure, reason=how.reason)
    outcomes = _act(chosen, act, at)
    if which.state and not outcomes:
        exits.hint("--state selects threads; the state to resume from is the word after the index, or --to")
    if unsure and not how.dry_run:
        return acts.show_unconfirmed(outcomes, as_json=how.json, chosen=chosen)
    if _is_plain(chosen, how):
        return acts.show_plain(outcomes, "resume", chosen, {"state": target})
    return acts.show(outcomes, dry_run=how.dry_run, as_json=how.json, chosen=chosen)


@app.command(
    help_epilogue=options.examples(
        "damocles-manager util worker abort gpu-1 0 --dry-run",
        "damocles-manager util worker abort --sector s-t010000-2 --yes",
    )
)
def abort(
    worker: Pattern = None,
    index: Indexes = None,
    /,
    *,
    yes: options.Yes = False,
    which: options.Which = options.NONE,
    workers: Workers = (),
    how: options.How = options.PLAINLY,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Abort the sectors of threads: kill their processes, move their files to the trash, and report to the manager."""
    act = acts.wanted("abort", dry_run=how.dry_run or not yes, reason=how.reason)
    chosen = options.selected(which, workers=_both(worker, workers), index=index)
    outcomes = _act(chosen, act, at)
    if not yes and not how.dry_run:
        return acts.show_unconfirmed(outcomes, as_json=how.json, chosen=chosen)
    return acts.show(outcomes, dry_run=how.dry_run, as_json=how.json, chosen=chosen)


@app.command(
    help_epilogue=options.examples(
        "damocles-manager util worker drain gpu-1 --wait",
        "damocles-manager util worker drain gpu-1 --deadline 4h --reason 'new disks'",
    )
)
def drain(
    worker: Name,
    /,
    *,
    deadline: options.Deadline = None,
    wait: options.Wait = False,
    reason: options.Reason = "",
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Let a worker finish the sectors it has and begin no new ones."""
    deadline_seconds = None if deadline is None else options.seconds(deadline, "--deadline")
    with at.call() as found:
        state = found.call(methods.fleet.drain(worker, True, deadline_seconds, reason, found.worker_seconds))
        if not wait:
            return drains.show(state, as_json=json)

        def ask() -> control.Drain:
            return found.call(methods.fleet.drain_state(worker, found.worker_seconds))

        return drains.wait(state, ask, as_json=json)


@app.command(help_epilogue=options.examples("damocles-manager util worker undrain gpu-1"))
def undrain(
    worker: Name,
    /,
    *,
    reason: options.Reason = "",
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Let a worker begin new sectors again."""
    with at.call() as found:
        state = found.call(methods.fleet.drain(worker, False, None, reason, found.worker_seconds))
        return drains.show(state, as_json=json)


@app.command(
    help_epilogue=options.examples(
        "damocles-manager util worker logs gpu-1 0 --follow",
        "damocles-manager util worker logs --sector s-t010000-2 --stage pc1",
    )
)
def logs(
    worker: Annotated[str | None, Parameter(help="The worker's name or address.")] = None,
    index: Annotated[int | None, Parameter(help="The thread's number in its worker's list.")] = None,
    /,
    *,
    sector: options.LogSector = None,
    stage: options.LogStage = None,
    follow: options.Follow = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Print the latest log lines of a thread's stages, with --json one object per line. With --sector, no thread is needed."""
    if sector is None and (worker is None or index is None):
        raise exits.WrongUsage(
            "which thread? give its worker and its number in the list, like: logs gpu-1 0, or --sector"
        )
    sector = None if sector is None else options.sector(sector)
    options.check_stage(stage)
    with at.call(views.LOG_WAIT_SECONDS if follow else 0.0) as found:
        place = (worker, index) if worker is not None and index is not None else _place_of(found, sector or "", worker)

        def read(after: int, wait_seconds: float) -> list[control.LogLine]:
            return found.call(methods.fleet.logs(*place, after, wait_seconds, found.worker_seconds))

        return views.print_log(views.follow(read, on=follow), sector=sector, stage=stage, as_json=json)


@app.command(help_epilogue=options.examples("damocles-manager util worker history s-t010000-2"))
@watching.watchable
def history(
    sector: options.Sector,
    /,
    *,
    full: options.Full = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Show every step of a sector, on all workers that had it."""
    name = options.sector(sector)
    with at.call() as found:
        answer = found.call(methods.fleet.history(name, found.worker_seconds))
    if json:
        exits.print_json(codec.to_builtins(answer))
    elif answer.entries:
        views.print_history(answer.entries, full=full)
    for silence in answer.silent:
        exits.warning(f"{silence.worker}: {silence.reason}")
    if not answer.entries:
        raise exits.NothingSelected(f"{name}: neither the manager nor any worker that answered has a record of it")
    return exits.OK


@app.command(help_epilogue=options.examples("damocles-manager util worker remove gpu-1"))
def remove(
    name: Annotated[str, Parameter(help="As in the list.")],
    /,
    *,
    yes: Annotated[bool, options.Flag(name="--yes", help="Even if it is live.")] = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Forget a worker that will not come back; if it still runs, its next ping brings it back."""
    with at.call() as found:
        if found.call(methods.fleet.find_ping(name)) is None:
            raise exits.UnknownWorker(f"worker info not found. please make sure the instance name is correct: {name}")
        listed = found.call(methods.fleet.workers(_EXPIRATION_SECONDS))
        if not yes and any(one.info.name == name and one.status == "live" for one in listed):
            exits.error(
                f"{name} is live: its next ping would bring it back, with its alerts reported as resolved, then as new;"
                " stop it first, or pass --yes"
            )
            return exits.USAGE
        found.call(methods.fleet.remove_ping(name))
    exits.print_result(f"'{name}' removed", {"name": name, "removed": True}, as_json=json)
    return exits.OK


@app.command(help_epilogue=options.examples("damocles-manager util worker top"))
def top(
    *,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Watch the whole fleet: workers, threads by state, paused ones first with the reason; q quits. With --json, once."""
    from damocles.cli.threads import top as fleet_top

    with at.call() as found:
        if not json:
            return fleet_top.run(found)
        workers, answer = fleet_top.ask(found)
    exits.print_json({"workers": codec.to_builtins(workers), **codec.to_builtins(answer)})
    return exits.OK


def _act(chosen: control.Selection, act: control.Act, at: manager_at.At) -> list[control.Outcome]:
    acts.check(chosen)
    with at.call() as found:
        return found.call(methods.fleet.act(chosen, act, found.worker_seconds))


def _place_of(found: calls.Manager, sector: str, worker: str | None) -> tuple[str, int]:
    """Return the worker (the given one, or any) and the index of the thread that has a sector, or had it last."""

    def threads(chosen: control.Selection) -> list[control.ThreadDetail]:
        asked = chosen if worker is None else structs.replace(chosen, workers=[worker])
        answer = found.call(methods.fleet.threads(asked, found.worker_seconds))
        for silence in answer.silent:
            exits.warning(f"{silence.worker}: {silence.reason}")
        return answer.threads

    def history(name: str) -> list[control.HistoryEntry]:
        answer = found.call(methods.fleet.history(name, found.worker_seconds))
        return answer.entries

    thread = fleet_logs.thread_of(sector, threads, history)
    return thread.dest or thread.worker, thread.info.index


def _which_worker(at: manager_at.At) -> exits.WrongUsage:
    """Return the error for a missing name, with the known workers if the manager answers."""
    try:
        with at.call() as found:
            workers = found.call(methods.fleet.workers(_EXPIRATION_SECONDS))
    except exits.Failed:
        return exits.WrongUsage("which worker? give its name or a pattern, or --all")
    known = ", ".join(sorted(worker.info.name for worker in workers)) or "none"
    return exits.WrongUsage(f"which worker? known: {known}; or --all")


def _both(worker: str | None, workers: tuple[str, ...]) -> tuple[str, ...]:
    return workers if worker is None else (worker, *workers)


def _is_plain(chosen: control.Selection, how: options.How) -> bool:
    """Return whether exactly one worker and one index are given, the only form that the original has."""
    one = len(chosen.indexes) == len(chosen.workers) == 1 and not selection.is_pattern(chosen.workers[0])
    alone = chosen == control.Selection(workers=chosen.workers, indexes=chosen.indexes)
    return one and alone and not how.json and not how.dry_run
