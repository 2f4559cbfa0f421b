"""What a form asks to be done to threads, and what came of it, thread by thread."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec

from damocles.manager.dashboard.views import threads
from damocles.sealing.states import State
from damocles.wire import control

VERBS: Mapping[str, str] = {
    "pause": "Pause",
    "pause-now": "Pause at once, killing stages that run",
    "resume": "Resume",
    "abort": "Abort, giving their sectors up",
}
MOST_THREADS = 250  # that one form names; for more there are filters
Named: TypeAlias = tuple[str, int, str | None]  # a thread by worker and index, and the sector that it must still hold
_POSSIBLE = "; possible: "
_UNKNOWN_STATE = "?"  # no state of any plan: a worker's refusal names those that are possible


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a form holds: `texts` of its fields, and of those that may be there often all `threads` and `workers`."""

    texts: Mapping[str, str]
    threads: Sequence[str] = ()
    workers: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An act on threads: all that filters select, or those `named` (worker, index, sector) as long as they hold it."""

    verb: str
    state: str = ""
    reason: str = ""
    filters: Mapping[str, str] = field(default_factory=dict)
    named: tuple[Named, ...] = ()

    def act(self, *, dry_run: bool, state: str | None = None) -> control.Act:
        """Return it as a worker takes it."""
        return control.Act(
            verb=self.verb.removesuffix("-now"),
            now=self.verb.endswith("-now"),
            state=(self.state or None) if state is None else state,
            dry_run=dry_run,
            reason=self.reason,
        )

    def selections(self) -> list[control.Selection]:
        """Return which threads are meant, in as few calls as it takes.

        Raises:
            ValueError: The filters make no sense.
        """
        if not self.named:
            return [threads.chosen(self.filters)]
        holding = [one for one in self.named if one[2] is not None]
        made = []
        if holding:
            workers = sorted({worker for worker, _, _ in holding})
            sectors = [sector for _, _, sector in holding if sector is not None]
            made.append(control.Selection(workers=workers, sectors=sectors))
        empty: dict[str, list[int]] = {}
        for worker, index, sector in self.named:
            if sector is None:
                empty.setdefault(worker, []).append(index)
        return made + [control.Selection(workers=[worker], indexes=indexes) for worker, indexes in empty.items()]


class View(msgspec.Struct, frozen=True, kw_only=True):
    """An act and its outcomes; those that were refused come first."""

    verb: str
    title: str
    state: str
    reason: str
    dry_run: bool
    filters: dict[str, str]
    named: list[str]
    outcomes: list[control.Outcome]
    done: int
    refused: int
    silent: int
    states: list[str]  # from which all of them can be resumed


def read(form: Form) -> Wanted:
    """Read a form.

    Raises:
        ValueError: It asks for nothing that can be done; the message says what to do.
    """
    verb = form.texts.get("verb", "")
    if verb not in VERBS:
        raise ValueError("say what to do: pause, resume or abort")
    state = form.texts.get("from", "")
    if state and (verb != "resume" or state not in State.__members__):
        raise ValueError(f"{state[:100]!r} is no state to resume from")
    filters, named = chosen(form)
    return Wanted(verb=verb, state=state, reason=form.texts.get("reason", "").strip(), filters=filters, named=named)


def chosen(form: Form) -> tuple[Mapping[str, str], tuple[Named, ...]]:
    """Return the filters that a form means, or else the threads that are marked in it.

    Raises:
        ValueError: It chooses no thread.
    """
    everything = form.texts.get("everything") == "yes"
    if not everything and not form.threads:
        raise ValueError("no thread is chosen: mark some, or all that the filters show")
    if len(form.threads) > MOST_THREADS:
        raise ValueError(f"more than {MOST_THREADS} threads are marked: choose them by filters")
    if everything:
        return threads.read(form.texts).filters, ()
    return {}, tuple(dict.fromkeys(_named(text) for text in form.threads))


def view(wanted: Wanted, outcomes: Iterable[control.Outcome], *, dry_run: bool, states: Sequence[str] = ()) -> View:
    """Return what came of an act, or would come of it."""
    made = [*outcomes, *_moved_on(wanted, outcomes)]
    ordered = sorted(made, key=lambda one: (one.ok, one.worker, -1 if one.index is None else one.index))
    return View(
        verb=wanted.verb,
        title=VERBS[wanted.verb],
        state=wanted.state,
        reason=wanted.reason,
        dry_run=dry_run,
        filters=dict(wanted.filters),
        named=[json.dumps(one) for one in wanted.named],
        outcomes=ordered,
        done=sum(one.ok for one in made),
        refused=sum(not one.ok and not one.silent for one in made),
        silent=sum(one.silent for one in made),
        states=list(states),
    )


def asks_for_states(wanted: Wanted) -> control.Act | None:
    """Return the act whose refusals name the states from which threads can be resumed; it does nothing."""
    return wanted.act(dry_run=True, state=_UNKNOWN_STATE) if wanted.verb == "resume" else None


def states(refusals: Iterable[control.Outcome]) -> list[str]:
    """Return the states from which all can be resumed, by the refusals of `asks_for_states`; giving up is another act."""
    common: list[str] | None = None
    for refusal in refusals:
        _, _, listed = refusal.text.partition(_POSSIBLE)
        found = [name for name in listed.split(", ") if name in State.__members__ and name != State.Aborted]
        common = found if common is None else [name for name in common if name in found]
    return common or []


def _moved_on(wanted: Wanted, outcomes: Iterable[control.Outcome]) -> list[control.Outcome]:
    """Report the named threads that nobody has covered anything of: they hold another sector by now."""
    covered = {(one.worker, one.sector) if one.sector else (one.worker, one.index) for one in outcomes}
    silent = {one.worker for one in outcomes if one.index is None}
    return [
        control.Outcome(
            worker=worker, index=index, sector=sector, ok=False, text="does not hold this any more; nothing was done"
        )
        for worker, index, sector in wanted.named
        if (worker, sector or index) not in covered and worker not in silent
    ]


def _named(text: str) -> Named:
    """Read what `threads.pinned` wrote.

    Raises:
        ValueError: It is something else.
    """
    try:
        value: Any = msgspec.json.decode(text, type=Named)
    except msgspec.MsgspecError as error:
        raise ValueError("a marked thread cannot be read: load the page again") from error
    return value  # type: ignore[no-any-return]
