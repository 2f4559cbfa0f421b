"""`damocles-worker status`, `sector` and the short names of the commands on threads."""

import time
from collections.abc import Iterator, Sequence

import msgspec

from damocles import methods
from damocles.cli.connecting import worker_at
from damocles.cli.of_worker import work
from damocles.cli.overview import glance, story
from damocles.cli.terminal import exits, tables, watching
from damocles.cli.threads import options
from damocles.operating import selection
from damocles.text import units
from damocles.wire import control


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A worker at a glance."""

    worker: str
    version: str
    threads: glance.Threads
    drain: control.Drain
    managers: list[control.ManagerSeen]


@watching.watchable
def status(*, full: options.Full = False, json: options.AsJson = False, at: worker_at.At = worker_at.USUAL) -> int:
    """Show the worker at a glance: what needs a person, its threads and sectors, whether it drains."""
    now = time.time()
    with at.call() as client:
        threads = client.call(methods.worker.threads())
        found = Status(
            worker=client.url,
            version=client.call(methods.worker.version()),
            threads=glance.threads(threads, now),
            drain=client.call(methods.worker.drain_state()),
            managers=client.call(methods.worker.managers()),
        )
    if json:
        exits.print_json(msgspec.to_builtins(found))
        return exits.OK
    facts = [("worker", f"{found.worker}, {found.version}")]
    facts += [("manager", line) for line in lines_of_managers(found.managers, now)]
    facts += glance.facts_of_threads(found.threads)
    if found.drain.on:
        left = f", {len(found.drain.busy)} sectors still in progress" if found.drain.busy else ", no sector in progress"
        since = "" if found.drain.since is None else f" since {units.brief_moment(found.drain.since, now)}"
        why = f" ({found.drain.reason})" if found.drain.reason else ""
        facts.append(("drains", f"{since.strip()}{left}{why}"))
    tables.print_lines(glance.screen(facts, list(glance.lines_of_paused(found.threads)), tables.columns(full=full)))
    return exits.OK


def lines_of_managers(seen: Sequence[control.ManagerSeen], now: float) -> Iterator[str]:
    """Yield the manager that is used, then those that would not be used now, and why."""
    for one in sorted(seen, key=lambda one: not one.in_use):
        if one.error:
            yield f"{one.url} {'does not answer' if one.in_use else 'rests'}: {one.error}"
        elif one.in_use and one.answered_since is None:
            yield f"{one.url}, not called yet"
        elif one.in_use:
            yield f"{one.url} answers since {units.brief_moment(one.answered_since or now, now)}"


@watching.watchable
def sector(
    sector: options.Sector,
    /,
    *,
    full: options.Full = False,
    json: options.AsJson = False,
    at: worker_at.At = worker_at.USUAL,
) -> int:
    """Show all that this worker knows of a sector: its thread, and each step from the journals of the stores."""
    name = options.sector(sector)
    with at.call() as client:
        threads = client.call(methods.worker.threads())
        entries = client.call(methods.worker.history(name))
    found = story.Story(
        sector=name,
        threads=[thread for thread in threads if selection.holds(control.Selection(sectors=[name]), thread)],
        history=entries,
    )
    return story.show(found, full=full, as_json=json)


def logs(
    sector: options.Sector,
    /,
    *,
    stage: options.LogStage = None,
    follow: options.Follow = False,
    json: options.AsJson = False,
    at: worker_at.At = worker_at.USUAL,
) -> int:
    """Print the latest log lines of a sector's stages, with --json one object per line."""
    return work.logs(sector=sector, stage=stage, follow=follow, json=json, at=at)
