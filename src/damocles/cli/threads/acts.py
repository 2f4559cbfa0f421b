"""Show the outcomes of an act on threads, also as an exit code."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from damocles.cli.terminal import exits
from damocles.operating import selection
from damocles.sealing.states import State
from damocles.wire import codec, control

_ANY = control.Selection(all=True)


def wanted(
    verb: str, *, now: bool = False, state: str | None = None, dry_run: bool = False, reason: str = ""
) -> control.Act:
    """Make an act."""
    return control.Act(verb=verb, now=now, state=state, dry_run=dry_run, reason=reason)


def check(chosen: control.Selection) -> None:
    """Refuse an empty selection, and a whole worker where the thread's index was forgotten."""
    try:
        selection.check(chosen)
    except selection.NothingSelected as error:
        raise exits.WrongUsage(str(error)) from error


def aborts(state: str | None, chosen: control.Selection) -> bool:
    """Return whether a resume would abort sectors that were not named one by one, which needs `--yes` as `abort` does.

    One thread by its index, the original's form, is a name.
    """
    one = len(chosen.indexes) == 1 and len(chosen.workers) <= 1 and not any(map(selection.is_pattern, chosen.workers))
    return state == State.Aborted and not one


def line(outcome: control.Outcome) -> str:
    """Write an outcome: `worker #index sector state: what happened`."""
    if outcome.index is None:
        return f"{outcome.worker}: {outcome.text}" if outcome.worker else outcome.text
    worker = f"{outcome.worker} " if outcome.worker else ""
    return f"{worker}#{outcome.index} {outcome.sector or '-'} {outcome.state or '-'}: {outcome.text}"


def nothing_matches(chosen: control.Selection, so: str = "") -> exits.NothingSelected:
    """Return the error for a selection that matches no thread, with what was probably meant."""
    return exits.NothingSelected("; ".join([f"no thread matches{so}", *selection.unknown_words(chosen)]))


def check_words(chosen: control.Selection, threads: Sequence[control.ThreadDetail]) -> None:
    """Refuse a list of threads if nothing has ever been in one of the states, or of one of the plans, that were asked for."""
    if threads and (wrong := selection.never_seen(chosen, threads)):
        raise exits.NothingSelected("; ".join(wrong))


def show_nothing(chosen: control.Selection) -> int:
    """Report an empty list, which is an error only if something was named: nothing paused is good news."""
    if chosen.sectors or selection.unknown_words(chosen):
        raise nothing_matches(chosen)
    if chosen != control.Selection(workers=chosen.workers):
        exits.hint("no thread matches")
    return exits.OK


def show(outcomes: Sequence[control.Outcome], *, dry_run: bool, as_json: bool, chosen: control.Selection = _ANY) -> int:
    """Print a line for each outcome, failures on stderr, and return the exit code."""
    if as_json:
        exits.print_json([codec.to_builtins(outcome) | {"dry_run": dry_run} for outcome in outcomes])
    for outcome in outcomes:
        if not outcome.ok:
            exits.error(line(outcome))
        elif not as_json:
            exits.print_line(line(outcome))
    if not outcomes:
        raise nothing_matches(chosen, "; nothing was changed")
    if all(map(_is_missing, outcomes)):
        return exits.NOTHING_SELECTED
    if dry_run:
        exits.hint("dry run: nothing was changed")
    if all(outcome.ok for outcome in outcomes):
        return exits.OK
    return exits.WORKER_UNREACHABLE if all(outcome.silent for outcome in outcomes) else exits.FAILED


def show_unconfirmed(outcomes: Sequence[control.Outcome], *, as_json: bool, chosen: control.Selection = _ANY) -> int:
    """Print what an act that needs `--yes` would do."""
    show(outcomes, dry_run=True, as_json=as_json, chosen=chosen)
    exits.hint("pass --yes to do it")
    return exits.USAGE


def show_plain(
    outcomes: Sequence[control.Outcome], verb: str, chosen: control.Selection, fields: dict[str, object]
) -> int:
    """Log the outcome for one thread named by worker and index, as the original does; stdout stays empty.

    On a terminal it is the same sentence as for any other selection.
    """
    if sys.stdout.isatty() and sys.stderr.isatty():
        return show(outcomes, dry_run=False, as_json=False, chosen=chosen)
    (worker,), (index,) = chosen.workers, chosen.indexes
    if all(map(_is_missing, outcomes)):
        raise exits.NothingSelected("; ".join(map(line, outcomes)) or f"{worker} has no thread #{index}")
    (outcome,) = outcomes
    if not outcome.ok:
        raise (exits.WorkerUnreachable if outcome.silent else exits.Failed)(line(outcome))
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    details = {"name": worker, "dest": outcome.dest, "index": index, **fields, "outcome": outcome.text}
    place = "cli/threads/acts.py"
    print(moment, "INFO", "cmd", place, f"{verb} call done, ok = true", json.dumps(details), sep="\t", file=sys.stderr)
    return exits.OK


def _is_missing(outcome: control.Outcome) -> bool:
    """Return whether an outcome reports indexes that no thread has."""
    return outcome.index is None and not outcome.silent
