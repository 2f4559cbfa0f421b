"""Workers that are to take no new sectors, or new ones again: how each stands, and what came of it."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from damocles.manager.dashboard import looks
from damocles.manager.dashboard.views import acts, threads
from damocles.operating import selection
from damocles.wire import control

VERB = "drain"
MOST_WORKERS = 250


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """A worker: whether it takes new sectors and what is left to do, or why nobody knows (`problem`)."""

    worker: str
    drain: control.Drain | None = None
    problem: str = ""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Workers by name, before an act or after it (`done`), which began a drain or ended it (`on`); `taking` take new sectors."""

    workers: list[Worker]
    done: bool
    on: bool
    taking: int
    drained: int
    refused: int


def view(workers: Iterable[Worker], *, done: bool = False, on: bool = True) -> View:
    """Return the page; those of which nobody knows anything come first."""
    found = sorted(workers, key=lambda one: (not one.problem, one.worker))
    return View(
        workers=found,
        done=done,
        on=on,
        taking=sum(one.drain is not None and not one.drain.on for one in found),
        drained=sum(one.drain is not None and one.drain.on for one in found),
        refused=sum(one.drain is None for one in found),
    )


def named(workers: Sequence[str]) -> list[str]:
    """Return the workers that an address or a form names.

    Raises:
        ValueError: It names none, or too many.
    """
    names = sorted({name for name in workers if name})
    if not names:
        raise ValueError("say which workers: open this page from the fleet, or from marked threads")
    if len(names) > MOST_WORKERS:
        raise ValueError(f"these are {len(names)} workers, and a page drains {MOST_WORKERS} at most: use filters")
    return names


def of_threads(form: acts.Form, seen: looks.Seen) -> list[str]:
    """Return the workers of the threads that a form chooses.

    Raises:
        ValueError: It chooses none.
    """
    filters, marked = acts.chosen(form)
    return named([worker for worker, _, _ in marked] or _of_filters(filters, seen))


def _of_filters(filters: Mapping[str, str], seen: looks.Seen) -> list[str]:
    return [thread.worker for thread in selection.selected(threads.chosen(filters), seen.threads.threads)]
