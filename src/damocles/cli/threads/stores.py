"""What the commands that add and release stores share, of both programs."""

import time
from collections.abc import Callable, Sequence
from typing import Annotated

from cyclopts import Parameter

from damocles.cli.terminal import exits, tables
from damocles.cli.threads import acts, options
from damocles.operating import words
from damocles.wire import codec, control
from damocles.wire.stores import StoreSeen

Folder = Annotated[str, Parameter(help="The store's folder on the worker's machine.")]
Which = Annotated[str, Parameter(help="The store: its thread's number, its folder, or a persist store's name.")]
Plan = Annotated[str, Parameter(name="--plan", help="What the new thread does with sectors.")]
Persist = Annotated[
    str | None,
    options.Flag(name="--persist", help="It is a persist store: the name by which the manager knows it."),
]
ReadOnly = Annotated[bool, options.Flag(name="--readonly", help="Of a persist store: sectors are only read there.")]
Finish = Annotated[bool, options.Flag(name="--finish", help="Finish the sector first, and begin no other one.")]
Now = Annotated[
    bool, options.Flag(name="--now", help="Kill the running stage; it runs again where the store is next used.")
]
Wait = Annotated[bool, options.Flag(name="--wait", help="Wait until the store is released.")]

_POLL_SECONDS = 0.5


def table(*, named: bool, full: bool) -> tables.Table[StoreSeen]:
    """Return the table of stores; with `named` it has a column for the worker."""

    def cells(one: StoreSeen) -> list[str]:
        what = one.sector or "-" if one.kind == "sealing" else one.name
        about = ", ".join(
            filter(None, ("readonly" if one.read_only else "", "added" if one.added else "", one.leaving))
        )
        index = "-" if one.index is None else str(one.index)
        return [
            *([one.worker] if named else []),
            *(one.kind, index, one.location, what, one.state or "-", one.plan or "-"),
            words.brief_error(about or None, full=full) if about else "-",
        ]

    head = ("Kind", "#", "Store", "Holds", "State", "Plan", "Why")
    return tables.Table(columns=("Worker", *head) if named else head, cells=cells)


def show(outcomes: Sequence[control.Outcome], *, dry_run: bool, as_json: bool) -> int:
    """Print a line for each worker, failures on stderr, and return the exit code."""
    if as_json:
        exits.print_json([codec.to_builtins(outcome) | {"dry_run": dry_run} for outcome in outcomes])
    for outcome in outcomes:
        if not outcome.ok:
            exits.error(acts.line(outcome))
        elif not as_json:
            exits.print_line(acts.line(outcome))
    if dry_run:
        exits.hint("dry run: nothing was changed")
    if all(outcome.ok for outcome in outcomes):
        return exits.OK
    return exits.WORKER_UNREACHABLE if all(outcome.silent for outcome in outcomes) else exits.FAILED


def wait(
    outcomes: Sequence[control.Outcome], store: str, ask: Callable[[], Sequence[StoreSeen]], *, as_json: bool
) -> None:
    """Return once none of the workers has the store any more that it is releasing; say who it waits for."""
    told = ""
    waits = {outcome.worker for outcome in outcomes if outcome.ok}
    numbers = {(outcome.worker, outcome.index) for outcome in outcomes if outcome.index is not None}
    while waits:
        left = [
            one
            for one in ask()
            if one.worker in waits
            and one.leaving
            and ((one.worker, one.index) in numbers or store in {one.name, one.location})
        ]
        if not left:
            return
        text = "; ".join(f"{one.worker} {one.location}: {one.sector or ''} {one.leaving}".strip() for one in left)
        if text != told and not as_json:
            exits.hint(text)
        told = text
        time.sleep(_POLL_SECONDS)
