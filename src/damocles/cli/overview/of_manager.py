"""`damocles-manager status`, `sector`, and the short names of the commands on threads."""

import dataclasses
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from damocles import methods
from damocles.cli.connecting import calls, manager_at
from damocles.cli.of_manager import workers as workers_cli
from damocles.cli.overview import glance, story
from damocles.cli.terminal import exits, tables, watching
from damocles.cli.threads import options
from damocles.operating import posts
from damocles.text import units
from damocles.wire import alerts, control, proving
from damocles.wire.sectors import SectorID

T = TypeVar("T")


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """A persist store with its room in bytes."""

    name: str
    free_bytes: int
    total_bytes: int
    reserved_bytes: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A manager and its fleet at a glance; `messages` are those on their way to the chain, `posts` jobs of window PoSts.

    A manager's own devnode (`mock`) is no `chain`. `managers` are all on its database, if that is a shared one.
    """

    manager: str
    version: str
    managers: list[control.ManagerBeside] = []
    workers: dict[str, int]
    threads: glance.Threads
    silent: list[control.Silence]
    alerts: list[alerts.Alert]
    stores: list[Store]
    chain: proving.ChainSeen | None = None
    messages: dict[str, int]
    posts: dict[str, int]


@watching.watchable
def status(*, full: options.Full = False, json: options.AsJson = False, at: manager_at.At = manager_at.USUAL) -> int:
    """Show the fleet at a glance: what needs a person, workers, threads, sectors in progress, the chain, persist stores."""
    now = time.time()
    with at.call() as found:
        told = _status(found, now)
    if json:
        exits.print_json(msgspec.to_builtins(told))
        return exits.OK
    needs = [
        *glance.lines_of_alerts(told.alerts, now),
        *(f"silent    {one.worker}: {one.reason}" for one in told.silent),
    ]
    needs += [] if told.alerts else glance.lines_of_paused(told.threads)  # of which the alerts speak after a while
    facts = [
        ("manager", f"{told.manager}, {told.version}"),
        *(("beside", line) for line in _lines_of_managers(told.managers, now)),
        ("workers", f"{sum(told.workers.values())}: {glance.counted(told.workers)}" if told.workers else "0"),
        *glance.facts_of_threads(told.threads),
    ]
    if told.chain is not None:
        facts.append(("chain", glance.chain(told.chain)))
    if told.messages:
        facts.append(("messages", f"on their way: {glance.counted(told.messages)}"))
    if told.posts:
        facts.append(("proving", f"window PoSts: {glance.counted(told.posts)}"))
    for store in told.stores:
        room = f"{units.human_size(store.free_bytes)} of {units.human_size(store.total_bytes)} free"
        reserved = f", {units.human_size(store.reserved_bytes)} reserved" if store.reserved_bytes else ""
        facts.append(("store", f"{store.name}: {room}{reserved}"))
    tables.print_lines(glance.screen(facts, needs, tables.columns(full=full)))
    return exits.OK


def _lines_of_managers(there: Sequence[control.ManagerBeside], now: float) -> Iterator[str]:
    """Yield each of the other managers on the database."""
    for one in there:
        if one.is_asked:
            continue
        if one.silent_seconds is None:
            yield f"{one.address} ({one.name}) since {units.brief_moment(one.since, now)}"
        else:
            yield f"{one.address} ({one.name}) is silent for {units.brief_duration(one.silent_seconds)}"


def _status(found: calls.Manager, now: float) -> Status:
    everything = control.Selection(all=True)
    threads = found.call(methods.fleet.threads(everything, found.worker_seconds))
    workers = found.call(methods.fleet.workers())
    board = _unless_refused(found, methods.alerts.board()) or alerts.Board()  # the original has none
    listed = _unless_refused(found, methods.wdpost.all_jobs())
    return Status(
        manager=found.url,
        version=found.call(methods.util.version()),
        managers=_unless_refused(found, methods.util.managers()) or [],
        workers=dict(Counter(worker.status or "known" for worker in workers).most_common()),
        threads=glance.threads(threads.threads, now),
        silent=threads.silent,
        alerts=glance.urgent(board.alerts),
        stores=[
            Store(
                name=store.name,
                free_bytes=store.free_bytes,
                total_bytes=store.total_bytes,
                reserved_bytes=store.reserved_bytes,
            )
            for store in _unless_refused(found, methods.util.list_stores()) or ()
        ],
        chain=_unless_refused(found, methods.chain.seen()),
        messages=dict(
            Counter(order.kind for order in _unless_refused(found, methods.chain.orders()) or ()).most_common()
        ),
        posts=dict(Counter(map(posts.state, listed.jobs if listed is not None else ())).most_common()),
    )


@watching.watchable
def sector(
    sector: options.Sector,
    /,
    *,
    full: options.Full = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Show all that is known of a sector: its thread, the record, messages, files, and each step on all workers.

    How it stands on the chain is shown by `util sealer sectors state`.
    """
    name = options.sector(sector)
    wanted = SectorID.parse(name)
    with at.call() as found:
        chosen = control.Selection(sectors=[name])
        threads = found.call(methods.fleet.threads(chosen, found.worker_seconds))
        history = found.call(methods.fleet.history(name, found.worker_seconds))
        record = _unless_refused(found, methods.records.find_sector_in_all_states(wanted))
        told = story.Story(
            sector=name,
            threads=threads.threads,
            record=record,
            messages=_unless_refused(found, methods.chain.of_sector(wanted)) or [],
            places=_places(found, wanted) if record is not None else [],
            history=history.entries,
            silent=history.silent,
        )
    return story.show(told, full=full, as_json=json)


def _places(found: calls.Manager, wanted: SectorID) -> list[story.Place]:
    kinds: tuple[proving.FilesOf, ...] = ("normal", "upgrade")
    places = []
    for kind in kinds:
        answer = _unless_refused(found, methods.records.sector_indexer_find(kind, wanted))
        if answer is not None and answer.found:
            places.append(story.Place(kind, answer.instance.sealed_file))
    return places


def _unless_refused(found: calls.Manager, ask: methods.Ask[T]) -> T | None:
    """Return an answer, `None` from a manager that refuses: one without a chain, or of another make.

    Raises:
        exits.ManagerUnreachable: It gives no answer; what it has is then unknown.
    """
    try:
        return found.call(ask)
    except exits.ManagerUnreachable:
        raise
    except exits.Failed:
        return None


@watching.watchable
def threads(
    worker: workers_cli.Pattern = None,
    /,
    *,
    which: options.Which = options.NONE,
    workers: workers_cli.Workers = (),
    wide: workers_cli.Wide = False,
    full: options.Full = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Show the sealing threads of all workers, of one, or those that the options select."""
    if worker is None and not workers and which == options.NONE:
        which = dataclasses.replace(which, all=True)
    return workers_cli.info(worker, which=which, workers=workers, wide=wide, full=full, json=json, at=at)


def logs(
    sector: options.Sector,
    /,
    *,
    stage: options.LogStage = None,
    follow: options.Follow = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Print the latest log lines of a sector's stages, wherever it is, with --json one object per line."""
    return workers_cli.logs(sector=sector, stage=stage, follow=follow, json=json, at=at)
