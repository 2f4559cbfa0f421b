"""Which threads an operator means: read from a command line, and compared with what threads are.

The manager evaluates it for the fleet, `damocles-worker` for one worker.
"""

import fnmatch
from collections.abc import Collection, Iterable
from functools import cache

from damocles.sealing import planner
from damocles.sealing.states import State
from damocles.text import spelling
from damocles.wire import control
from damocles.wire.sectors import SectorID

_WILDCARDS = "*?["
_DIGITS = 4  # of an index; no machine has more threads


class NothingSelected(ValueError):
    """No thread is selected: give an index, --sector, --state, --error, --plan or --paused, or pass --all."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


def parse(
    *,
    workers: Iterable[str] = (),
    indexes: Iterable[str] = (),
    sectors: Iterable[str] = (),
    states: Iterable[str] = (),
    plans: Iterable[str] = (),
    error: str | None = None,
    paused: bool | None = None,
    everything: bool = False,
) -> control.Selection:
    """Make a selection from what was typed; whether it selects anything is asked by `check`.

    Raises:
        ValueError: An index is not like `0`, `0,2` or `0-3`, or a sector not like `s-t010000-2`.
    """
    return control.Selection(
        all=everything,
        workers=list(workers),
        indexes=[index for text in indexes for index in _indexes(text)],
        sectors=[str(SectorID.parse(text)) for text in sectors],
        states=list(states),
        plans=list(plans),
        error=error or None,
        paused=paused,
    )


def check(selection: control.Selection) -> None:
    """Refuse a selection without conditions on threads; a worker's name alone does not mean all of its threads.

    Raises:
        NothingSelected: It has none.
    """
    if not (
        selection.all
        or selection.indexes
        or selection.sectors
        or selection.states
        or selection.plans
        or selection.error
        or selection.paused is not None
    ):
        raise NothingSelected


def selected(selection: control.Selection, threads: Iterable[control.ThreadDetail]) -> list[control.ThreadDetail]:
    """Return the threads that match all conditions of the selection; an empty selection matches none."""
    try:
        check(selection)
    except NothingSelected:
        return []
    is_named = cache(lambda worker, dest: any(names(text, worker, dest) for text in selection.workers))
    return [
        thread
        for thread in threads
        if (not selection.workers or is_named(thread.worker, thread.dest)) and holds(selection, thread)
    ]


def holds(selection: control.Selection, thread: control.ThreadDetail) -> bool:
    """Return whether a thread matches the selection's conditions on threads, on whatever worker it is."""
    info = thread.info
    return (
        (not selection.indexes or info.index in selection.indexes)
        and (not selection.sectors or info.job_id in selection.sectors)
        and (not selection.states or info.job_state in selection.states)
        and (not selection.plans or info.plan in selection.plans)
        and (selection.error is None or selection.error.casefold() in (info.last_error or "").casefold())
        and (selection.paused is None or selection.paused == (info.thread_state.state == "Paused"))
    )


def missing(selection: control.Selection, indexes: Iterable[int]) -> list[control.Outcome]:
    """Report the selected thread indexes that a worker lacks, as a single outcome; `indexes` are the ones it has."""
    own = set(indexes)
    unknown = set(selection.indexes) - own
    return [control.Outcome(ok=False, text=no_thread(unknown, own))] if unknown else []


def no_thread(unknown: Iterable[int], own: Iterable[int]) -> str:
    """Report the selected indexes that the worker lacks, as one outcome, and those that it has."""
    return f"no thread {runs(unknown)}; the worker has {runs(own) or 'none'}"


def runs(indexes: Iterable[int]) -> str:
    """Return indexes for people: `#0-#5, #7`."""
    found: list[list[int]] = []
    for index in sorted(indexes):
        if found and found[-1][-1] == index - 1:
            found[-1][1:] = [index]
        else:
            found.append([index])
    return ", ".join("-".join(f"#{index}" for index in run) for run in found)


def unknown_words(selection: control.Selection, paused: str = "--paused") -> list[str]:
    """Return what is wrong with each word that no thread of ours can match; `paused` is how paused threads are asked for."""
    found = [
        f"{state} is what a thread does: use {paused}" if state == "Paused" else _no("state", state, State.__members__)
        for state in selection.states
        if state not in State.__members__
    ]
    return found + [_no("plan", plan, planner.PLANS) for plan in selection.plans if plan not in planner.PLANS]


def never_seen(selection: control.Selection, threads: Iterable[control.ThreadDetail]) -> list[str]:
    """Return the same without the words of some threads: a newer worker may have states and plans that we do not know."""
    infos = [thread.info for thread in threads]
    states, plans = {info.job_state for info in infos}, {info.plan for info in infos}
    return unknown_words(
        control.Selection(
            states=[state for state in selection.states if state not in states],
            plans=[plan for plan in selection.plans if plan not in plans],
        )
    )


def _no(what: str, word: str, known: Collection[str]) -> str:
    """Return that there is no such word, with what was probably meant, or else all there are."""
    guess = spelling.did_you_mean(word, known)
    return f"there is no {what} {word}{guess or '; there are ' + ', '.join(known)}"


def names(text: str, worker: str, dest: str) -> bool:
    """Return whether `text` is a worker's name or destination, or a pattern (`gpu-*`, `10.0.0.*`) of one."""
    return text in (worker, dest) or any(fnmatch.fnmatchcase(value, text) for value in (worker, dest))


def is_pattern(text: str) -> bool:
    """Return whether `text` may stand for several workers; an IPv6 address in brackets does not."""
    return any(char in text for char in _WILDCARDS) and not text.startswith("[")


def _indexes(text: str) -> Iterable[int]:
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        numbers = [first, last] if dash else [first]
        if not all(n.isascii() and n.isdigit() and len(n) <= _DIGITS for n in numbers) or (
            int(numbers[-1]) < int(numbers[0])
        ):
            raise ValueError(f"{text!r} is not a thread's index: write a number as in the list, or several: 0,2 or 0-3")
        yield from range(int(numbers[0]), int(numbers[-1]) + 1)
