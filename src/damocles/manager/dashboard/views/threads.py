"""The table of all threads: which are asked for, in which order, one page of them; and what ails them, counted."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from damocles.manager.dashboard import looks
from damocles.manager.dashboard.views import addresses
from damocles.operating import selection
from damocles.parameters import lacking
from damocles.sealing import planner
from damocles.sealing.states import State
from damocles.wire import control

SIZES = (50, 100, 200)
_MOST_ERRORS = 10
_DIGITS = 18  # of a number that somebody else wrote
_ERROR_CHARACTERS = 200  # of an error that others are compared with
_PAUSED = {"yes": True, "no": False}
_ORDER = {state: number for number, state in enumerate(State)}

_KEYS: Mapping[str, Callable[[control.ThreadDetail], Any]] = {
    "worker": lambda thread: (thread.worker, thread.info.index),
    "sector": lambda thread: (thread.info.job_id is None, _numbers(thread.info.job_id)),
    "plan": lambda thread: thread.info.plan,
    "state": lambda thread: _ORDER.get(thread.info.job_state, -1),  # type: ignore[call-overload]
    "doing": lambda thread: thread.info.thread_state.state,
    "for": lambda thread: thread.since,
    "try": lambda thread: -thread.attempt,
    "why": lambda thread: (not thread.info.last_error, thread.info.last_error or ""),
}

PARAMETERS: Mapping[str, addresses.Kind] = {
    **dict.fromkeys(("worker", "plan", "state", "error", "sector"), addresses.TEXT),
    "paused": addresses.one_of(_PAUSED),
    "sort": addresses.Kind(
        f"{', '.join(_KEYS)}, or one of these with - before it", lambda text: text.removeprefix("-") in _KEYS
    ),
    "page": addresses.number(1),
    "size": addresses.one_of(SIZES),
}


class Asked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the address of the page says: filters, order (`-for` is downwards) and which page of how many rows."""

    worker: str = ""
    plan: str = ""
    state: str = ""
    error: str = ""
    sector: str = ""
    paused: str = ""
    sort: str = "worker"
    page: int = 1
    size: int = 50

    @property
    def filters(self) -> dict[str, str]:
        """The filters that are set, as an address has them."""
        found = {name: getattr(self, name) for name in ("worker", "plan", "state", "error", "sector", "paused")}
        return {name: value for name, value in found.items() if value}

    def query(self, **changes: Any) -> dict[str, str]:
        """Return what an address has after changes to this; a change of what is shown begins at its first page."""
        plain = {name: str(value) for name, value in msgspec.structs.asdict(self).items()}
        usual = {name: str(value) for name, value in msgspec.structs.asdict(Asked()).items()}
        given = {**plain, "page": "1", **{name: str(value) for name, value in changes.items()}}
        return {name: value for name, value in given.items() if value != usual[name]}


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """Threads with the same error: how many, how many of them are paused, and what helps. `find` selects them.

    `is_cut` says that their errors begin alike, and go on.
    """

    text: str
    is_cut: bool = False
    find: str
    threads: int
    paused: int
    there_now: bool = False
    commands: list[str] = []


