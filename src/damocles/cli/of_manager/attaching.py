"""`damocles-manager util worker store`: list, add and release stores of running workers."""

from typing import Annotated

from cyclopts import App, Parameter

from damocles import methods
from damocles.cli.connecting import manager_at
from damocles.cli.terminal import exits, tables, watching
from damocles.cli.threads import options
from damocles.cli.threads import stores as shared
from damocles.wire import codec, stores

app = App(name="store", help="List, add and release stores of running workers.", version_flags=[])

Pattern = Annotated[str, Parameter(help="The worker's name or address, or a pattern.")]
Some = Annotated[str | None, Parameter(help="The worker's name or address, or a pattern; default: all.")]


@app.command(
    name="list",
    help_epilogue=options.examples(
        "damocles-manager util worker store list", "damocles-manager util worker store list gpu-1 --watch"
    ),
)
@watching.watchable
def list_(
    worker: Some = None,
    /,
    *,
    full: options.Full = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """List the stores that running workers use, and how far a release is."""
    with at.call() as found:
        answer = found.call(methods.fleet.stores_of([worker] if worker else [], found.worker_seconds))
    if json:
        exits.print_json(codec.to_builtins(answer))
    else:
        tables.show(shared.table(named=True, full=full), answer.stores, full=full, nothing="no stores")
    for silence in answer.silent:
        exits.error(f"{silence.worker}: {silence.reason}")
    return exits.FAILED if answer.silent else exits.OK


@app.command(
    help_epilogue=options.examples(
        "damocles-manager util worker store add gpu-1 /mnt/nvme4/store --dry-run",
        "damocles-manager util worker store add 'gpu-*' /mnt/hdd7 --persist hdd7",
    )
)
def add(
    worker: Pattern,
    folder: shared.Folder,
    /,
    *,
    plan: shared.Plan = "sealer",
    persist: shared.Persist = None,
    readonly: shared.ReadOnly = False,
    how: options.How = options.PLAINLY,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Add a store to running workers: a thread begins on a sealing store, and goes on with the sector in it.

    The store has to be made before, on the worker's machine, by damocles-worker store sealing-init or file-init.
    """
    wanted = stores.StoreChange(
        verb="add",
        store=folder,
        kind="sealing" if persist is None else "persist",
        plan=plan,
        name=persist or "",
        read_only=readonly,
        dry_run=how.dry_run,
        reason=how.reason,
    )
    with at.call() as found:
        outcomes = found.call(methods.fleet.change_store([worker], wanted, found.worker_seconds))
    return shared.show(outcomes, dry_run=how.dry_run, as_json=how.json)


@app.command(
    help_epilogue=options.examples(
        "damocles-manager util worker store release gpu-1 3 --dry-run",
        "damocles-manager util worker store release gpu-1 3 --finish --reason 'worn'",
        "damocles-manager util worker store release 'gpu-*' persist-7",
    )
)
def release(
    worker: Pattern,
    store: shared.Which,
    /,
    *,
    finish: shared.Finish = False,
    now: shared.Now = False,
    wait: shared.Wait = False,
    how: options.How = options.PLAINLY,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Release a store of running workers, so that its disk can go; nothing in it is deleted.

    The thread of a sealing store ends at its next boundary, and its sector is left in the store for another worker; the other
    threads go on. A persist store gets no more files, and is released once nothing reads there.
    """
    wanted = stores.StoreChange(
        verb="release", store=store, finish=finish, now=now, dry_run=how.dry_run, reason=how.reason
    )
    with at.call() as found:
        outcomes = found.call(methods.fleet.change_store([worker], wanted, found.worker_seconds))

        def seen() -> list[stores.StoreSeen]:
            return found.call(methods.fleet.stores_of([worker], found.worker_seconds)).stores

        if wait and not how.dry_run:
            shared.wait(outcomes, store, seen, as_json=how.json)
    return shared.show(outcomes, dry_run=how.dry_run, as_json=how.json)
