"""`damocles-worker store` list, add and release: the stores of a running worker."""

from damocles import methods
from damocles.cli.connecting import worker_at
from damocles.cli.terminal import exits, tables, watching
from damocles.cli.threads import options
from damocles.cli.threads import stores as shared
from damocles.wire import codec, stores


@watching.watchable
def list_(*, full: options.Full = False, json: options.AsJson = False, at: worker_at.At = worker_at.USUAL) -> int:
    """List the stores that the running worker uses, and how far a release is."""
    with at.call() as worker:
        found = worker.call(methods.worker.stores_of())
    if json:
        exits.print_json(codec.to_builtins(found))
    else:
        tables.show(shared.table(named=False, full=full), found, full=full, nothing="no stores")
    return exits.OK


def add(
    folder: shared.Folder,
    /,
    *,
    plan: shared.Plan = "sealer",
    persist: shared.Persist = None,
    readonly: shared.ReadOnly = False,
    how: options.How = options.PLAINLY,
    at: worker_at.At = worker_at.USUAL,
) -> int:
    """Add a store to the running worker: a thread begins on a sealing store, and goes on with the sector in it.

    The store has to be made before, by store sealing-init or file-init. The worker keeps it over restarts, until it is in its
    configuration.
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
    with at.call() as worker:
        outcome = worker.call(methods.worker.change_store(wanted))
    return shared.show([outcome], dry_run=how.dry_run, as_json=how.json)


def release(
    store: shared.Which,
    /,
    *,
    finish: shared.Finish = False,
    now: shared.Now = False,
    wait: shared.Wait = False,
    how: options.How = options.PLAINLY,
    at: worker_at.At = worker_at.USUAL,
) -> int:
    """Release a store of the running worker, so that its disk can go; nothing in it is deleted.

    The thread of a sealing store ends at its next boundary, and its sector is left in the store for another worker; the other
    threads go on. A persist store gets no more files, and is released once nothing reads there.
    """
    wanted = stores.StoreChange(
        verb="release", store=store, finish=finish, now=now, dry_run=how.dry_run, reason=how.reason
    )
    with at.call() as worker:
        outcome = worker.call(methods.worker.change_store(wanted))
        if wait and not how.dry_run:
            shared.wait([outcome], store, lambda: worker.call(methods.worker.stores_of()), as_json=how.json)
    return shared.show([outcome], dry_run=how.dry_run, as_json=how.json)