class View(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the threads that are asked for."""

    at: float
    asked: Asked
    problem: str = ""  # why nothing can be asked for like this
    total: int
    matching: int
    pages: int
    threads: list[control.ThreadDetail]
    silent: list[control.Silence]
    states: dict[str, int]
    doing: dict[str, int]
    plans: list[str]
    troubles: list[Trouble]


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """All threads of a look, counted."""

    states: dict[str, int]
    doing: dict[str, int]
    plans: list[str]
    troubles: list[Trouble]


def counted(seen: looks.Seen) -> Counted:
    """Return the threads of a look, counted once for all pages."""

    def count() -> Counted:
        everyone = seen.threads.threads
        return Counted(
            states=dict(Counter(thread.info.job_state or "Empty" for thread in everyone).most_common()),
            doing=dict(Counter(thread.info.thread_state.state for thread in everyone).most_common()),
            plans=sorted({*planner.PLANS, *(thread.info.plan for thread in everyone)}),
            troubles=troubles(everyone),
        )

    return seen.once("counted", count)


def read(query: Mapping[str, str]) -> Asked:
    """Read an address, or the same in a form, which says other things, too.

    Raises:
        addresses.Unfit: There can be no such order, page or filter.
    """
    texts = {name: query.get(name, "").strip() for name in PARAMETERS}
    addresses.check(texts.items(), PARAMETERS)
    given: dict[str, Any] = {name: text for name, text in texts.items() if text}
    given |= {name: int(given[name]) for name in ("page", "size") if name in given}
    return Asked(**given)


def chosen(filters: Mapping[str, str]) -> control.Selection:
    """Return the selection that filters mean; without any it is all threads.

    Raises:
        ValueError: There can be no such sector.
    """
    worker = filters.get("worker", "")
    error = filters.get("error", "")
    made = selection.parse(
        workers=[worker if selection.is_pattern(worker) else f"*{worker}*"] if worker else [],
        sectors=[filters["sector"]] if filters.get("sector") else [],
        states=[filters["state"]] if filters.get("state") else [],
        plans=[filters["plan"]] if filters.get("plan") else [],
        error=error or None,
        paused=_PAUSED.get(filters.get("paused", "")),
    )
    try:
        selection.check(made)
    except selection.NothingSelected:
        return msgspec.structs.replace(made, all=True)
    return made


def view(seen: looks.Seen, asked: Asked) -> View:
    """Return the page that is asked for, of what was seen."""
    everyone, problem, all_counted = by_worker(seen), "", counted(seen)
    found = everyone
    try:
        if asked.filters:
            wanted = chosen(asked.filters)
            found = selection.selected(wanted, everyone)
            # Not said of a state or plan of a newer worker, as long as a thread has it.
            problem = "; ".join(selection.unknown_words(wanted, "paused=yes")) if not found else ""
    except ValueError as error:
        found, problem = [], str(error)
    ordered = _ordered(found, asked.sort)
    pages = max(1, -(-len(ordered) // asked.size))
    page = min(asked.page, pages)
    return View(
        at=seen.at,
        asked=msgspec.structs.replace(asked, page=page),
        problem=problem,
        total=len(everyone),
        matching=len(ordered),
        pages=pages,
        threads=list(ordered[(page - 1) * asked.size : page * asked.size]),
        silent=seen.threads.silent,
        states=all_counted.states,
        doing=all_counted.doing,
        plans=all_counted.plans,
        troubles=all_counted.troubles if found is everyone else troubles(found),
    )


def troubles(threads: Sequence[control.ThreadDetail]) -> list[Trouble]:
    """Return what ails threads, that of most of them first."""
    ailing: dict[tuple[str, bool], list[control.ThreadDetail]] = defaultdict(list)
    for thread in threads:
        if thread.info.last_error:
            there = thread.waiting is not None and thread.waiting.what == lacking.THERE_NOW
            ailing[thread.info.last_error, there].append(thread)
    # What is looked for in each text is looked for once: ten thousand threads lack the same.
    alike: dict[tuple[str, bool], list[control.ThreadDetail]] = defaultdict(list)
    for (error, there), group in ailing.items():
        lack = lacking.found(error)
        alike[lack.text if lack else error[:_ERROR_CHARACTERS], there] += group
    worst = sorted(alike.items(), key=lambda item: -len(item[1]))[:_MOST_ERRORS]
    return [_trouble(key, group) for key, group in worst]


def by_worker(seen: looks.Seen) -> list[control.ThreadDetail]:
    """Return the threads of a look by worker and index."""
    return seen.once(
        "by worker", lambda: sorted(seen.threads.threads, key=lambda thread: (thread.worker, thread.info.index))
    )


def _trouble(key: tuple[str, bool], group: Sequence[control.ThreadDetail]) -> Trouble:
    text, there = key
    error = group[0].info.last_error or ""
    lack = lacking.found(error)
    return Trouble(
        text=text,
        is_cut=lack is None and len(error) > len(text),
        find=lack.words if lack else text,
        threads=len(group),
        paused=sum(thread.info.thread_state.state == "Paused" for thread in group),
        there_now=there,
        commands=[] if there or lack is None else lacking.commands(error),
    )


def pinned(thread: control.ThreadDetail) -> str:
    """Return by what a form names a thread, and the sector that it must still hold."""
    return json.dumps([thread.worker, thread.info.index, thread.info.job_id])


def _ordered(by_worker: Sequence[control.ThreadDetail], sort: str) -> Sequence[control.ThreadDetail]:
    """Return threads, which come by worker and index, in another order; so they are among equals."""
    if sort == "worker":
        return by_worker
    return sorted(by_worker, key=_KEYS[sort.removeprefix("-")], reverse=sort.startswith("-"))


def _numbers(sector: str | None) -> tuple[int, ...]:
    parts = (sector or "").removeprefix("s-t").split("-")
    return tuple(_number(part, -1) for part in parts)


def _number(text: str, usual: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else usual
